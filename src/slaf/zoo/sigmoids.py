"""Smooth functions between two bounds."""

import math

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import in_float32

_ISRLU = Paper(
    "Improving Deep Learning by Inverse Square Root Linear Units (ISRLUs)",
    "Carlile, Delamarter, Kinney, Marti, Whitney",
    2017,
    "arXiv:1710.09967",
)
_LECUN = 1.7159


@activation(
    Facts(
        name="arctan",
        formula="atan(x)",
        aliases=("atan",),
        range=(-math.pi / 2, math.pi / 2),
        monotone="nondecreasing",
        parity="odd",
        smoothness=INF,
        lipschitz=1.0,
        kinks=(),
        critical_points=(),
        antiderivative="x*atan(x) - log(1 + x*x)/2",
        tags=("sigmoid-like",),
        summary="The arc tangent, from -π/2 to π/2.",
    )
)
@in_float32
def arctan(x: Tensor) -> Tensor:
    """atan(x)."""
    return torch.atan(x)


@activation(
    Facts(
        name="erf",
        formula="erf(x)",
        range=(-1.0, 1.0),
        monotone="nondecreasing",
        parity="odd",
        smoothness=INF,
        lipschitz=2 / math.sqrt(math.pi),
        kinks=(),
        critical_points=(),
        antiderivative="x*erf(x) + (exp(-x*x) - 1)/sqrt(pi)",
        tags=("sigmoid-like",),
        summary="The error function, from -1 to 1; its dual kernel has a closed form.",
    )
)
@in_float32
def erf(x: Tensor) -> Tensor:
    """erf(x)."""
    return torch.erf(x)


@activation(
    Facts(
        name="gudermannian",
        formula="2*atan(tanh(x/2))",
        range=(-math.pi / 2, math.pi / 2),
        monotone="nondecreasing",
        parity="odd",
        smoothness=INF,
        lipschitz=1.0,
        kinks=(),
        critical_points=(),
        tags=("sigmoid-like",),
        summary="The integral of the hyperbolic secant, from -π/2 to π/2.",
    )
)
@in_float32
def gudermannian(x: Tensor) -> Tensor:
    """2 · atan(tanh(x / 2))."""
    return 2 * torch.atan(torch.tanh(0.5 * x))


@activation(
    Facts(
        name="bipolar_sigmoid",
        formula="(1 - exp(-x))/(1 + exp(-x))",
        range=(-1.0, 1.0),
        monotone="nondecreasing",
        parity="odd",
        smoothness=INF,
        lipschitz=0.5,
        kinks=(),
        critical_points=(),
        antiderivative="abs(x) + 2*log(1 + exp(-abs(x))) - 2*log(2)",
        tags=("sigmoid-like",),
        summary="The sigmoid stretched to run from -1 to 1.",
    )
)
@in_float32
def bipolar_sigmoid(x: Tensor) -> Tensor:
    """2 · sigmoid(x) - 1 = tanh(x / 2)."""
    return torch.tanh(0.5 * x)


@activation(
    Facts(
        name="lecun_tanh",
        formula="1.7159*tanh(2*x/3)",
        paper=Paper("Efficient BackProp", "LeCun, Bottou, Orr, Müller", 1998),
        range=(-_LECUN, _LECUN),
        monotone="nondecreasing",
        parity="odd",
        smoothness=INF,
        lipschitz=_LECUN * 2 / 3,
        kinks=(),
        critical_points=(),
        antiderivative="1.7159*(abs(x) + 3/2*(log(1 + exp(-4/3*abs(x))) - log(2)))",
        tags=("sigmoid-like",),
        summary="The hyperbolic tangent scaled so that it maps ±1 to ±1.",
    )
)
@in_float32
def lecun_tanh(x: Tensor) -> Tensor:
    """1.7159 · tanh(2x / 3)."""
    return _LECUN * torch.tanh(x * (2 / 3))


@activation(
    Facts(
        name="penalized_tanh",
        formula="where(x > 0, tanh(x), alpha*tanh(x))",
        paper=Paper("Revise Saturated Activation Functions", "Xu, Huang, Li", 2016, "arXiv:1602.05980"),
        params={"alpha": Param(0.25, low=0.0, doc="factor for x < 0")},
        range=lambda alpha: (-alpha, 1.0),
        monotone="nondecreasing",
        parity=lambda alpha: "odd" if alpha == 1 else "neither",
        smoothness=lambda alpha: INF if alpha == 1 else 0,
        lipschitz=lambda alpha: max(1.0, alpha),
        kinks=lambda alpha: () if alpha == 1 else (0.0,),
        critical_points=(),
        antiderivative="where(x > 0, 1, alpha)*(abs(x) + log(1 + exp(-2*abs(x))) - log(2))",
        tags=("sigmoid-like",),
        summary="The hyperbolic tangent, scaled down for negative inputs.",
    )
)
@in_float32
def penalized_tanh(x: Tensor, alpha: float = 0.25) -> Tensor:
    """tanh(x) for x > 0, alpha · tanh(x) otherwise."""
    y = torch.tanh(x)
    return torch.where(x > 0, y, alpha * y)


