"""Bells: even functions with one maximum at 0, the activations of radial basis and coordinate networks, and the Mexican hat."""

import math

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import in_float32

_BEYOND = Paper(
    "Beyond Periodicity: Towards a Unifying Framework for Activations in Coordinate-MLPs", "Ramasinghe, Lucey", 2021, "arXiv:2111.15135"
)


@activation(
    Facts(
        name="gaussian",
        formula="exp(-x*x)",
        range=(0.0, 1.0),
        monotone="neither",
        parity="even",
        smoothness=INF,
        lipschitz=math.sqrt(2 / math.e),  # |f'(1/√2)|
        kinks=(),
        critical_points=(0.0,),
        antiderivative="sqrt(pi)/2*erf(x)",
        tags=("bell",),
        summary="The Gaussian bell.",
    )
)
@in_float32
def gaussian(x: Tensor) -> Tensor:
    """exp(-x²)."""
    return torch.exp(-x * x)


@activation(
    Facts(
        name="super_gaussian",
        formula="exp(-b*x*x/(2*a*a))",
        paper=_BEYOND,
        params={"a": Param(1.0, low=0.0, open=True, doc="width"), "b": Param(2.0, low=0.0, open=True, doc="power of the bell")},
        range=(0.0, 1.0),
        monotone="neither",
        parity="even",
        smoothness=INF,
        lipschitz=lambda a, b: math.sqrt(b / math.e) / a,  # |f'(a/√b)|
        kinks=(),
        critical_points=(0.0,),
        antiderivative="a*sqrt(pi/(2*b))*erf(x/a*sqrt(b/2))",
        tags=("bell", "coordinate network"),
        summary="A power of the Gaussian bell of standard deviation a.",
    )
)
@in_float32
def super_gaussian(x: Tensor, a: float = 1.0, b: float = 2.0) -> Tensor:
    """exp(-x² / (2 a²)) ** b."""
    scaled = x * (math.sqrt(b / 2) / a)
    return torch.exp(-scaled * scaled)


@activation(
    Facts(
        name="laplacian",
        formula="exp(-abs(x)/scale)",
        paper=_BEYOND,
        params={"scale": Param(1.0, low=0.0, open=True, doc="width")},
        range=(0.0, 1.0),
        monotone="neither",
        parity="even",
        smoothness=0,
        lipschitz=lambda scale: 1 / scale,
        kinks=(0.0,),
        critical_points=(),
        antiderivative="sign(x)*scale*(1 - exp(-abs(x)/scale))",
        tags=("bell", "coordinate network"),
        summary="The bell of the Laplace distribution, with a corner at 0.",
    )
)
@in_float32
def laplacian(x: Tensor, scale: float = 1.0) -> Tensor:
    """exp(-|x| / scale)."""
    return torch.exp(-x.abs() / scale)


@activation(
    Facts(
        name="inverse_quadratic",
        formula="1/(1 + (a*x)**2)",
        paper=_BEYOND,
        params={"a": Param(1.0, low=0.0, open=True, doc="inverse width")},
        range=(0.0, 1.0),
        monotone="neither",
        parity="even",
        smoothness=INF,
        lipschitz=lambda a: a * 3 * math.sqrt(3) / 8,  # |f'(1/(√3 a))|
        kinks=(),
        critical_points=(0.0,),
        antiderivative="atan(a*x)/a",
        tags=("bell", "coordinate network"),
        summary="The bell of the Cauchy distribution, called quadratic in coordinate networks.",
    )
)
@in_float32
def inverse_quadratic(x: Tensor, a: float = 1.0) -> Tensor:
    """1 / (1 + (a · x)²)."""
    return 1 / (1 + (a * x).square())


@activation(
    Facts(
        name="inverse_multiquadric",
        formula="1/sqrt(1 + (a*x)**2)",
        paper=_BEYOND,
        params={"a": Param(1.0, low=0.0, open=True, doc="inverse width")},
        range=(0.0, 1.0),
        monotone="neither",
        parity="even",
        smoothness=INF,
        lipschitz=lambda a: a * 2 / (3 * math.sqrt(3)),  # |f'(1/(√2 a))|
        kinks=(),
        critical_points=(0.0,),
        antiderivative="asinh(a*x)/a",
        tags=("bell", "coordinate network"),
        summary="A bell with heavy tails, called multi-quadratic in coordinate networks.",
    )
)
@in_float32
def inverse_multiquadric(x: Tensor, a: float = 1.0) -> Tensor:
    """1 / √(1 + (a · x)²)."""
    return torch.rsqrt(1 + (a * x).square())


@activation(
    Facts(
        name="mexican_hat",
        formula="(1 - x*x)*exp(-x*x/2)",
        aliases=("ricker",),
        range=(-2 * math.exp(-1.5), 1.0),
        monotone="neither",
        parity="even",
        smoothness=INF,
        lipschitz=1.3801190461607491,  # |f'(0.741963784302725858)|, √(3 - √6)
        kinks=(),
        critical_points=(-math.sqrt(3), 0.0, math.sqrt(3)),
        antiderivative="x*exp(-x*x/2)",
        tags=("bell", "wavelet"),
        summary="The second derivative of the Gaussian, turned over: a wavelet.",
    )
)
@in_float32
def mexican_hat(x: Tensor) -> Tensor:
    """(1 - x²) · exp(-x² / 2)."""
    return (1 - x) * (1 + x) * torch.exp(-0.5 * x * x)
