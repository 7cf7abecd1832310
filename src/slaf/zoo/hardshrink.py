"""Hard shrinkage."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation


@activation(
    Facts(
        name="hardshrink",
        formula="where(abs(x) > lambd, x, 0)",
        paper=Paper("Ideal Spatial Adaptation by Wavelet Shrinkage", "Donoho, Johnstone", 1994),
        params={"lambd": Param(0.5, low=0.0, doc="half width of the interval that is set to 0")},
        range=(-INF, INF),
        monotone="nondecreasing",
        parity="odd",
        smoothness=lambda lambd: INF if lambd == 0 else -1,
        lipschitz=lambda lambd: 1.0 if lambd == 0 else INF,
        kinks=lambda lambd: () if lambd == 0 else (-lambd, lambd),
        critical_points=(),
        antiderivative="max(x*x - lambd*lambd, 0)/2",
        tags=("torch.nn",),
        summary="The identity with an interval around 0 set to 0.",
    )
)
def hardshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, 0 otherwise."""
    return F.hardshrink(x, lambd)
