"""Gates that leave [0, 1] by a learned amount: xGELU, xSiLU, xATLU; and Swish with a bias: Swish-T, Tangma."""

import math

import numpy as np
import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._numeric import SILU_MIN_SLOPE, expit, largest_slope
from ._precision import in_float32

_EXPANDED = Paper("Expanded Gating Ranges Improve Activation Functions", "Huang", 2024, "arXiv:2405.20768")
_ALPHA = {"alpha": Param(0.0, learnable=True, doc="how far the gate leaves [0, 1] at either end, learned")}
_ERF_PART = "x**2/4 + (1 + 2*alpha)/2*((x**2 - 1)/2*erf(x/sqrt(2)) + x*exp(-x**2/2)/sqrt(2*pi))"
_ATAN_PART = "x**2/4 + (1 + 2*alpha)/(2*pi)*((x**2 + 1)*atan(x) - x)"


def _lipschitz(overshoot: float, limit: float = 0.5):  # type: ignore[no-untyped-def]
    """f' = 1/2 + (1 + 2 alpha) (g' - 1/2), g' the slope at alpha = 0, in [-overshoot, 1 + overshoot]."""
    return lambda alpha: 0.5 + abs(1 + 2 * alpha) * (limit + overshoot)


def _range(alpha: float, lowest: float) -> tuple[float, float] | None:
    if alpha == 0:
        return lowest, INF
    if -1 < alpha < 0:  # slopes of one sign at both ends: 1 + alpha and -alpha
        return -INF, INF
    return None if alpha != -1 else (-INF, -lowest)


def _facts(name: str, gate: str, lowest: float, overshoot: float, summary: str, antiderivative: str | None) -> Facts:
    return Facts(
        name=name,
        formula=f"x*(({gate})*(1 + 2*alpha) - alpha)",
        paper=_EXPANDED,
        params=_ALPHA,
        range=lambda alpha: _range(alpha, lowest),
        parity=lambda alpha: "odd" if alpha == -0.5 else "neither",
        smoothness=INF,
        lipschitz=_lipschitz(overshoot),
        kinks=(),
        antiderivative=antiderivative,
        tags=("learnable",),
        summary=summary,
    )


@activation(
    _facts(
        "xgelu",
        "(1 + erf(x/sqrt(2)))/2",
        -0.16997120747990366,
        0.1289041451851548,
        "GELU whose gate leaves [0, 1] by a learned amount; gelu at alpha = 0.",
        _ERF_PART,
    )
)
@in_float32
def xgelu(x: Tensor, alpha: float | Tensor = 0.0) -> Tensor:
    """x · (Φ(x) · (1 + 2 alpha) - alpha), Φ the standard normal distribution function."""
    gate = torch.erfc(x * -math.sqrt(0.5)) / 2
    return x * (gate * (1 + 2 * alpha) - alpha)


@activation(
    _facts(
        "xsilu",
        "sigmoid(x)",
        -0.27846454276107380,
        -SILU_MIN_SLOPE,
        "SiLU whose gate leaves [0, 1] by a learned amount; silu at alpha = 0.",
        None,
    )
)
@in_float32
def xsilu(x: Tensor, alpha: float | Tensor = 0.0) -> Tensor:
    """x · (sigmoid(x) · (1 + 2 alpha) - alpha)."""
    return x * (torch.sigmoid(x) * (1 + 2 * alpha) - alpha)


def _atlu_range(alpha: float) -> tuple[float, float] | None:
    return (-1 / math.pi, INF) if alpha == 0 else _range(alpha, -1 / math.pi)


