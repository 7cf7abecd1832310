"""Smooth monotone functions without bounds."""

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, activation

from ._precision import in_float32


@activation(
    Facts(
        name="bent_identity",
        formula="(sqrt(x*x + 1) - 1)/2 + x",
        range=(-INF, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=INF,
        lipschitz=1.5,
        kinks=(),
        critical_points=(),
        antiderivative="(x*sqrt(x*x + 1) + asinh(x))/4 - x/2 + x*x/2",
        tags=("unbounded",),
        summary="The identity bent by a hyperbola: slope 1/2 far left, 3/2 far right.",
    )
)
@in_float32
def bent_identity(x: Tensor) -> Tensor:
    """(√(x² + 1) - 1) / 2 + x, the first term as x² / (2 (√(x² + 1) + 1)), which does not cancel."""
    square = x * x
    return 0.5 * square / (torch.sqrt(square + 1) + 1) + x


@activation(
    Facts(
        name="asinh",
        formula="asinh(x)",
        aliases=("arcsinh",),
        range=(-INF, INF),
        monotone="nondecreasing",
        parity="odd",
        smoothness=INF,
        lipschitz=1.0,
        kinks=(),
        critical_points=(),
        antiderivative="x*asinh(x) - x*x/(1 + sqrt(1 + x*x))",
        tags=("unbounded",),
        summary="The inverse hyperbolic sine: linear near 0, logarithmic far out, smooth.",
    )
)
@in_float32
def asinh(x: Tensor) -> Tensor:
    """asinh(x) = log(x + √(x² + 1))."""
    return torch.asinh(x)


@activation(
    Facts(
        name="symlog",
        formula="sign(x)*log(1 + abs(x))",
        paper=Paper(
            "Mastering Diverse Domains through World Models", "Hafner, Pasukonis, Ba, Lillicrap", 2023, "arXiv:2301.04104", status="read"
        ),
        range=(-INF, INF),
        monotone="nondecreasing",
        parity="odd",
        smoothness=1,
        lipschitz=1.0,
        kinks=(0.0,),
        critical_points=(),
        antiderivative="(1 + abs(x))*log(1 + abs(x)) - abs(x)",
        tags=("unbounded",),
        summary="The logarithm on both sides of 0; its inverse is sign(y)·(exp|y| - 1).",
    )
)
@in_float32
def symlog(x: Tensor) -> Tensor:
    """sign(x) · log(1 + |x|)."""
    return torch.where(x > 0, torch.log1p(x.clamp(min=0)), -torch.log1p(-x.clamp(max=0)))


@activation(
    Facts(
        name="exponential",
        formula="exp(x)",
        range=(0.0, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=INF,
        lipschitz=INF,
        kinks=(),
        critical_points=(),
        antiderivative="exp(x) - 1",
        tags=("unbounded",),
        summary="The exponential function.",
    )
)
@in_float32
def exponential(x: Tensor) -> Tensor:
    """exp(x)."""
    return torch.exp(x)
