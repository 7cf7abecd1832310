"""Soft shrinkage."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation


@activation(
    Facts(
        name="softshrink",
        formula="where(x > lambd, x - lambd, where(x < -lambd, x + lambd, 0))",
        paper=Paper("De-noising by Soft-thresholding", "Donoho", 1995),
        params={"lambd": Param(0.5, low=0.0, doc="how far every input is moved towards 0")},
        range=(-INF, INF),
        monotone="nondecreasing",
        parity="odd",
        smoothness=lambda lambd: INF if lambd == 0 else 0,
        lipschitz=1.0,
        kinks=lambda lambd: () if lambd == 0 else (-lambd, lambd),
        critical_points=(),
        antiderivative="max(abs(x) - lambd, 0)**2/2",
        tags=("torch.nn",),
        summary="Every input moved towards 0 by a constant, and stopped there.",
    )
)
def softshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """sign(x) · max(|x| - lambd, 0)."""
    return F.softshrink(x, lambd)
