"""CELU."""

import torch
import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation


@activation(
    Facts(
        name="celu",
        formula="where(x > 0, x, alpha*(exp(x/alpha) - 1))",
        paper=Paper("Continuously Differentiable Exponential Linear Units", "Barron", 2017, "arXiv:1704.07483"),
        params={"alpha": Param(1.0, low=0.0, open=True, doc="the value -alpha is approached for x → -∞")},
        range=lambda alpha: (-alpha, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=1,
        lipschitz=1.0,
        kinks=(0.0,),
        critical_points=(),
        antiderivative="where(x > 0, x*x/2, alpha*(alpha*(exp(min(x, 0)/alpha) - 1) - x))",
        tags=("torch.nn",),
        summary="ELU scaled so that its slope is continuous for every alpha.",
    ),
    inplace=True,
)
def celu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x for x > 0, alpha · (exp(x / alpha) - 1) otherwise."""
    if alpha == 1:  # otherwise torch rounds 1/alpha to float32 in the gradient, for float64 too
        return F.celu(x, alpha, inplace=inplace)
    if inplace:
        return x.copy_(celu(x.clone(), alpha))
    return torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0) / alpha))
