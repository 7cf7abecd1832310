"""Rectifiers that are capped, shifted, bent or smoothed by a fixed formula."""

import math

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import in_float32

_ISRLU = Paper(
    "Improving Deep Learning by Inverse Square Root Linear Units (ISRLUs)", "Carlile, Delamarter, Kinney, Marti, Whitney", 2017,
    "arXiv:1710.09967",
)  # fmt: skip
_SERLU_SCALE, _SERLU_ALPHA = 1.07862, 2.90427


@activation(
    Facts(
        name="clipped_relu",
        formula="min(max(x, 0), ceiling)",
        paper=Paper("Deep Speech: Scaling up end-to-end speech recognition", "Hannun et al.", 2014, "arXiv:1412.5567"),
        params={"ceiling": Param(1.0, low=0.0, open=True, doc="largest value: 20 in Deep Speech, 6 in ReLU6")},
        range=lambda ceiling: (0.0, ceiling),
        monotone="nondecreasing",
        parity="neither",
        smoothness=0,
        lipschitz=1.0,
        kinks=lambda ceiling: (0.0, ceiling),
        critical_points=(),
        antiderivative="min(max(x, 0), ceiling)**2/2 + ceiling*max(x - ceiling, 0)",
        tags=("rectifier", "piecewise linear"),
        summary="ReLU capped at a ceiling.",
    )
)
def clipped_relu(x: Tensor, ceiling: float = 1.0) -> Tensor:
    """min(max(x, 0), ceiling)."""
    return torch.clamp(x, 0.0, ceiling)