@activation(
    Facts(
        name="xatlu",
        formula="x*((atan(x)/pi + 1/2)*(1 + 2*alpha) - alpha)",
        paper=_EXPANDED,
        params=_ALPHA,
        range=_atlu_range,  # x (1/2 + atan(x)/π) falls to -1/π for x → -∞
        parity=lambda alpha: "odd" if alpha == -0.5 else "neither",
        smoothness=INF,
        lipschitz=_lipschitz(0.0),
        kinks=(),
        antiderivative=_ATAN_PART,
        tags=("learnable",),
        summary="The input weighted by an arctan gate that leaves [0, 1] by a learned amount.",
    )
)
@in_float32
def xatlu(x: Tensor, alpha: float | Tensor = 0.0) -> Tensor:
    """x · ((atan(x)/π + 1/2) · (1 + 2 alpha) - alpha)."""
    # the gate times x as x/2 + x atan(x)/π would cancel for x → -∞: there the gate is atan(-1/x)/π
    far = x < -1
    inverse = -1 / torch.where(far, x, torch.full_like(x, -1.0))
    gate = torch.where(far, torch.atan(inverse) / math.pi, torch.atan(torch.where(far, torch.zeros_like(x), x)) / math.pi + 0.5)
    return x * (gate * (1 + 2 * alpha) - alpha)


def _swish_t_slope(beta: float, alpha: float):  # type: ignore[no-untyped-def]
    def slope(x):  # type: ignore[no-untyped-def]
        u = beta * x
        return expit(u) * (1 + u * expit(-u)) + alpha / np.cosh(np.clip(x, -300, 300)) ** 2

    return slope


@activation(
    Facts(
        name="swish_t",
        formula="x*sigmoid(beta*x) + alpha*tanh(x)",
        paper=Paper(
            "Swish-T: Enhancing Swish Activation with Tanh Bias for Improved Neural Network Performance",
            "Seo, Kim, Park",
            2024,
            "arXiv:2407.01012",
            status="read",
        ),
        params={
            "beta": Param(1.0, learnable=True, doc="sharpness, learned"),
            "alpha": Param(0.1, doc="size of the tanh"),
        },
        smoothness=INF,
        lipschitz=lambda beta, alpha: (
            largest_slope(_swish_t_slope(beta, alpha), -60, 60, 1 - SILU_MIN_SLOPE if abs(beta) < 0.05 else 1.0)
            if 0.05 <= abs(beta) <= 20
            else None
        ),
        kinks=(),
        tags=("learnable",),
        summary="Swish plus a small tanh, which lets more negative values through.",
    )
)
@in_float32
def swish_t(x: Tensor, beta: float | Tensor = 1.0, alpha: float = 0.1) -> Tensor:
    """x · sigmoid(beta · x) + alpha · tanh(x)."""
    return x * torch.sigmoid(beta * x) + alpha * torch.tanh(x)


@activation(
    Facts(
        name="tangma",
        formula="x*tanh(x + alpha) + gamma*x",
        paper=Paper(
            "Tangma: A Tanh-Guided Activation Function with Learnable Parameters", "Golwala", 2025, "arXiv:2507.10560", status="read"
        ),
        params={
            "alpha": Param(0.0, learnable=True, doc="shift of the gate, learned"),
            "gamma": Param(0.0, learnable=True, doc="slope of the added line, learned"),
        },
        range=lambda alpha, gamma: (0.0, INF) if alpha == gamma == 0 else (-INF, INF) if abs(gamma) > 1 else None,
        parity=lambda alpha, gamma: "even" if alpha == gamma == 0 else "neither",
        smoothness=INF,
        lipschitz=lambda alpha, gamma: largest_slope(
            lambda x: np.tanh(x + alpha) + x / np.cosh(np.clip(x + alpha, -300, 300)) ** 2 + gamma,
            -60,
            60,
            1 + gamma,
            1 - gamma,
        ),
        kinks=(),
        tags=("learnable",),
        summary="The input times a shifted tanh, plus a learned line.",
    )
)
@in_float32
def tangma(x: Tensor, alpha: float | Tensor = 0.0, gamma: float | Tensor = 0.0) -> Tensor:
    """x · tanh(x + alpha) + gamma · x."""
    return x * torch.tanh(x + alpha) + gamma * x
