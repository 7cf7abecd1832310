"""SELU."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, activation

# The fixed point of the paper: zero mean and unit variance are kept for standard normal inputs.
_SCALE, _ALPHA = "1.0507009873554804934193349852946", "1.6732632423543772848170429916717"


@activation(
    Facts(
        name="selu",
        formula=f"where(x > 0, {_SCALE}*x, {_SCALE}*{_ALPHA}*(exp(x) - 1))",
        paper=Paper(
            "Self-Normalizing Neural Networks", "Klambauer, Unterthiner, Mayr, Hochreiter", 2017, "arXiv:1706.02515", status="read"
        ),
        range=(-1.7580993408473769, INF),  # -scale * alpha
        monotone="nondecreasing",
        parity="neither",
        smoothness=0,
        lipschitz=1.7580993408473769,  # scale * alpha, the slope at 0 from the left
        kinks=(0.0,),
        critical_points=(),
        antiderivative=f"{_SCALE}*where(x > 0, x*x/2, {_ALPHA}*(exp(min(x, 0)) - 1 - x))",
        tags=("torch.nn",),
        summary="ELU scaled so that deep networks keep zero mean and unit variance.",
    ),
    inplace=True,
)
def selu(x: Tensor, inplace: bool = False) -> Tensor:
    """scale · x for x > 0, scale · alpha · (exp(x) - 1) otherwise."""
    return F.selu(x, inplace=inplace)
