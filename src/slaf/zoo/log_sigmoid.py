"""The logarithm of the sigmoid."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, activation


@activation(
    Facts(
        name="log_sigmoid",
        formula="-log(1 + exp(-x))",
        aliases=("logsigmoid",),
        range=(-INF, 0.0),
        monotone="nondecreasing",
        parity="neither",
        smoothness=INF,
        lipschitz=1.0,
        kinks=(),
        critical_points=(),
        tags=("torch.nn",),
        summary="The logarithm of the sigmoid: -softplus(-x).",
    )
)
def log_sigmoid(x: Tensor) -> Tensor:
    """log(sigmoid(x)). Not by ``torch.nn.functional.logsigmoid``, which forgets channels-last and is inexact in ONNX Runtime."""
    return -F.softplus(-x, threshold=50.0)  # log(1 + exp(50)) - 50 = 2e-22, below float64's rounding
