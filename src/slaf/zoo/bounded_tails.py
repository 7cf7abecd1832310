"""Lines whose negative side is a learned sigmoid, and RSigELU, which joins three pieces."""

import math

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import in_float32

_RSIGELU = Paper(
    "RSigELU: A nonlinear activation function for deep neural networks",
    "Kiliçarslan, Celik",
    2021,
    "doi:10.1016/j.eswa.2021.114805",
    status="read",
)


@activation(
    Facts(
        name="ptelu",
        formula="where(x > 0, x, alpha*tanh(beta*x))",
        paper=Paper("P-TELU: Parametric Tan Hyperbolic Linear Unit Activation for Deep Neural Networks", "Duggal, Gupta", 2017),
        params={
            "alpha": Param(1.0, learnable=True, doc="the value -alpha is approached for x → -∞, learned"),
            "beta": Param(1.0, learnable=True, doc="speed of the saturation, learned"),
        },
        range=lambda alpha, beta: (-abs(alpha) if alpha * beta > 0 else 0.0, INF),
        monotone=lambda alpha, beta: "nondecreasing" if alpha * beta >= 0 else "neither",
        parity="neither",
        smoothness=lambda alpha, beta: 2 if alpha * beta == 1 else 0,
        lipschitz=lambda alpha, beta: max(1.0, abs(alpha * beta)),
        kinks=(0.0,),
        critical_points=(),
        antiderivative=(
            "max(x, 0)**2/2 + where(abs(beta) > 0, alpha/beta*(abs(beta*min(x, 0)) + log1p(exp(-2*abs(beta*min(x, 0)))) - log(2)), 0)"
        ),
        tags=("learnable",),
        summary="A line that turns into a tanh for negative inputs, both of whose scales are learned.",
    )
)
@in_float32
def ptelu(x: Tensor, alpha: float | Tensor = 1.0, beta: float | Tensor = 1.0) -> Tensor:
    """x for x > 0, alpha · tanh(beta · x) otherwise."""
    return torch.where(x > 0, x, alpha * torch.tanh(beta * x))


def _erf_slope(alpha: float) -> float:
    return 2 * alpha / math.sqrt(math.pi)


@activation(
    Facts(
        name="erf_relu",
        formula="where(x > 0, x, alpha*erf(x))",
        paper=Paper("ErfReLU: Adaptive Activation Function for Deep Neural Network", "Rajanand, Singh", 2023, "arXiv:2306.01822"),
        params={"alpha": Param(1.0, learnable=True, doc="the value -alpha is approached for x → -∞, learned")},
        range=lambda alpha: (min(-alpha, 0.0), INF),
        monotone=lambda alpha: "nondecreasing" if alpha >= 0 else "neither",
        parity="neither",
        smoothness=lambda alpha: 0 if abs(_erf_slope(alpha) - 1) > 1e-6 else None,  # C² at √π/2, which no float is
        lipschitz=lambda alpha: max(1.0, abs(_erf_slope(alpha))),
        kinks=(0.0,),
        critical_points=(),
        antiderivative="max(x, 0)**2/2 + alpha*(min(x, 0)*erf(min(x, 0)) + expm1(-min(x, 0)**2)/sqrt(pi))",
        tags=("learnable",),
        summary="ReLU whose negative side is a learned multiple of the error function.",
    )
)
@in_float32
def erf_relu(x: Tensor, alpha: float | Tensor = 1.0) -> Tensor:
    """x for x > 0, alpha · erf(x) otherwise."""
    return torch.where(x > 0, x, alpha * torch.erf(x.clamp(-40, 0)))


def _rsigelu_facts(name: str, left: str, params: dict[str, Param], summary: str) -> Facts:
    return Facts(
        name=name,
        formula=f"where(x > 1, alpha*x*sigmoid(x) + x, where(x > 0, x, {left}*(exp(x) - 1)))",
        paper=_RSIGELU,
        params=params,
        range=lambda **p: (-p[left], INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=lambda **p: -1 if p["alpha"] else 1 if p[left] == 1 else 0,
        lipschitz=lambda **p: INF if p["alpha"] else max(1.0, p[left]),  # it jumps at 1
        kinks=lambda **p: (0.0, 1.0) if p["alpha"] else (0.0,),
        critical_points=(),
        tags=(),
        summary=summary,
    )


@activation(
    _rsigelu_facts(
        "rsigelu",
        "alpha",
        {"alpha": Param(0.5, low=0.0, doc="size of the sigmoid part above 1 and of the exponential below 0")},
        "Identity on [0, 1], ELU below, and the line plus silu above, where it jumps at 1.",
    )
)
@in_float32
def rsigelu(x: Tensor, alpha: float = 0.5) -> Tensor:
    """x + alpha · x · sigmoid(x) for x > 1, x on [0, 1], alpha · (exp(x) - 1) below 0."""
    return rsigelud.__wrapped__(x, alpha, alpha)  # type: ignore[attr-defined]


@activation(
    _rsigelu_facts(
        "rsigelud",
        "beta",
        {
            "alpha": Param(0.5, low=0.0, doc="size of the sigmoid part above 1"),
            "beta": Param(0.5, low=0.0, doc="the value -beta is approached for x → -∞"),
        },
        "RSigELU with a size of its own for either end.",
    )
)
@in_float32
def rsigelud(x: Tensor, alpha: float = 0.5, beta: float = 0.5) -> Tensor:
    """x + alpha · x · sigmoid(x) for x > 1, x on [0, 1], beta · (exp(x) - 1) below 0."""
    left = torch.where(x > 0, x, beta * torch.expm1(x.clamp(max=0)))
    return torch.where(x > 1, x + alpha * (x * torch.sigmoid(x)), left)
