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
        antiderivative="abs(x) + log(1 + exp(-2*abs(x))) - log(2)",
        tags=("torch.nn",),
        summary="The hyperbolic tangent, from -1 to 1.",
    )
)
def tanh(x: Tensor) -> Tensor:
    """tanh(x)."""
    return torch.tanh(x)
