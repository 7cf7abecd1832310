"""Powers, rectified or not, and fixed polynomials of low degree."""

import math

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import in_float32

_OSCILLATING = Paper(
    "Biologically Inspired Oscillating Activation Functions Can Bridge the Performance Gap between Biological and Artificial Neurons",
    "Noel, Bharadwaj, Muthiah-Nakarajan, Dutta, Amali",
    2021,
    "arXiv:2111.04020",
)


@activation(
    Facts(
        name="square",
        formula="x*x",
        range=(0.0, INF),
        monotone="neither",
        parity="even",
        smoothness=INF,
        lipschitz=INF,
        kinks=(),
        critical_points=(0.0,),
        antiderivative="x**3/3",
        tags=("polynomial",),
        summary="The square of the input.",
    )
)
def square(x: Tensor) -> Tensor:
    """x²."""
    return x * x


@activation(
    Facts(
        name="cube",
        formula="x**3",
        range=(-INF, INF),
        monotone="nondecreasing",
        parity="odd",
        smoothness=INF,
        lipschitz=INF,
        kinks=(),
        critical_points=(0.0,),
        antiderivative="x**4/4",
        tags=("polynomial",),
        summary="The cube of the input.",
    )
)
@in_float32
def cube(x: Tensor) -> Tensor:
    """x³."""
    return x * x * x


@activation(
    Facts(
        name="quad",
        formula="x*x/8 + x/4 + 1/2",
        paper=Paper(
            "MPCFormer: fast, performant and private Transformer inference with MPC", "Li et al.", 2022, "arXiv:2211.01452", status="read"
        ),
        range=(0.375, INF),
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=INF,
        kinks=(),
        critical_points=(-1.0,),
        antiderivative="x**3/24 + x*x/8 + x/2",
        tags=("polynomial",),
        summary="The parabola that stands in for GELU under encryption.",
    )
)
@in_float32
def quad(x: Tensor) -> Tensor:
    """0.125 x² + 0.25 x + 0.5."""
    return (0.125 * x + 0.25) * x + 0.5


@activation(
    Facts(
        name="squ",
        formula="x*x + x",
        paper=_OSCILLATING,
        range=(-0.25, INF),
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=INF,
        kinks=(),
        critical_points=(-0.5,),
        antiderivative="x**3/3 + x*x/2",
        tags=("polynomial",),
        summary="Shifted quadratic unit: the identity plus the square.",
    )
)
@in_float32
def squ(x: Tensor) -> Tensor:
    """x² + x."""
    return x * (x + 1)


@activation(
    Facts(
        name="ncu",
        formula="x - x**3",
        paper=_OSCILLATING,
        range=(-INF, INF),
        monotone="neither",
        parity="odd",
        smoothness=INF,
        lipschitz=INF,
        kinks=(),
        critical_points=(-math.sqrt(1 / 3), math.sqrt(1 / 3)),
        antiderivative="x*x/2 - x**4/4",
        tags=("polynomial",),
        summary="Non-monotonic cubic unit: the identity minus the cube.",
    )
)
@in_float32
def ncu(x: Tensor) -> Tensor:
    """x - x³."""
    return x * (1 - x) * (1 + x)


@activation(
    Facts(
        name="squared_relu",
        formula="max(x, 0)**2",
        aliases=("relu_squared",),
        paper=Paper(
            "Primer: Searching for Efficient Transformers for Language Modeling", "So et al.", 2021, "arXiv:2109.08668", status="read"
        ),
        range=(0.0, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=1,
        lipschitz=INF,
        kinks=(0.0,),
        critical_points=(),
        antiderivative="max(x, 0)**3/3",
        tags=("polynomial", "rectifier"),
        summary="The square of ReLU.",
    )
)
def squared_relu(x: Tensor) -> Tensor:
    """max(x, 0)²."""
    return torch.relu(x).square()


@activation(
    Facts(
        name="repu",
        formula="max(x, 0)**power",
        aliases=("cubed_relu",),
        paper=Paper("Better Approximations of High Dimensional Smooth Functions by Deep Neural Networks with Rectified Power Units",
                    "Li, Tang, Yu", 2019, "arXiv:1903.05858"),
        params={"power": Param(3.0, low=2.0, doc="exponent, whole or not")},
        range=(0.0, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=lambda power: math.ceil(power) - 1,
        lipschitz=INF,
        kinks=(0.0,),
        critical_points=(),
        antiderivative="max(x, 0)**(power + 1)/(power + 1)",
        tags=("polynomial", "rectifier"),
        summary="A power of ReLU, the cube by default.",
    )
)  # fmt: skip
@in_float32
def repu(x: Tensor, power: float = 3.0) -> Tensor:
    """max(x, 0) ** power."""
    return torch.relu(x) ** power
