"""Swish with a sharpness, and what is made of it by scaling or adding."""

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._numeric import SILU_MIN_SLOPE, expit, roots
from ._precision import in_float32

_MIN, _AT = -0.27846454276107380, -1.2784645427610738  # the minimum of silu and its place, as in silu.py
_SWISH = Paper("Searching for Activation Functions", "Ramachandran, Zoph, Le", 2017, "arXiv:1710.05941")


def _swish_range(beta: float) -> tuple[float, float]:
    if beta == 0:
        return -INF, INF
    return (_MIN / beta, INF) if beta > 0 else (-INF, _MIN / beta)


@activation(
    Facts(
        name="swish",
        formula="x*sigmoid(beta*x)",
        paper=_SWISH,
        params={"beta": Param(1.0, learnable=True, doc="sharpness, learned: x/2 at 0, ReLU for beta → ∞")},
        range=_swish_range,
        monotone=lambda beta: "nondecreasing" if beta == 0 else "neither",
        parity=lambda beta: "odd" if beta == 0 else "neither",
        smoothness=INF,
        lipschitz=lambda beta: 0.5 if beta == 0 else 1 - SILU_MIN_SLOPE,
        kinks=(),
        critical_points=lambda beta: () if beta == 0 else (_AT / beta,),
        tags=("learnable",),
        summary="The input weighted by the sigmoid of a learned multiple of it; silu at beta = 1.",
    )
)
@in_float32
def swish(x: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    """x · sigmoid(beta · x) = silu(beta · x) / beta."""
    return x * torch.sigmoid(beta * x)


def _silu_slope(u: float) -> float:
    return expit(u) * (1 + u * expit(-u))


def _acon_points(p1: float, p2: float, beta: float) -> tuple[float, ...]:
    """f'(x) = (p1 - p2) silu'(u) + p2 at u = beta (p1 - p2) x."""
    step = p1 - p2
    if step * beta == 0:
        return ()
    return tuple(u / (beta * step) for u in roots(lambda u: step * _silu_slope(u) + p2, -60, 60))


def _acon_slopes(p1: float, p2: float, beta: float) -> tuple[float, float]:
    step = p1 - p2
    if step * beta == 0:
        return (p1 + p2) / 2, (p1 + p2) / 2
    ends = (p2 + step * SILU_MIN_SLOPE, p2 + step * (1 - SILU_MIN_SLOPE))
    return min(ends), max(ends)


def _acon_monotone(p1: float, p2: float, beta: float) -> str:
    least, most = _acon_slopes(p1, p2, beta)
    return "nondecreasing" if least >= 0 else "nonincreasing" if most <= 0 else "neither"


def _acon_range(p1: float, p2: float, beta: float) -> tuple[float, float]:
    # sloping p1 on one side and p2 on the other
    step = p1 - p2
    slopes = (p1, p2) if beta > 0 else (p2, p1)  # where u → ∞ and u → -∞
    right, left = ((p1 + p2) / 2,) * 2 if step * beta == 0 else slopes if step * beta > 0 else slopes[::-1]
    values = [x * (step * float(expit(beta * step * x)) + p2) for x in _acon_points(p1, p2, beta)] + [0.0]
    low = -INF if right < 0 or left > 0 else min(values)
    high = INF if right > 0 or left < 0 else max(values)
    return low, high


@activation(
    Facts(
        name="acon_c",
        formula="(p1 - p2)*x*sigmoid(beta*(p1 - p2)*x) + p2*x",
        aliases=("acon",),
        paper=Paper("Activate or Not: Learning Customized Activation", "Ma, Zhang, Liu, Sun", 2020, "arXiv:2009.04759", status="read"),
        params={
            "p1": Param(1.0, learnable=True, doc="the larger slope far out, learned"),
            "p2": Param(0.0, learnable=True, doc="the smaller slope far out, learned"),
            "beta": Param(1.0, learnable=True, doc="sharpness, learned: linear at 0, max(p1 x, p2 x) for beta → ∞"),
        },
        range=_acon_range,
        monotone=_acon_monotone,
        parity=lambda p1, p2, beta: "odd" if beta * (p1 - p2) == 0 else "neither",
        smoothness=INF,
        lipschitz=lambda p1, p2, beta: max(abs(s) for s in _acon_slopes(p1, p2, beta)),
        kinks=(),
        critical_points=_acon_points,
        tags=("learnable",),
        summary="A smooth maximum of two lines, from linear to ReLU-like as the learned sharpness says.",
    )
)
@in_float32
def acon_c(x: Tensor, p1: float | Tensor = 1.0, p2: float | Tensor = 0.0, beta: float | Tensor = 1.0) -> Tensor:
    """(p1 - p2) · x · sigmoid(beta · (p1 - p2) · x) + p2 · x."""
    steep = (p1 - p2) * x
    return steep * torch.sigmoid(beta * steep) + p2 * x
