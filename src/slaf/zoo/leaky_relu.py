"""Leaky ReLU."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation


def _range(negative_slope: float) -> tuple[float, float]:
    return (0.0 if negative_slope <= 0 else -INF, INF)


@activation(
    Facts(
        name="leaky_relu",
        formula="where(x >= 0, x, negative_slope*x)",
        paper=Paper("Rectifier Nonlinearities Improve Neural Network Acoustic Models", "Maas, Hannun, Ng", 2013),
        params={"negative_slope": Param(0.01, low=0.0, doc="slope for x < 0")},
        range=_range,
        monotone="nondecreasing",
        parity=lambda negative_slope: "odd" if negative_slope == 1 else "neither",
        smoothness=lambda negative_slope: INF if negative_slope == 1 else 0,
        lipschitz=lambda negative_slope: max(1.0, negative_slope),
        kinks=lambda negative_slope: () if negative_slope == 1 else (0.0,),
        critical_points=(),
        antiderivative="where(x >= 0, x*x, negative_slope*x*x)/2",
        tags=("torch.nn",),
        summary="ReLU with a small slope on the negative side.",
    ),
    inplace=True,
)
def leaky_relu(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """max(x, 0) + negative_slope · min(x, 0)."""
    return F.leaky_relu(x, negative_slope, inplace=inplace)
