"""Functions that oscillate without being periodic.

Extremes and Lipschitz constants: the zeros of f' and f'' by mpmath.findroot at 50 digits. They have infinitely many critical points.
"""

import math

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._phase import phase_of_product, sine_of
from ._precision import in_float32

_TAYLOR = [(-1) ** k / math.factorial(2 * k + 1) for k in range(10)]  # of sin(u)/u in u², to 1e-19 for |u| < 1


def _sinc_near_zero(u: Tensor) -> Tensor:
    """sin(u) / u for |u| < 1, with exact derivatives at 0."""
    y, square = torch.zeros_like(u), u * u
    for coefficient in reversed(_TAYLOR):
        y = y * square + coefficient
    return y


@activation(
    Facts(
        name="sinc",
        formula="where(abs(x) > 0, sin(omega*x)/(omega*x), 1)",
        params={"omega": Param(1.0, low=0.0, open=True, doc="angular frequency, π in torch.sinc")},
        range=(-0.21723362821122166, 1.0),  # at omega x = ±4.49340945790906418, where tan(u) = u
        monotone="neither",
        parity="even",
        smoothness=INF,
        lipschitz=lambda omega: omega * 0.43618181727145850,  # at omega x = ±2.08157597781810061
        kinks=(),
        known_gaps={
            "lipschitz_on_intervals": "near 0 the slope's formula divides by intervals that hold 0: there the global constant is the answer"
        },
        tags=("oscillating", "coordinate network"),
        summary="The unnormalised cardinal sine.",
    )
)
@in_float32
def sinc(x: Tensor, omega: float = 1.0) -> Tensor:
    """sin(omega · x) / (omega · x), and 1 at 0."""
    phase, correction = phase_of_product(x, omega)
    near = phase.abs() < 1
    ones, zeros = torch.ones_like(x), torch.zeros_like(x)
    far = sine_of(phase, correction) / torch.where(near, ones, phase)
    return torch.where(near, _sinc_near_zero(torch.where(near, phase, zeros)), far)


@activation(
    Facts(
        name="gcu",
        formula="x*cos(x)",
        aliases=("growing_cosine",),
        paper=Paper(
            "Growing Cosine Unit: A Novel Oscillatory Activation Function That Can Speedup Training and Reduce Parameters "
            "in Convolutional Neural Networks",
            "Noel, L, Trivedi, Dutta",
            2021,
            "arXiv:2108.12943",
            status="read",
        ),
        range=(-INF, INF),
        monotone="neither",
        parity="odd",
        smoothness=INF,
        lipschitz=INF,
        kinks=(),
        antiderivative="x*sin(x) - 2*sin(x/2)**2",
        tags=("oscillating",),
        summary="Growing cosine unit: the input times its cosine.",
    )
)
@in_float32
def gcu(x: Tensor) -> Tensor:
    """x · cos(x)."""
    return x * torch.cos(x)


@activation(
    Facts(
        name="minsin",
        formula="where(x > 0, sin(x), x)",
        range=(-INF, 1.0),
        monotone="neither",
        parity="neither",
        smoothness=2,
        lipschitz=1.0,
        kinks=(0.0,),
        antiderivative="where(x > 0, 2*sin(x/2)**2, x*x/2)",
        tags=("oscillating",),
        summary="The smaller of the input and its sine.",
    )
)
@in_float32
def minsin(x: Tensor) -> Tensor:
    """min(x, sin(x)): the identity for x < 0, the sine above."""
    return torch.where(x > 0, torch.sin(x), x)


@activation(
    Facts(
        name="cosid",
        formula="cos(x) - x",
        range=(-INF, INF),
        monotone="nonincreasing",
        parity="neither",
        smoothness=INF,
        lipschitz=2.0,
        kinks=(),
        antiderivative="sin(x) - x*x/2",
        tags=("oscillating",),
        summary="The cosine minus the identity.",
    )
)
@in_float32
def cosid(x: Tensor) -> Tensor:
    """cos(x) - x."""
    return torch.cos(x) - x
