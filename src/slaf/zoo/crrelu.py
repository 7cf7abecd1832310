"""CRReLU: ReLU corrected by a learned bump."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._numeric import extremes, roots
from ._precision import in_float32


def _points(epsilon: float) -> tuple[float, ...]:
    right = roots(lambda x: 1 + epsilon * (1 - x * x) * np.exp(-x * x / 2), 1e-9, 40, 8001)
    return (-1.0, *right) if epsilon else ()


def _range(epsilon: float) -> tuple[float, float]:
    if epsilon >= 0:
        return -epsilon * math.exp(-0.5), INF
    return min(0.0, extremes(lambda x: x + epsilon * x * np.exp(-x * x / 2), 0, 40)[0]), INF


@activation(
    Facts(
        name="crrelu",
        formula="max(x, 0) + epsilon*x*exp(-x**2/2)",
        paper=Paper("A Method on Searching Better Activation Functions", "Sun et al.", 2024, "arXiv:2405.12954"),
        params={"epsilon": Param(0.01, learnable=True, doc="size of the correction, learned, best without weight decay")},
        range=_range,
        monotone=lambda epsilon: "neither" if epsilon else "nondecreasing",
        parity="neither",
        smoothness=0,
        # the slopes at 0 from either side, and at √3, where the bump falls most steeply
        lipschitz=lambda epsilon: max(abs(1 + epsilon), abs(epsilon), 1 - 2 * math.exp(-1.5) * epsilon),
        kinks=(0.0,),
        critical_points=_points,
        antiderivative="max(x, 0)**2/2 - epsilon*expm1(-x**2/2)",
        tags=("learnable",),
        summary="ReLU plus a learned multiple of x exp(-x²/2): the first-order entropy correction for normal inputs.",
    )
)
@in_float32
def crrelu(x: Tensor, epsilon: float | Tensor = 0.01) -> Tensor:
    """max(x, 0) + epsilon · x · exp(-x² / 2)."""
    near = x.clamp(-40, 40)  # beyond it exp(-x²/2) is 0, and x² may overflow
    return F.relu(x) + epsilon * (near * torch.exp(-near.square() / 2))
