"""Gates made of exponentials and softplus: TanhSoft and Pserf."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._gates import gate_claims
from ._numeric import expit, extremes, largest_slope, roots, softplus
from ._precision import at_least, in_float32

_TANHSOFT = Paper(
    "TanhSoft - a family of activation functions combining Tanh and Softplus",
    "Biswas, Kumar, Banerjee, Pandey",
    2020,
    "arXiv:2009.03863",
    status="read",
)
_ERFACT = Paper(
    "ErfAct and Pserf: Non-monotonic Smooth Trainable Activation Functions", "Biswas, Kumar, Banerjee, Pandey", 2021, "arXiv:2109.04386"
)
_LIMIT = 30.0  # exp(30) opens every gate fully, and its square fits float32


def _exp(u):  # type: ignore[no-untyped-def]  # an array
    return np.exp(np.clip(u, -700, _LIMIT))


def _sech2(v):  # type: ignore[no-untyped-def]
    return 1 / np.cosh(np.clip(v, -300, 300)) ** 2


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _bell(v):  # type: ignore[no-untyped-def]
    """The derivative of erf."""
    return 2 / math.sqrt(math.pi) * np.exp(-(np.clip(v, -30, 30) ** 2))


@activation(
    Facts(
        name="tanhsoft_2",
        formula="x*tanh(beta*exp(gamma*x))",
        paper=_TANHSOFT,
        params={
            "beta": Param(0.6, learnable=True, doc="argument of the gate at 0, learned"),
            "gamma": Param(1.0, learnable=True, doc="sharpness, learned"),
        },
        **gate_claims(
            lambda u, beta: u * np.tanh(beta * _exp(u)),
            lambda u, beta: np.tanh(beta * _exp(u)) + u * beta * _exp(u) * _sech2(beta * _exp(u)),
            "beta",
            "gamma",
        ),
        tags=("learnable",),
        summary="The input times the tanh of a learned exponential; telu at beta = gamma = 1.",
    )
)
@in_float32
def tanhsoft_2(x: Tensor, beta: float | Tensor = 0.6, gamma: float | Tensor = 1.0) -> Tensor:
    """x · tanh(beta · exp(gamma · x))."""
    return x * torch.tanh(beta * torch.exp((gamma * x).clamp(max=_LIMIT)))


@activation(
    Facts(
        name="pserf",
        formula="x*erf(gamma*softplus(delta*x))",
        paper=_ERFACT,
        params={
            "gamma": Param(1.25, learnable=True, doc="scale of the gate's argument, learned"),
            "delta": Param(0.85, learnable=True, doc="sharpness, learned"),
        },
        **gate_claims(
            lambda u, gamma: u * _erf(gamma * softplus(u)),
            lambda u, gamma: _erf(gamma * softplus(u)) + u * gamma * expit(u) * _bell(gamma * softplus(u)),
            "gamma",
            "delta",
        ),
        tags=("learnable",),
        summary="The input times the error function of a learned softplus; serf at gamma = delta = 1.",
    )
)
@in_float32
def pserf(x: Tensor, gamma: float | Tensor = 1.25, delta: float | Tensor = 0.85) -> Tensor:
    """x · erf(gamma · log(1 + exp(delta · x)))."""
    return x * torch.erf(gamma * F.softplus(delta * x, threshold=50.0))


def _tanhsoft_1_slope(alpha: float):  # type: ignore[no-untyped-def]
    return lambda x: abs(alpha) * _sech2(alpha * x) * softplus(x) + np.tanh(abs(alpha) * x) * expit(x)


def _tanhsoft_1_known(alpha: float) -> bool:
    return 0.05 <= abs(alpha) <= 50


def _tanhsoft_1_range(alpha: float) -> tuple[float, float] | None:
    if not _tanhsoft_1_known(alpha):
        return None
    lowest = extremes(lambda x: np.tanh(abs(alpha) * x) * softplus(x), -60, 0, 12001)[0]
    return (lowest, INF) if alpha > 0 else (-INF, -lowest)


@activation(
    Facts(
        name="tanhsoft_1",
        formula="tanh(alpha*x)*softplus(x)",
        paper=_TANHSOFT,
        params={"alpha": Param(0.87, learnable=True, doc="sharpness of the tanh, learned")},
        range=_tanhsoft_1_range,
        monotone=lambda alpha: "neither" if _tanhsoft_1_known(alpha) else None,
        parity=lambda alpha: "neither" if _tanhsoft_1_known(alpha) else None,
        smoothness=INF,
        lipschitz=lambda alpha: (
            largest_slope(_tanhsoft_1_slope(alpha), -60, 60, 1.0, float(_tanhsoft_1_slope(alpha)(np.array(60.0))))
            if abs(alpha) >= 0.1 and _tanhsoft_1_known(alpha)
            else None
        ),
        kinks=(),
        critical_points=lambda alpha: roots(_tanhsoft_1_slope(alpha), -60, 60, 12001) if _tanhsoft_1_known(alpha) else None,
        tags=("learnable",),
        summary="Softplus times the tanh of a learned multiple of the input.",
    )
)
@in_float32
def tanhsoft_1(x: Tensor, alpha: float | Tensor = 0.87) -> Tensor:
    """tanh(alpha · x) · log(1 + exp(x))."""
    return torch.tanh(alpha * x) * F.softplus(x, threshold=50.0)


def _tanhsoft_3_slope(alpha: float):  # type: ignore[no-untyped-def]
    def slope(x):  # type: ignore[no-untyped-def]
        t, weight = np.tanh(alpha * x), np.exp(np.minimum(x, 0))
        return weight * (t + alpha * _sech2(alpha * x)) / (np.exp(-np.maximum(x, 0)) + weight * t)

    return slope


@activation(
    Facts(
        name="tanhsoft_3",
        formula="log(1 + exp(x)*tanh(max(alpha, 0.001)*x))",
        paper=Paper(
            "TanhSoft - Dynamic Trainable Activation Functions for Faster Learning and Better Performance",
            "Biswas, Kumar, Banerjee, Pandey",
            2021,
        ),
        params={"alpha": Param(1.0, learnable=True, low=1e-3, doc="sharpness of the tanh, learned; below 0.001 taken as 0.001")},
        range=lambda alpha: (
            (extremes(lambda x: np.log1p(np.exp(x) * np.tanh(alpha * x)), -60, 0, 12001)[0], INF) if 0.05 <= alpha <= 50 else None
        ),
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=lambda alpha: largest_slope(_tanhsoft_3_slope(alpha), -60, 60, 1.0, alpha) if 0.1 <= alpha <= 50 else None,
        kinks=(),
        critical_points=lambda alpha: roots(_tanhsoft_3_slope(alpha), -60, 10, 12001) if 0.05 <= alpha <= 50 else None,
        tags=("learnable",),
        summary="Softplus whose exponential is weighted by a tanh of learned sharpness.",
    )
)
@in_float32
def tanhsoft_3(x: Tensor, alpha: float | Tensor = 1.0) -> Tensor:
    """log(1 + exp(x) · tanh(alpha · x))."""
    t = torch.tanh(at_least(alpha, 1e-3) * x)
    small = x < 1  # there log1p is accurate; beyond it the exponential is taken out of the logarithm
    low = torch.log1p(torch.where(small, x, torch.zeros_like(x)).exp() * torch.where(small, t, torch.zeros_like(t)))
    high = x + torch.log(torch.exp(-x.clamp(min=1)) + torch.where(small, torch.ones_like(t), t))
    return torch.where(small, low, high)
