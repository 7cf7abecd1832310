"""Exponential units with learned or fixed shapes: PELU, MPELU, FELU, PREU, Hexpo."""

import math

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import at_least, in_float32


@activation(
    Facts(
        name="pelu",
        formula="where(x > 0, a/max(b, 0.001)*x, a*(exp(x/max(b, 0.001)) - 1))",
        paper=Paper(
            "Parametric Exponential Linear Unit for Deep Convolutional Neural Networks",
            "Trottier, Giguère, Chaib-draa",
            2016,
            "arXiv:1605.09332",
            status="read",
        ),
        params={
            "a": Param(1.0, learnable=True, low=1e-3, doc="the value -a is approached for x → -∞, learned"),
            "b": Param(1.0, learnable=True, low=1e-3, doc="scale of the decay, learned; below 0.001 taken as 0.001"),
        },
        range=lambda a, b: (-a, INF),  # noqa: ARG005 - claims are called with every parameter
        monotone="nondecreasing",
        parity="neither",
        smoothness=1,
        lipschitz=lambda a, b: a / max(b, 1e-3),
        kinks=(0.0,),
        critical_points=(),
        antiderivative="a/max(b, 0.001)*max(x, 0)**2/2 + a*(max(b, 0.001)*expm1(min(x, 0)/max(b, 0.001)) - min(x, 0))",
        tags=("learnable",),
        summary="ELU whose saturation and decay are learned, and whose slope stays continuous.",
    )
)
@in_float32
def pelu(x: Tensor, a: float | Tensor = 1.0, b: float | Tensor = 1.0) -> Tensor:
    """(a / b) · x for x > 0, a · (exp(x / b) - 1) otherwise."""
    b = at_least(b, 1e-3)
    return torch.where(x > 0, a / b * x, a * torch.expm1(x.clamp(max=0) / b))


def _mpelu_range(alpha: float, beta: float = 1.0) -> tuple[float, float]:
    return (min(-alpha, 0.0) if beta > 0 else 0.0, INF)


@activation(
    Facts(
        name="mpelu",
        formula="where(x > 0, x, alpha*(exp(max(beta, 0)*x) - 1))",
        paper=Paper(
            "Improving Deep Neural Network with Multiple Parametric Exponential Linear Units",
            "Li, Fan, Li, Wu, Ming",
            2016,
            "arXiv:1606.00305",
            status="read",
        ),
        params={
            "alpha": Param(1.0, learnable=True, doc="the value -alpha is approached for x → -∞, learned"),
            "beta": Param(1.0, learnable=True, low=0.0, open=True, doc="speed of the decay, learned; below 0 taken as 0, where f is ReLU"),
        },
        range=_mpelu_range,
        monotone=lambda alpha, beta: "nondecreasing" if alpha >= 0 or beta <= 0 else "neither",
        parity="neither",
        smoothness=lambda alpha, beta: 1 if alpha * beta == 1 else 0,
        lipschitz=lambda alpha, beta: max(1.0, abs(alpha) * beta),
        kinks=(0.0,),
        critical_points=(),
        antiderivative="max(x, 0)**2/2 + where(beta > 0, alpha*(expm1(beta*min(x, 0))/beta - min(x, 0)), 0)",
        tags=("learnable",),
        summary="ELU whose saturation and decay are learned apart: ReLU, PReLU-like and ELU in one.",
    )
)
@in_float32
def mpelu(x: Tensor, alpha: float | Tensor = 1.0, beta: float | Tensor = 1.0) -> Tensor:
    """x for x > 0, alpha · (exp(beta · x) - 1) otherwise."""
    return torch.where(x > 0, x, alpha * torch.expm1(at_least(beta, 0.0) * x.clamp(max=0)))


@activation(
    Facts(
        name="felu",
        formula="where(x > 0, x, alpha*(2**(x/log(2)) - 1))",
        paper=Paper(
            "Improved Convolutional Neural Network Based on Fast Exponentially Linear Unit Activation Function",
            "Qiumei, Dan, Fenghua",
            2019,
        ),
        params={"alpha": Param(1.0, learnable=True, doc="the value -alpha is approached for x → -∞, learned")},
        range=_mpelu_range,
        monotone=lambda alpha: "nondecreasing" if alpha >= 0 else "neither",
        parity="neither",
        smoothness=lambda alpha: 1 if alpha == 1 else 0,
        lipschitz=lambda alpha: max(1.0, abs(alpha)),
        kinks=(0.0,),
        critical_points=(),
        antiderivative="max(x, 0)**2/2 + alpha*(expm1(min(x, 0)) - min(x, 0))",
        tags=("learnable",),
        summary="ELU with a learned saturation; the paper's power of 2 is the exponential.",
    )
)
@in_float32
def felu(x: Tensor, alpha: float | Tensor = 1.0) -> Tensor:
    """x for x > 0, alpha · (2^(x / ln 2) - 1) = alpha · (exp(x) - 1) otherwise."""
    return torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))


