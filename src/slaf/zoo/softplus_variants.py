"""Softplus moved through the origin, and smooth bends: shifted softplus, Soft++, SLU, BLU."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import in_float32


def _through_origin(x: Tensor) -> Tensor:
    """softplus(x) - ln 2 = x/2 + ln cosh(x/2), in the second form near 0, where the first cancels."""
    near = x.abs() < 1
    small = torch.where(near, x, torch.zeros_like(x))
    far = torch.where(near, torch.ones_like(x), x)
    return torch.where(near, small / 2 - torch.log1p(-torch.tanh(small / 2).square()) / 2, F.softplus(far, threshold=50.0) - math.log(2))


@activation(
    Facts(
        name="shifted_softplus",
        formula="softplus(x) - log(2)",
        aliases=("ssp",),
        paper=Paper(
            "SchNet: A continuous-filter convolutional neural network for modeling quantum interactions",
            "Schütt, Kindermans, Sauceda, Chmiela, Tkatchenko, Müller",
            2017,
            "arXiv:1706.08566",
            status="read",
        ),
        range=(-math.log(2), INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=INF,
        lipschitz=1.0,
        kinks=(),
        critical_points=(),
        summary="Softplus moved so that it is 0 at 0.",
    )
)
@in_float32
def shifted_softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) - log(2)."""
    return _through_origin(x)


@activation(
    Facts(
        name="soft_plus_plus",
        formula="softplus(k*x) + x/c - log(2)",
        paper=Paper(
            "Soft++, a multi-parametric non-saturating non-linearity that improves convergence in deep neural architectures",
            "Ciuparu, Nagy-Dăbâcan, Mureşan",
            2020,
            "doi:10.1016/j.neucom.2019.12.014",
        ),
        params={
            "k": Param(1.0, low=0.0, open=True, doc="slope of the softplus"),
            "c": Param(2.0, low=0.0, open=True, doc="inverse slope of the line"),
        },
        range=(-INF, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=INF,
        lipschitz=lambda k, c: k + 1 / c,
        kinks=(),
        critical_points=(),
        summary="Softplus plus a line, through the origin: no side saturates.",
    )
)
@in_float32
def soft_plus_plus(x: Tensor, k: float = 1.0, c: float = 2.0) -> Tensor:
    """log(1 + exp(k · x)) + x / c - log(2)."""
    return _through_origin(k * x) + x / c


@activation(
    Facts(
        name="slu",
        formula="where(x > 0, x, 2*softplus(x) - 2*log(2))",
        paper=Paper(
            "A novel softplus linear unit for deep convolutional neural networks",
            "Zhao, Liu, Li, Luo",
            2018,
            "doi:10.1007/s10489-017-1028-7",
        ),
        range=(-2 * math.log(2), INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=1,
        lipschitz=1.0,
        kinks=(0.0,),
        critical_points=(),
        summary="A line that turns into a softplus, with a continuous slope, for negative inputs.",
    )
)
@in_float32
def slu(x: Tensor) -> Tensor:
    """x for x > 0, 2 · (log(1 + exp(x)) - log(2)) otherwise."""
    return torch.where(x > 0, x, 2 * _through_origin(x.clamp(max=0)))


def _blu_range(beta: float) -> tuple[float, float] | None:
    if abs(beta) < 1:
        return -INF, INF
    return {1.0: (-1.0, INF), -1.0: (-INF, 1.0)}.get(beta)


@activation(
    Facts(
        name="blu",
        formula="beta*(sqrt(x**2 + 1) - 1) + x",
        paper=Paper("An Evaluation of Parametric Activation Functions for Deep Learning", "Godfrey", 2019),
        params={"beta": Param(0.5, learnable=True, low=-1.0, high=1.0, doc="bend, learned: a line at 0")},
        range=_blu_range,
        monotone=lambda beta: "nondecreasing" if abs(beta) <= 1 else "neither",
        parity=lambda beta: "neither" if beta else "odd",
        smoothness=INF,
        lipschitz=lambda beta: 1 + abs(beta),
        kinks=(),
        critical_points=lambda beta: () if abs(beta) <= 1 else None,
        antiderivative="beta*((x*sqrt(x**2 + 1) + asinh(x))/2 - x) + x**2/2",
        tags=("learnable",),
        summary="Bendable linear unit: a line with a learned smooth bend.",
    )
)
@in_float32
def blu(x: Tensor, beta: float | Tensor = 0.5) -> Tensor:
    """beta · (√(x² + 1) - 1) + x."""
    beta = torch.as_tensor(beta, dtype=x.dtype, device=x.device)
    root = (x.square() + 1).sqrt()
    near = beta * (x * (x / (root + 1))) + x
    # far out the root and the line may cancel, so their difference is taken as 1/(root + |x|)
    side = torch.where(beta < 0, -torch.ones_like(beta), torch.ones_like(beta))
    total = root + x.abs()
    far = (1 - side * beta) * x + beta * (torch.where(side * x < 0, 1 / total, total) - 1)
    return torch.where(x.abs() < 1, near, far)
