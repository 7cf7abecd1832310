"""Softsign."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import Facts, Paper, activation


@activation(
    Facts(
        name="softsign",
        formula="x/(1 + abs(x))",
        paper=Paper("Quadratic Features and Deep Architectures for Chunking", "Turian, Bergstra, Bengio", 2009),
        range=(-1.0, 1.0),
        monotone="nondecreasing",
        parity="odd",
        smoothness=1,
        lipschitz=1.0,
        kinks=(0.0,),
        critical_points=(),
        antiderivative="abs(x) - log(1 + abs(x))",
        tags=("torch.nn",),
        summary="A sigmoid whose tails fall off as 1/x instead of exponentially.",
    )
)
def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return F.softsign(x)