def _preu_range(alpha: float, beta: float) -> tuple[float, float]:
    if alpha * max(beta, 0) == 0:
        return (-INF, INF) if alpha else (0.0, 0.0)
    turn = -alpha / (math.e * beta)  # f(-1/beta)
    return (turn, INF) if alpha > 0 else (-INF, turn)


@activation(
    Facts(
        name="preu",
        formula="where(x > 0, alpha*x, alpha*x*exp(max(beta, 0)*x))",
        paper=Paper(
            "Rectified Exponential Units for Convolutional Neural Networks", "Ying et al.", 2019, "doi:10.1109/ACCESS.2019.2928442"
        ),
        params={
            "alpha": Param(1.0, learnable=True, doc="scale, learned"),
            "beta": Param(1.0, learnable=True, low=0.0, open=True, doc="speed of the decay, learned; below 0 taken as 0: a line"),
        },
        range=_preu_range,
        monotone=lambda alpha, beta: "neither" if alpha * max(beta, 0) else "nondecreasing" if alpha >= 0 else "nonincreasing",
        parity=lambda alpha, beta: "neither" if alpha * max(beta, 0) else "odd" if alpha else None,
        smoothness=lambda alpha, beta: 1 if alpha * max(beta, 0) else INF,
        lipschitz=lambda alpha, beta: abs(alpha),  # noqa: ARG005
        kinks=lambda alpha, beta: (0.0,) if alpha * max(beta, 0) else (),
        critical_points=lambda alpha, beta: (-1 / beta,) if alpha * max(beta, 0) else (),
        antiderivative=(
            "alpha*(max(x, 0)**2/2 + where(beta > 0, (beta*min(x, 0)*exp(beta*min(x, 0)) - expm1(beta*min(x, 0)))/beta**2, min(x, 0)**2/2))"
        ),
        tags=("learnable",),
        summary="A line that turns into x exp(x) for negative inputs, both scales learned.",
    )
)
@in_float32
def preu(x: Tensor, alpha: float | Tensor = 1.0, beta: float | Tensor = 1.0) -> Tensor:
    """alpha · x for x > 0, alpha · x · exp(beta · x) otherwise."""
    return alpha * x * torch.exp(at_least(beta, 0.0) * x.clamp(max=0))


@activation(
    Facts(
        name="hexpo",
        formula="where(x > 0, -a*(exp(-x/b) - 1), c*(exp(x/d) - 1))",
        paper=Paper("Hexpo: A Vanishing-Proof Activation Function", "Kong, Takatsuka", 2017),
        params={
            "a": Param(1.0, low=0.0, open=True, doc="the value approached for x → ∞"),
            "b": Param(1.0, low=0.0, open=True, doc="scale of the decay for x > 0"),
            "c": Param(1.0, low=0.0, open=True, doc="the value -c is approached for x → -∞"),
            "d": Param(1.0, low=0.0, open=True, doc="scale of the decay for x < 0"),
        },
        range=lambda a, b, c, d: (-c, a),  # noqa: ARG005
        monotone="nondecreasing",
        parity=lambda a, b, c, d: "odd" if (a, b) == (c, d) else "neither",
        smoothness=lambda a, b, c, d: 1 if a / b == c / d else 0,
        lipschitz=lambda a, b, c, d: max(a / b, c / d),
        kinks=(0.0,),
        critical_points=(),
        antiderivative="a*(max(x, 0) + b*expm1(-max(x, 0)/b)) + c*(d*expm1(min(x, 0)/d) - min(x, 0))",
        summary="Two saturating exponentials joined at 0, steeper there than tanh.",
    )
)
@in_float32
def hexpo(x: Tensor, a: float = 1.0, b: float = 1.0, c: float = 1.0, d: float = 1.0) -> Tensor:
    """a · (1 - exp(-x / b)) for x > 0, c · (exp(x / d) - 1) otherwise."""
    return torch.where(x > 0, -a * torch.expm1(-x.clamp(min=0) / b), c * torch.expm1(x.clamp(max=0) / d))
