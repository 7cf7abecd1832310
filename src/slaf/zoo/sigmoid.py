"""The logistic sigmoid."""

import torch
from torch import Tensor

from slaf.core import INF, Facts, activation


@activation(
    Facts(
        name="sigmoid",
        formula="1/(1 + exp(-x))",
        aliases=("logistic",),
        range=(0.0, 1.0),
        monotone="nondecreasing",
        parity="neither",
        smoothness=INF,
        lipschitz=0.25,
        kinks=(),
        critical_points=(),
        antiderivative="max(x, 0) + log(1 + exp(-abs(x))) - log(2)",
        tags=("torch.nn",),
        summary="The logistic function, from 0 to 1.",
    )
)
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)