@activation(
    Facts(
        name="isru",
        formula="x/sqrt(1 + alpha*x*x)",
        paper=_ISRLU,
        params={"alpha": Param(1.0, low=0.0, open=True, doc="the bounds are ±1/√alpha")},
        range=lambda alpha: (-1 / math.sqrt(alpha), 1 / math.sqrt(alpha)),
        monotone="nondecreasing",
        parity="odd",
        smoothness=INF,
        lipschitz=1.0,
        kinks=(),
        critical_points=(),
        antiderivative="x*x/(1 + sqrt(1 + alpha*x*x))",
        tags=("sigmoid-like",),
        summary="An algebraic sigmoid from one inverse square root.",
    )
)
@in_float32
def isru(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x / √(1 + alpha · x²)."""
    return x * torch.rsqrt(1 + alpha * x * x)


@activation(
    Facts(
        name="rootsig",
        formula="x/(1 + sqrt(1 + x*x))",
        range=(-1.0, 1.0),
        monotone="nondecreasing",
        parity="odd",
        smoothness=INF,
        lipschitz=0.5,
        kinks=(),
        critical_points=(),
        antiderivative="sqrt(1 + x*x) - 1 - log((1 + sqrt(1 + x*x))/2)",
        tags=("sigmoid-like",),
        summary="An algebraic sigmoid from one square root: tanh(asinh(x) / 2).",
    )
)
@in_float32
def rootsig(x: Tensor) -> Tensor:
    """x / (1 + √(1 + x²))."""
    return x / (1 + torch.sqrt(1 + x * x))


@activation(
    Facts(
        name="elliott",
        formula="1/2 + x/(2*(1 + abs(x)))",
        paper=Paper("A Better Activation Function for Artificial Neural Networks", "Elliott", 1993),
        range=(0.0, 1.0),
        monotone="nondecreasing",
        parity="neither",
        smoothness=1,
        lipschitz=0.5,
        kinks=(0.0,),
        critical_points=(),
        antiderivative="max(x, 0) - log(1 + abs(x))/2",
        tags=("sigmoid-like",),
        summary="Softsign moved to run from 0 to 1.",
    )
)
@in_float32
def elliott(x: Tensor) -> Tensor:
    """1/2 + x / (2 (1 + |x|)), for x < 0 as 1 / (2 (1 - x)), which does not cancel."""
    return torch.where(x > 0, 1 - 0.5 / (1 + x.clamp(min=0)), 0.5 / (1 - x.clamp(max=0)))


@activation(
    Facts(
        name="loglog",
        formula="exp(-exp(-max(x, -9)))",  # below -9 it is < 1e-3500; arbitrary precision is slow there
        range=(0.0, 1.0),
        monotone="nondecreasing",
        parity="neither",
        smoothness=INF,
        lipschitz=1 / math.e,
        kinks=(),
        critical_points=(),
        tags=("sigmoid-like",),
        summary="The Gumbel distribution function, from 0 (fast) to 1 (slowly).",
    )
)
@in_float32
def loglog(x: Tensor) -> Tensor:
    """exp(-exp(-x))."""
    return torch.exp(-torch.exp(-x.clamp(min=-7)))  # exp(-exp(7)) = 0 in float64


@activation(
    Facts(
        name="cloglog",
        formula="1 - exp(-exp(min(x, 9)))",  # beyond 9 it is 1 - 1e-3500; arbitrary precision is slow there
        range=(0.0, 1.0),
        monotone="nondecreasing",
        parity="neither",
        smoothness=INF,
        lipschitz=1 / math.e,
        kinks=(),
        critical_points=(),
        tags=("sigmoid-like",),
        summary="The complementary log-log function, from 0 (slowly) to 1 (fast).",
    )
)
@in_float32
def cloglog(x: Tensor) -> Tensor:
    """1 - exp(-exp(x)) = 1 - loglog(-x)."""
    return -torch.expm1(-torch.exp(x.clamp(max=7)))


@activation(
    Facts(
        name="soft_clipping",
        formula="(log(1 + exp(alpha*x)) - log(1 + exp(alpha*(x - 1))))/alpha",
        paper=Paper("Neural Network-Based Approach to Phase Space Integration", "Klimek, Perelstein", 2018, "arXiv:1810.11509"),
        params={"alpha": Param(10.0, low=0.0, open=True, doc="sharpness of the two corners")},
        range=(0.0, 1.0),
        monotone="nondecreasing",
        parity="neither",
        smoothness=INF,
        lipschitz=lambda alpha: math.tanh(alpha / 4),  # f'(1/2)
        kinks=(),
        critical_points=(),
        tags=("sigmoid-like",),
        summary="Nearly the identity between 0 and 1, smoothly saturating beyond.",
    )
)
@in_float32
def soft_clipping(x: Tensor, alpha: float = 10.0) -> Tensor:
    """log((1 + exp(alpha · x)) / (1 + exp(alpha · (x - 1)))) / alpha, on the right of 1/2 by f(x) = 1 - f(1 - x)."""
    left = torch.where(x > 0.5, 1 - x, x)
    risen = -math.expm1(-alpha) * torch.exp(alpha * left) * torch.sigmoid(alpha * (1 - left))
    y = torch.log1p(risen) / alpha
    return torch.where(x > 0.5, 1 - y, y)
