"""ELU."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation


@activation(
    Facts(
        name="elu",
        formula="where(x > 0, x, alpha*(exp(x) - 1))",
        paper=Paper(
            "Fast and Accurate Deep Network Learning by Exponential Linear Units (ELUs)",
            "Clevert, Unterthiner, Hochreiter",
            2015,
            "arXiv:1511.07289",
        ),
        params={"alpha": Param(1.0, low=0.0, open=True, doc="the value -alpha is approached for x → -∞")},
        range=lambda alpha: (-alpha, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=lambda alpha: 1 if alpha == 1 else 0,
        lipschitz=lambda alpha: max(1.0, alpha),
        kinks=(0.0,),
        critical_points=(),
        antiderivative="where(x > 0, x*x/2, alpha*(exp(min(x, 0)) - 1 - x))",
        tags=("torch.nn",),
        summary="The identity for x > 0, an exponential that saturates at -alpha below.",
    ),
    inplace=True,
)
def elu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x for x > 0, alpha · (exp(x) - 1) otherwise."""
    return F.elu(x, alpha, inplace=inplace)
