"""Sigmoids of straight lines and parabolas, exactly constant beyond an interval, and jumps."""

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import in_float32


@activation(
    Facts(
        name="hardsigmoid_keras",
        formula="min(max(x/5 + 1/2, 0), 1)",
        range=(0.0, 1.0),
        monotone="nondecreasing",
        parity="neither",
        smoothness=0,
        lipschitz=0.2,
        kinks=(-2.5, 2.5),
        critical_points=(),
        antiderivative="min(max(x, -2.5), 2.5)**2/10 + min(max(x, -2.5), 2.5)/2 + max(x - 2.5, 0)",
        tags=("sigmoid-like", "piecewise linear"),
        summary="The hard sigmoid of early Keras and Theano, of slope 1/5.",
    )
)
@in_float32
def hardsigmoid_keras(x: Tensor) -> Tensor:
    """min(max(0.2 x + 0.5, 0), 1)."""
    return 0.2 * x.clamp(-2.5, 2.5) + 0.5


@activation(
    Facts(
        name="hardsigmoid_binary",
        formula="min(max((x + 1)/2, 0), 1)",
        paper=Paper(
            "Binarized Neural Networks: Training Deep Neural Networks with Weights and Activations Constrained to +1 or -1",
            "Courbariaux, Hubara, Soudry, El-Yaniv, Bengio",
            2016,
            "arXiv:1602.02830",
            status="read",
        ),
        range=(0.0, 1.0),
        monotone="nondecreasing",
        parity="neither",
        smoothness=0,
        lipschitz=0.5,
        kinks=(-1.0, 1.0),
        critical_points=(),
        antiderivative="min(max(x, -1), 1)**2/4 + min(max(x, -1), 1)/2 + max(x - 1, 0)",
        tags=("sigmoid-like", "piecewise linear"),
        summary="The hard sigmoid of binarised networks, of slope 1/2.",
    )
)
@in_float32
def hardsigmoid_binary(x: Tensor) -> Tensor:
    """min(max((x + 1) / 2, 0), 1)."""
    return 0.5 * x.clamp(-1, 1) + 0.5


@activation(
    Facts(
        name="smoothstep",
        formula="where(x > gamma/2, 1, where(x < -gamma/2, 0, -2*x**3/gamma**3 + 3*x/(2*gamma) + 1/2))",
        paper=Paper(
            "The Tree Ensemble Layer: Differentiability meets Conditional Computation",
            "Hazimeh, Ponomareva, Mol, Tan, Mazumder",
            2020,
            "arXiv:2002.07772",
        ),
        params={"gamma": Param(1.0, low=0.0, open=True, doc="width of the rise from 0 to 1")},
        range=(0.0, 1.0),
        monotone="nondecreasing",
        parity="neither",
        smoothness=1,
        lipschitz=lambda gamma: 1.5 / gamma,
        kinks=lambda gamma: (-gamma / 2, gamma / 2),
        critical_points=(),
        antiderivative=(
            "min(max(x, -gamma/2), gamma/2)/2 + 3*min(max(x, -gamma/2), gamma/2)**2/(4*gamma)"
            " - min(max(x, -gamma/2), gamma/2)**4/(2*gamma**3) + max(x - gamma/2, 0)"
        ),
        tags=("sigmoid-like",),
        summary="A cubic that rises from 0 to 1 with level ends.",
    )
)
@in_float32
def smoothstep(x: Tensor, gamma: float = 1.0) -> Tensor:
    """-2 x³ / gamma³ + 3x / (2 gamma) + 1/2 between ±gamma / 2, 0 and 1 beyond: t² (3 - 2t) with t = x / gamma + 1/2."""
    t = x.clamp(-gamma / 2, gamma / 2) / gamma + 0.5
    return t * t * (3 - 2 * t)


@activation(
    Facts(
        name="sqnl",
        formula="where(x > 2, 1, where(x > 0, x - x*x/4, where(x > -2, x + x*x/4, -1)))",
        paper=Paper("SQNL: A New Computationally Efficient Activation Function", "Wuraola, Patel", 2018),
        range=(-1.0, 1.0),
        monotone="nondecreasing",
        parity="odd",
        smoothness=1,
        lipschitz=1.0,
        kinks=(-2.0, 0.0, 2.0),
        critical_points=(),
        antiderivative="min(abs(x), 2)**2/2 - min(abs(x), 2)**3/12 + max(abs(x) - 2, 0)",
        tags=("sigmoid-like",),
        summary="A tanh by two parabolas.",
    )
)
@in_float32
def sqnl(x: Tensor) -> Tensor:
    """x - x · |x| / 4 between ±2, ±1 beyond."""
    inside = x.clamp(-2, 2)
    return inside * (1 - 0.25 * inside.abs())


@activation(
    Facts(
        name="sign",
        formula="sign(x)",
        range=(-1.0, 1.0),
        monotone="nondecreasing",
        parity="odd",
        smoothness=-1,
        lipschitz=INF,
        kinks=(0.0,),
        critical_points=(),
        antiderivative="abs(x)",
        tags=("step",),
        summary="-1, 0 or 1; its gradient is 0.",
    )
)
def sign(x: Tensor) -> Tensor:
    """sign(x): 0 at 0; the gradient is 0 everywhere."""
    return torch.sign(x)


@activation(
    Facts(
        name="step",
        formula="where(x < 0, 0, 1)",
        aliases=("heaviside",),
        paper=Paper("A Logical Calculus of the Ideas Immanent in Nervous Activity", "McCulloch, Pitts", 1943),
        range=(0.0, 1.0),
        monotone="nondecreasing",
        parity="neither",
        smoothness=-1,
        lipschitz=INF,
        kinks=(0.0,),
        critical_points=(),
        antiderivative="max(x, 0)",
        tags=("step",),
        summary="0 for negative inputs, 1 from 0 on; its gradient is 0.",
    )
)
def step(x: Tensor) -> Tensor:
    """1 where x ≥ 0, 0 otherwise; the gradient is 0 everywhere."""
    return 1 + torch.sign(x.clamp(max=0))