@activation(
    Facts(
        name="shifted_relu",
        formula="max(x, -1)",
        paper=Paper(
            "Fast and Accurate Deep Network Learning by Exponential Linear Units (ELUs)",
            "Clevert, Unterthiner, Hochreiter",
            2015,
            "arXiv:1511.07289",
        ),
        range=(-1.0, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=0,
        lipschitz=1.0,
        kinks=(-1.0,),
        critical_points=(),
        antiderivative="where(x > -1, x*x/2, -x - 1/2)",
        tags=("rectifier", "piecewise linear"),
        summary="ReLU moved so that its corner is at (-1, -1).",
    )
)
def shifted_relu(x: Tensor) -> Tensor:
    """max(x, -1)."""
    return torch.clamp(x, min=-1.0)


@activation(
    Facts(
        name="nlrelu",
        formula="log(1 + beta*max(x, 0))",
        paper=Paper(
            "Natural-Logarithm-Rectified Activation Function in Convolutional Neural Networks",
            "Liu, Zhang, Gao, Qu, Ji",
            2019,
            "arXiv:1908.03682",
            status="read",
        ),
        params={"beta": Param(1.0, low=0.0, open=True, doc="slope at 0 from the right")},
        range=(0.0, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=0,
        lipschitz=lambda beta: beta,
        kinks=(0.0,),
        critical_points=(),
        antiderivative="((1 + beta*max(x, 0))*log(1 + beta*max(x, 0)) - beta*max(x, 0))/beta",
        tags=("rectifier",),
        summary="ReLU that grows as a logarithm.",
    )
)
@in_float32
def nlrelu(x: Tensor, beta: float = 1.0) -> Tensor:
    """log(1 + beta · max(x, 0))."""
    return torch.log1p(beta * torch.relu(x))


@activation(
    Facts(
        name="squareplus",
        formula="(x + sqrt(x*x + b))/2",
        paper=Paper("Squareplus: A Softplus-Like Algebraic Rectifier", "Barron", 2021, "arXiv:2112.11687"),
        params={"b": Param(4.0, low=0.0, open=True, doc="size of the curved region; f(0) = √b / 2")},
        range=(0.0, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=INF,
        lipschitz=1.0,
        kinks=(),
        critical_points=(),
        antiderivative="where(x > 0, x*(x + sqrt(x*x + b)), x*b/(sqrt(x*x + b) - min(x, 0)))/4 + b*asinh(x/sqrt(b))/4",
        tags=("rectifier",),
        summary="A smooth ReLU from one square root.",
    )
)
@in_float32
def squareplus(x: Tensor, b: float = 4.0) -> Tensor:
    """(x + √(x² + b)) / 2, for x < 0 as b / (2 (√(x² + b) - x)), which does not cancel."""
    root = torch.sqrt(x * x + b)
    return 0.5 * torch.where(x > 0, x + root, b / (root - x.clamp(max=0)))


@activation(
    Facts(
        name="smelu",
        formula="where(x > beta, x, where(x < -beta, 0, (x + beta)**2/(4*beta)))",
        paper=Paper("Smooth activations and reproducibility in deep networks", "Shamir, Lin, Coviello", 2020, "arXiv:2010.09931"),
        params={"beta": Param(1.0, low=0.0, open=True, doc="half width of the parabola between the two lines")},
        range=(0.0, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=1,
        lipschitz=1.0,
        kinks=lambda beta: (-beta, beta),
        critical_points=(),
        antiderivative="(min(max(x, -beta), beta) + beta)**3/(12*beta) - beta**2/12 + (max(x, beta)**2 - beta**2)/2",
        tags=("rectifier",),
        summary="ReLU with its corner replaced by a parabola.",
    )
)
@in_float32
def smelu(x: Tensor, beta: float = 1.0) -> Tensor:
    """(x + beta)² / (4 beta) for |x| ≤ beta, max(x, 0) beyond."""
    bent = torch.where(x.abs() > beta, torch.zeros_like(x), x + beta)
    return torch.where(x > beta, x, bent * bent / (4 * beta))


@activation(
    Facts(
        name="isrlu",
        formula="where(x > 0, x, x/sqrt(1 + alpha*x*x))",
        paper=_ISRLU,
        params={"alpha": Param(1.0, low=0.0, open=True, doc="the value -1/√alpha is approached for x → -∞")},
        range=lambda alpha: (-1 / math.sqrt(alpha), INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=2,
        lipschitz=1.0,
        kinks=(0.0,),
        critical_points=(),
        antiderivative="where(x > 0, x*x/2, x*x/(1 + sqrt(1 + alpha*x*x)))",
        tags=("rectifier",),
        summary="The identity for x > 0, an algebraic sigmoid below; ELU without an exponential, and smoother.",
    )
)
@in_float32
def isrlu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x for x > 0, x / √(1 + alpha · x²) otherwise."""
    left = x.clamp(max=0)
    return torch.where(x > 0, x, left * torch.rsqrt(1 + alpha * left * left))


@activation(
    Facts(
        name="serlu",
        formula=f"where(x > 0, {_SERLU_SCALE}*x, {_SERLU_SCALE}*{_SERLU_ALPHA}*x*exp(x))",
        paper=Paper("Effectiveness of Scaled Exponentially-Regularized Linear Units (SERLUs)", "Zhang, Li", 2018, "arXiv:1807.10117"),
        range=(-_SERLU_SCALE * _SERLU_ALPHA / math.e, INF),
        monotone="neither",
        parity="neither",
        smoothness=0,
        lipschitz=_SERLU_SCALE * _SERLU_ALPHA,  # the slope at 0 from the left
        kinks=(0.0,),
        critical_points=(-1.0,),
        antiderivative=f"where(x > 0, {_SERLU_SCALE}*x*x/2, {_SERLU_SCALE}*{_SERLU_ALPHA}*((x - 1)*exp(min(x, 0)) + 1))",
        tags=("rectifier",),
        summary="SELU with a bump that returns to 0 in place of the saturation.",
    )
)
@in_float32
def serlu(x: Tensor) -> Tensor:
    """1.07862 · x for x > 0, 1.07862 · 2.90427 · x · exp(x) otherwise."""
    left = x.clamp(max=0)
    return torch.where(x > 0, _SERLU_SCALE * x, _SERLU_SCALE * _SERLU_ALPHA * left * torch.exp(left))
