"""Even functions that grow on both sides: the modulus and its smooth relatives."""

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import in_float32

_MODULUS = Paper(
    "Empirical study of the modulus as activation function in computer vision applications",
    "Vallés-Pérez, Soria-Olivas, Martínez-Sober, Serrano-López, Vila-Francés, Gómez-Sanchís",
    2023,
    "arXiv:2301.05993",
    status="read",
)
_TANH_GATE_SLOPE = 1.1996786402577338  # max of (u tanh u)', at the u = coth u of the same value


@activation(
    Facts(
        name="absolute",
        formula="abs(x)",
        aliases=("modulus",),
        paper=_MODULUS,
        range=(0.0, INF),
        monotone="neither",
        parity="even",
        smoothness=0,
        lipschitz=1.0,
        kinks=(0.0,),
        critical_points=(),
        antiderivative="x*abs(x)/2",
        tags=("even", "piecewise linear"),
        summary="The absolute value.",
    )
)
@in_float32  # ONNX's float16 export of abs alone comes back as float32
def absolute(x: Tensor) -> Tensor:
    """|x|; its gradient at 0 is 0."""
    return torch.abs(x)


@activation(
    Facts(
        name="softmodulus_q",
        formula="where(abs(x) < 1, x*x*(2 - abs(x)), abs(x))",
        paper=_MODULUS,
        range=(0.0, INF),
        monotone="neither",
        parity="even",
        smoothness=1,
        lipschitz=4 / 3,  # f'(2/3)
        kinks=(-1.0, 0.0, 1.0),
        critical_points=(),
        antiderivative="sign(x)*(2*min(abs(x), 1)**3/3 - min(abs(x), 1)**4/4 + (max(abs(x), 1)**2 - 1)/2)",
        tags=("even",),
        summary="The modulus with its corner replaced by a cubic.",
    )
)
@in_float32
def softmodulus_q(x: Tensor) -> Tensor:
    """x² · (2 - |x|) for |x| < 1, |x| beyond."""
    size = x.abs()
    small = torch.where(size < 1, x, torch.zeros_like(x))
    return torch.where(size < 1, small * small * (2 - small.abs()), size)


@activation(
    Facts(
        name="softmodulus_t",
        formula="x*tanh(x/alpha)",
        paper=_MODULUS,
        params={"alpha": Param(0.01, low=0.0, open=True, doc="width of the rounded corner")},
        range=(0.0, INF),
        monotone="neither",
        parity="even",
        smoothness=INF,
        lipschitz=_TANH_GATE_SLOPE,
        kinks=(),
        critical_points=(0.0,),
        tags=("even", "gate"),
        summary="The modulus with its corner rounded by a tanh.",
    )
)
@in_float32
def softmodulus_t(x: Tensor, alpha: float = 0.01) -> Tensor:
    """x · tanh(x / alpha)."""
    return x * torch.tanh(x / alpha)


@activation(
    Facts(
        name="lisht",
        formula="x*tanh(x)",
        paper=Paper(
            "LiSHT: Non-Parametric Linearly Scaled Hyperbolic Tangent Activation Function for Neural Networks",
            "Roy, Manna, Dubey, Chaudhuri",
            2019,
            "arXiv:1901.05894",
        ),
        range=(0.0, INF),
        monotone="neither",
        parity="even",
        smoothness=INF,
        lipschitz=_TANH_GATE_SLOPE,
        kinks=(),
        critical_points=(0.0,),
        tags=("even", "gate"),
        summary="The input weighted by its tanh: never negative.",
    )
)
@in_float32
def lisht(x: Tensor) -> Tensor:
    """x · tanh(x)."""
    return x * torch.tanh(x)


@activation(
    Facts(
        name="seagull",
        formula="log(1 + x*x)",
        range=(0.0, INF),
        monotone="neither",
        parity="even",
        smoothness=INF,
        lipschitz=1.0,  # f'(1)
        kinks=(),
        critical_points=(0.0,),
        antiderivative="x*log(1 + x*x) - 2*x + 2*atan(x)",
        tags=("even",),
        summary="The logarithm of 1 + x².",
    )
)
@in_float32
def seagull(x: Tensor) -> Tensor:
    """log(1 + x²)."""
    return torch.log1p(x * x)
