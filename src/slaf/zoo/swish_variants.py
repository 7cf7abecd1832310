"""Relatives of Swish (SiLU): scaled, shifted, differentiated, or joined with an exponential on the left.

Critical points and Lipschitz constants: the zeros of f' and f'' by mpmath.findroot at 50 digits.
"""

import math

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import in_float32

_GOLDEN = Paper("The Quest for the Golden Activation Function", "Basirat, Roth", 2018, "arXiv:1808.00783")
_SWISH_MIN, _SWISH_SLOPE = -0.27846454276107380, 1.0998393201288669  # silu at its critical point; its steepest slope


@activation(
    Facts(
        name="e_swish",
        formula="beta*x/(1 + exp(-x))",
        aliases=("eswish",),
        paper=Paper("E-swish: Adjusting Activations to Different Network Depths", "Alcaide", 2018, "arXiv:1801.07145", status="read"),
        params={"beta": Param(1.375, low=0.0, open=True, doc="factor, between 1 and 2 in the paper")},
        range=lambda beta: (beta * _SWISH_MIN, INF),
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=lambda beta: beta * _SWISH_SLOPE,
        kinks=(),
        critical_points=(-1.2784645427610738,),
        tags=("gate",),
        summary="Swish times a constant.",
    )
)
@in_float32
def e_swish(x: Tensor, beta: float = 1.375) -> Tensor:
    """beta · x · sigmoid(x)."""
    return beta * x * torch.sigmoid(x)


@activation(
    Facts(
        name="flatted_t_swish",
        formula="where(x > 0, x/(1 + exp(-x)), 0) + t",
        paper=Paper(
            "Flatten-T Swish: a thresholded ReLU-Swish-like activation function for deep learning",
            "Chieng, Wahid, Ong, Perla",
            2018,
            "arXiv:1812.06247",
        ),
        params={"t": Param(-0.2, doc="value for x < 0")},
        range=lambda t: (t, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=0,
        lipschitz=_SWISH_SLOPE,
        kinks=(0.0,),
        critical_points=(),
        tags=("gate", "rectifier"),
        summary="Swish for x > 0 and zero below, plus a constant.",
    )
)
@in_float32
def flatted_t_swish(x: Tensor, t: float = -0.2) -> Tensor:
    """max(x, 0) · sigmoid(x) + t."""
    return torch.relu(x) * torch.sigmoid(x) + t


@activation(
    Facts(
        name="dsilu",
        formula="(1 + x/(1 + exp(x)))/(1 + exp(-x))",
        paper=Paper(
            "Sigmoid-Weighted Linear Units for Neural Network Function Approximation in Reinforcement Learning",
            "Elfwing, Uchibe, Doya",
            2017,
            "arXiv:1702.03118",
            status="read",
        ),
        range=(-0.099839320128866917, 1.0998393201288669),
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=0.5,  # f'(0)
        kinks=(),
        critical_points=(-2.3993572805154677, 2.3993572805154677),  # where silu'' = 0: x tanh(x/2) = 2
        antiderivative="x*where(x > 0, 1/(1 + exp(-abs(x))), exp(-abs(x))/(1 + exp(-abs(x))))",
        tags=("sigmoid-like",),
        summary="The derivative of SiLU, a sigmoid that overshoots on both sides.",
    )
)
@in_float32
def dsilu(x: Tensor) -> Tensor:
    """sigmoid(x) · (1 + x · sigmoid(-x))."""
    return torch.sigmoid(x) * (1 + x * torch.sigmoid(-x))


@activation(
    Facts(
        name="elish",
        formula="where(x > 0, x, exp(x) - 1)/(1 + exp(-x))",
        paper=_GOLDEN,
        range=(2 * math.sqrt(2) - 3, INF),  # with u = exp(x), f = u(u - 1)/(1 + u) for x < 0
        monotone="neither",
        parity="neither",
        smoothness=1,
        lipschitz=_SWISH_SLOPE,
        kinks=(0.0,),
        critical_points=(-0.88137358701954303,),  # log(√2 - 1)
        tags=("gate",),
        summary="Swish for x > 0, ELU times the sigmoid below.",
    )
)
@in_float32
def elish(x: Tensor) -> Tensor:
    """x · sigmoid(x) for x > 0, (exp(x) - 1) · sigmoid(x) otherwise."""
    return torch.where(x > 0, x, torch.expm1(x.clamp(max=0))) * torch.sigmoid(x)


@activation(
    Facts(
        name="hard_elish",
        formula="where(x > 0, x, exp(x) - 1)*max(0, min(1, (x + 1)/2))",
        paper=_GOLDEN,
        range=(-0.09974152768357674, INF),  # f at the critical point
        monotone="neither",
        parity="neither",
        smoothness=0,
        lipschitz=1.5,  # the slope at 1 from the left
        kinks=(-1.0, 0.0, 1.0),
        critical_points=(-0.44285440100238858,),  # W(e²) - 2, where (x + 2)exp(x) = 1
        antiderivative=(
            "(max(min(x, 0), -1)*exp(max(min(x, 0), -1)) - max(min(x, 0), -1)**2/2 - max(min(x, 0), -1))/2"
            " + min(max(x, 0), 1)**3/6 + min(max(x, 0), 1)**2/4 + (max(x, 1)**2 - 1)/2"
        ),
        tags=("gate",),
        summary="ELiSH with the hard sigmoid in place of the sigmoid.",
    )
)
@in_float32
def hard_elish(x: Tensor) -> Tensor:
    """x · h(x) for x > 0, (exp(x) - 1) · h(x) otherwise, with h(x) = max(0, min(1, (x + 1) / 2))."""
    return torch.where(x > 0, x, torch.expm1(x.clamp(max=0))) * ((x + 1) / 2).clamp(0, 1)


@activation(
    Facts(
        name="hard_mish",
        formula="where(x > 0, x, where(x > -2, x*(x + 2)/2, 0))",
        range=(-0.5, INF),
        monotone="neither",
        parity="neither",
        smoothness=0,
        lipschitz=1.0,
        kinks=(-2.0, 0.0),
        critical_points=(-1.0,),
        antiderivative="max(min(x, 0), -2)**3/6 + max(min(x, 0), -2)**2/2 + max(x, 0)**2/2",
        tags=("gate",),
        summary="Mish by a parabola between -2 and 0.",
    )
)
@in_float32
def hard_mish(x: Tensor) -> Tensor:
    """x / 2 · min(2, max(0, x + 2)). At 0 it is smooth but for the curvature; folklore of model libraries, no paper."""
    return 0.5 * x * (x + 2).clamp(0, 2)
