"""Snake and SnakeBeta: a line with a squared sine on it."""

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import at_least, in_float32

_SNAKE = Paper(
    "Neural Networks Fail to Learn Periodic Functions and How to Fix It", "Ziyin, Hartwig, Ueda", 2020, "arXiv:2006.08195", status="read"
)
_BIGVGAN = Paper(
    "BigVGAN: A Universal Neural Vocoder with Large-Scale Training",
    "Lee, Ping, Ginsburg, Catanzaro, Yoon",
    2022,
    "arXiv:2206.04658",
    status="read",
)


@activation(
    Facts(
        name="snake",
        formula="where(abs(alpha) > 0, x + sin(alpha*x)**2/alpha, x)",
        paper=_SNAKE,
        params={"alpha": Param(1.0, learnable=True, doc="frequency, learned; x at 0")},
        range=(-INF, INF),
        monotone="nondecreasing",  # f' = 1 + sin(2 alpha x)
        parity=lambda alpha: "neither" if alpha else "odd",
        smoothness=INF,
        lipschitz=lambda alpha: 2.0 if alpha else 1.0,
        kinks=(),
        # f' touches 0 at infinitely many points: not listed, and not needed for bounds of a monotone function
        antiderivative="x**2/2 + where(abs(alpha) > 0, x/(2*alpha) - sin(2*alpha*x)/(4*alpha**2), 0)",
        tags=("learnable", "periodic"),
        summary="A line with a squared sine of learned frequency on it, so that networks extrapolate periodic functions.",
    )
)
@in_float32
def snake(x: Tensor, alpha: float | Tensor = 1.0) -> Tensor:
    """x + sin²(alpha · x) / alpha; x at alpha = 0."""
    alpha = torch.as_tensor(alpha, dtype=x.dtype, device=x.device)
    tiny = alpha.abs() < 1e-12  # there the sine is its argument, and 1/alpha³ in a second derivative would overflow
    usual = torch.where(tiny, torch.ones_like(alpha), alpha)
    sine = torch.sin(usual * x)
    # sine · (sine / alpha), in this order: the gradient of alpha stays accurate for small alpha
    return x + torch.where(tiny, alpha * x * x.clamp(-1e12, 1e12), sine * (sine / usual))


@activation(
    Facts(
        name="snake_beta",
        formula="x + sin(alpha*x)**2/max(beta, 0.000000001)",
        paper=_BIGVGAN,
        params={
            "alpha": Param(1.0, learnable=True, doc="frequency, learned"),
            "beta": Param(1.0, learnable=True, low=1e-9, doc="inverse magnitude, learned; below 1e-9 taken as 1e-9"),
        },
        range=(-INF, INF),
        monotone=lambda alpha, beta: "nondecreasing" if abs(alpha) <= beta else "neither",  # f' = 1 + alpha/beta sin(2 alpha x)
        parity=lambda alpha, beta: "neither" if alpha else "odd",  # noqa: ARG005 - claims are called with every parameter
        smoothness=INF,
        lipschitz=lambda alpha, beta: 1 + abs(alpha) / max(beta, 1e-9),
        kinks=(),
        antiderivative="x**2/2 + where(abs(alpha) > 0, x/2 - sin(2*alpha*x)/(4*alpha), 0)/max(beta, 0.000000001)",
        tags=("learnable", "periodic"),
        summary="Snake whose frequency and magnitude are learned apart.",
    )
)
@in_float32
def snake_beta(x: Tensor, alpha: float | Tensor = 1.0, beta: float | Tensor = 1.0) -> Tensor:
    """x + sin²(alpha · x) / beta. A beta that training drives below 1e-9 is taken as 1e-9: beyond it is a pole."""
    return x + torch.sin(alpha * x).square() / at_least(beta, 1e-9)
