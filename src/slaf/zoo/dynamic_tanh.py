"""Sigmoids with learned scales, some of them in place of a normalisation layer: DyT, Derf, adaptive tanh, scaled softsign."""

import math

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import at_least, in_float32

_LOG_COSH = "abs(alpha*x) + log1p(exp(-2*abs(alpha*x))) - log(2)"
_AFFINE = {
    "weight": Param(1.0, learnable=True, doc="scale of the output, learned"),
    "bias": Param(0.0, learnable=True, doc="shift of the output, learned"),
}


def _range(alpha: float, weight: float, bias: float) -> tuple[float, float]:
    reach = abs(weight) if alpha else 0.0
    return bias - reach, bias + reach


def _monotone(slope: float) -> str:
    return "nondecreasing" if slope >= 0 else "nonincreasing"


def _parity(slope: float, bias: float) -> str | None:
    if slope:
        return "neither" if bias else "odd"
    return "even" if bias else None  # 0 is both


@activation(
    Facts(
        name="dyt",
        formula="weight*tanh(alpha*x) + bias",
        paper=Paper("Transformers without Normalization", "Zhu, Chen, He, LeCun, Liu", 2025, "arXiv:2503.10622", status="read"),
        params={"alpha": Param(0.5, learnable=True, doc="scale of the input, learned")} | _AFFINE,
        range=_range,
        monotone=lambda alpha, weight, bias: _monotone(alpha * weight),  # noqa: ARG005 - claims are called with every parameter
        parity=lambda alpha, weight, bias: _parity(alpha * weight, bias),
        smoothness=INF,
        lipschitz=lambda alpha, weight, bias: abs(alpha * weight),  # noqa: ARG005
        kinks=(),
        critical_points=(),
        antiderivative=f"bias*x + where(abs(alpha) > 0, weight/alpha*({_LOG_COSH}), 0)",
        tags=("learnable",),
        summary="Dynamic tanh: a learned tanh in place of layer normalisation.",
    )
)
@in_float32
def dyt(x: Tensor, alpha: float | Tensor = 0.5, weight: float | Tensor = 1.0, bias: float | Tensor = 0.0) -> Tensor:
    """weight · tanh(alpha · x) + bias. In the paper alpha is one number per layer; here all three are shared as ``share`` says."""
    return weight * torch.tanh(alpha * x) + bias


def _derf_range(alpha: float, s: float, weight: float, bias: float) -> tuple[float, float]:
    if alpha:
        return _range(alpha, weight, bias)
    value = weight * math.erf(s) + bias
    return value, value


@activation(
    Facts(
        name="derf",
        formula="weight*erf(alpha*x + s) + bias",
        paper=Paper("Stronger Normalization-Free Transformers", "Chen, Lu, Zhu, Sun, Liu", 2025, "arXiv:2512.10938", status="read"),
        params={
            "alpha": Param(0.5, learnable=True, doc="scale of the input, learned"),
            "s": Param(0.0, learnable=True, doc="shift of the input, learned"),
        }
        | _AFFINE,
        range=_derf_range,
        monotone=lambda alpha, s, weight, bias: _monotone(alpha * weight),  # noqa: ARG005
        parity=lambda alpha, s, weight, bias: (
            ("odd" if s == bias == 0 else None if -weight * math.erf(s) == bias else "neither") if alpha * weight else None
        ),
        smoothness=INF,
        lipschitz=lambda alpha, s, weight, bias: 2 / math.sqrt(math.pi) * abs(alpha * weight),  # noqa: ARG005
        kinks=(),
        critical_points=(),
        tags=("learnable",),
        summary="Dynamic erf: a learned error function in place of layer normalisation.",
    )
)
@in_float32
def derf(
    x: Tensor,
    alpha: float | Tensor = 0.5,
    s: float | Tensor = 0.0,
    weight: float | Tensor = 1.0,
    bias: float | Tensor = 0.0,
) -> Tensor:
    """weight · erf(alpha · x + s) + bias."""
    return weight * torch.erf(alpha * x + s) + bias


@activation(
    Facts(
        name="adaptive_tanh",
        formula="tanh(n*a*x)",
        paper=Paper(
            "Adaptive activation functions accelerate convergence in deep and physics-informed neural networks",
            "Jagtap, Kawaguchi, Karniadakis",
            2019,
            "arXiv:1906.01170",
            status="read",
        ),
        params={
            "a": Param(0.1, learnable=True, doc="scale, learned"),
            "n": Param(10.0, low=0.0, open=True, doc="factor that makes the gradient of a larger"),
        },
        range=lambda a, n: (-1.0, 1.0) if a else (0.0, 0.0),  # noqa: ARG005
        monotone=lambda a, n: _monotone(a),  # noqa: ARG005
        parity=lambda a, n: "odd" if a else None,  # noqa: ARG005
        smoothness=INF,
        lipschitz=lambda a, n: n * abs(a),
        kinks=(),
        critical_points=(),
        antiderivative="where(abs(a) > 0, (abs(n*a*x) + log1p(exp(-2*abs(n*a*x))) - log(2))/(n*a), 0)",
        tags=("learnable",),
        summary="Tanh of a learned multiple of the input, whose learning a fixed factor speeds up; made for equations of physics.",
    )
)
@in_float32
def adaptive_tanh(x: Tensor, a: float | Tensor = 0.1, n: float = 10.0) -> Tensor:
    """tanh(n · a · x)."""
    return torch.tanh(n * a * x)


@activation(
    Facts(
        name="scaled_softsign",
        formula="alpha*x/(max(beta, 0.001) + abs(x))",
        paper=Paper(
            "Trainable Activations for Image Classification", "Pishchik", 2023, "doi:10.20944/preprints202301.0463.v1", status="read"
        ),
        params={
            "alpha": Param(1.0, learnable=True, doc="the value approached for x → ∞, learned"),
            "beta": Param(1.0, learnable=True, low=1e-3, doc="where half of it is reached, learned; below 0.001 taken as 0.001"),
        },
        range=lambda alpha, beta: (-abs(alpha), abs(alpha)),  # noqa: ARG005
        monotone=lambda alpha, beta: _monotone(alpha),  # noqa: ARG005
        parity=lambda alpha, beta: "odd" if alpha else None,  # noqa: ARG005
        smoothness=lambda alpha, beta: 1 if alpha else INF,  # noqa: ARG005
        lipschitz=lambda alpha, beta: abs(alpha) / max(beta, 1e-3),
        kinks=lambda alpha, beta: (0.0,) if alpha else (),  # noqa: ARG005
        critical_points=(),
        antiderivative="alpha*(abs(x) - max(beta, 0.001)*log1p(abs(x)/max(beta, 0.001)))",
        tags=("learnable",),
        summary="Softsign with a learned height and a learned width.",
    )
)
@in_float32
def scaled_softsign(x: Tensor, alpha: float | Tensor = 1.0, beta: float | Tensor = 1.0) -> Tensor:
    """alpha · x / (beta + |x|)."""
    return alpha * x / (at_least(beta, 1e-3) + x.abs())
