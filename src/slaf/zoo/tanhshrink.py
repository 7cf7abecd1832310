"""Tanhshrink."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, activation


@activation(
    Facts(
        name="tanhshrink",
        formula="x - tanh(x)",
        range=(-INF, INF),
        monotone="nondecreasing",
        parity="odd",
        smoothness=INF,
        lipschitz=1.0,
        kinks=(),
        critical_points=(0.0,),  # f'(x) = tanh(x)²
        antiderivative="x*x/2 - abs(x) - log(1 + exp(-2*abs(x))) + log(2)",
        tags=("torch.nn",),
        summary="What tanh takes away: flat at 0, the identity minus 1 far out.",
    )
)
def tanhshrink(x: Tensor) -> Tensor:
    """x - tanh(x)."""
    return F.tanhshrink(x)
