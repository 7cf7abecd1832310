"""Gates x · g(x) by a distribution function or another sigmoid with closed-form integrals.

Critical points and Lipschitz constants: the zeros of f' and f'' by mpmath.findroot at 50 digits.
"""

import math

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, activation

from ._precision import in_float32

_PFLU = Paper("PFLU and FPFLU: Two novel non-monotonic activation functions in convolutional neural networks", "Zhu, Meng, Hu, Li", 2021)


@activation(
    Facts(
        name="sgelu",
        formula="x*erf(x/sqrt(2))",
        paper=Paper("Symmetrical Gaussian Error Linear Units (SGELUs)", "Yu, Su", 2019, "arXiv:1911.03925"),
        range=(0.0, INF),
        monotone="neither",
        parity="even",
        smoothness=INF,
        lipschitz=1.2578082903703096,  # f'(√2): f''(x) = 2φ(x)(2 - x²)
        kinks=(),
        critical_points=(0.0,),
        antiderivative="(x*x - 1)*erf(x/sqrt(2))/2 + x*exp(-x*x/2)/sqrt(2*pi)",
        tags=("gate",),
        summary="A smooth |x|: the input weighted by the error function of itself.",
    )
)
@in_float32
def sgelu(x: Tensor) -> Tensor:
    """x · erf(x / √2)."""
    return x * torch.erf(math.sqrt(0.5) * x)


@activation(
    Facts(
        name="lalu",
        formula="where(x > 0, x*(1 - exp(-x)/2), x*exp(x)/2)",
        range=(-0.5 / math.e, INF),
        monotone="neither",
        parity="neither",
        smoothness=2,
        lipschitz=1 + 0.5 * math.exp(-2),  # f'(2)
        kinks=(0.0,),
        critical_points=(-1.0,),
        antiderivative="max(x, 0)**2/2 + sign(x)*((abs(x) + 1)*exp(-abs(x)) - 1)/2",
        tags=("gate",),
        summary="The input weighted by the Laplace distribution function at it.",
    )
)
@in_float32
def lalu(x: Tensor) -> Tensor:
    """x · G(x), G the standard Laplace distribution function: 1 - exp(-x) / 2 for x > 0, exp(x) / 2 otherwise."""
    right, left = x.clamp(min=0), x.clamp(max=0)
    return x * torch.where(x > 0, 1 - 0.5 * torch.exp(-right), 0.5 * torch.exp(left))


@activation(
    Facts(
        name="calu",
        formula="x*(atan(x)/pi + 1/2)",
        range=(-1 / math.pi, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=INF,
        lipschitz=1.0,  # the slope at infinity: f''(x) = 2/(π(1 + x²)²) > 0
        kinks=(),
        critical_points=(),
        antiderivative="((x*x + 1)*where(x < -1, atan(-1/min(x, -1)), atan(x) + pi/2) - x)/(2*pi) - 1/4",
        tags=("gate",),
        summary="The input weighted by the Cauchy distribution function at it.",
    )
)
@in_float32
def calu(x: Tensor) -> Tensor:
    """x · (atan(x) / π + 1/2); the tail as atan(-1 / x) / π, where the sum would cancel."""
    return x * torch.where(x < -1, torch.atan(-1 / x.clamp(max=-1)) / math.pi, torch.atan(x) / math.pi + 0.5)


@activation(
    Facts(
        name="pflu",
        formula="x*(1 + x/sqrt(1 + x*x))/2",
        paper=_PFLU,
        range=(-0.15014155300038880, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=0.5 + 2 * math.sqrt(6) / 9,  # f'(√2)
        kinks=(),
        critical_points=(-0.78615137775742329,),  # -√((√5 - 1)/2)
        antiderivative="where(x > 0, x*(x + sqrt(1 + x*x)), x/(sqrt(1 + x*x) - min(x, 0)))/4 - asinh(x)/4",
        tags=("gate",),
        summary="The input weighted by an algebraic sigmoid.",
    )
)
@in_float32
def pflu(x: Tensor) -> Tensor:
    """x · (1 + x / √(1 + x²)) / 2, the left tail as x / (2r(r - x)), r = √(1 + x²)."""
    r = torch.sqrt(1 + x * x)
    return 0.5 * torch.where(x > 0, x * (1 + x / r), x / (r * (r - x.clamp(max=0))))


@activation(
    Facts(
        name="fpflu",
        formula="where(x > 0, x, x + x*x/sqrt(1 + x*x))",
        paper=_PFLU,
        range=(-0.30028310600077761, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=1,
        lipschitz=1.0,
        kinks=(0.0,),
        critical_points=(-0.78615137775742329,),  # -√((√5 - 1)/2)
        antiderivative="where(x > 0, x*x, x/(sqrt(1 + x*x) - min(x, 0)) - asinh(x))/2",
        tags=("gate", "rectifier"),
        summary="The identity for x > 0, twice PFLU below.",
    )
)
@in_float32
def fpflu(x: Tensor) -> Tensor:
    """x for x > 0, x + x² / √(1 + x²) = x / (r(r - x)) otherwise, r = √(1 + x²)."""
    r = torch.sqrt(1 + x * x)
    return torch.where(x > 0, x, x / (r * (r - x.clamp(max=0))))


@activation(
    Facts(
        name="colu",
        formula="x/(1 - x*exp(-(x + exp(min(x, 9)))))",  # beyond 9 exp(-exp(x)) < 1e-3500; arbitrary precision is slow there
        paper=Paper("Deeper Learning with CoLU Activation", "Vagerwal", 2021, "arXiv:2112.12078", status="read"),
        range=(-0.37715856839612915, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=1.0828346006761452,  # f'(0.24794256348037324), where f'' = 0
        kinks=(),
        critical_points=(-0.72692498859604414,),
        tags=("gate",),
        summary="The input divided by 1 - x·exp(-x - exp(x)).",
    )
)
@in_float32
def colu(x: Tensor) -> Tensor:
    """x / (1 - x · exp(-x - exp(x))), for x < 0 multiplied by exp(x), so that nothing overflows."""
    right, left = x.clamp(min=0), x.clamp(max=0)
    damped = torch.exp(-right - torch.exp(right.clamp(max=6)))
    grown = torch.exp(left)
    return torch.where(x > 0, x / (1 - right * damped), left * grown / (grown - left * torch.exp(-grown)))
