"""Hyperbolic tangent."""

import torch
from torch import Tensor

from slaf.core import INF, Facts, activation


@activation(
    Facts(
        name="tanh",
        formula="tanh(x)",
        range=(-1.0, 1.0),
        monotone="nondecreasing",
        parity="odd",
        smoothness=INF,
        lipschitz=1.0,
        kinks=(),
        critical_points=(),
        tags=("torch.nn",),
        summary="The hyperbolic tangent, from -1 to 1.",
    )
)
def tanh(x: Tensor) -> Tensor:
    """tanh(x)."""
    return torch.tanh(x)
