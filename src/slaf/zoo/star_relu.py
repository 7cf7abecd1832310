"""Squares of a ReLU, and ReLU itself, scaled and moved by learned numbers."""

import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._precision import in_float32


def _range(scale: float, bias: float) -> tuple[float, float]:
    return (-INF if scale < 0 else bias, INF if scale > 0 else bias)


def _monotone(scale: float, **_: float) -> str:
    return "nondecreasing" if scale >= 0 else "nonincreasing"


@activation(
    Facts(
        name="star_relu",
        formula="scale*max(x, 0)**2 + bias",
        paper=Paper("MetaFormer Baselines for Vision", "Yu, Si, Zhou, Luo, Zhou, Feng, Yan, Wang", 2022, "arXiv:2210.13452", status="read"),
        params={
            "scale": Param(0.8944, learnable=True, doc="factor, learned; with the bias, mean 0 and variance 1 for normal inputs"),
            "bias": Param(-0.4472, learnable=True, doc="shift, learned"),
        },
        range=_range,
        monotone=_monotone,
        parity=lambda scale, bias: "neither" if scale else "even",  # noqa: ARG005 - claims are called with every parameter
        smoothness=lambda scale, bias: 1 if scale else INF,  # noqa: ARG005
        lipschitz=lambda scale, bias: INF if scale else 0.0,  # noqa: ARG005
        kinks=lambda scale, bias: (0.0,) if scale else (),  # noqa: ARG005
        critical_points=(),
        antiderivative="scale*max(x, 0)**3/3 + bias*x",
        tags=("learnable",),
        summary="The squared ReLU, scaled and shifted to mean 0 and variance 1.",
    )
)
@in_float32
def star_relu(x: Tensor, scale: float | Tensor = 0.8944, bias: float | Tensor = -0.4472) -> Tensor:
    """scale · max(x, 0)² + bias."""
    return scale * F.relu(x).square() + bias


@activation(
    Facts(
        name="shilu",
        formula="alpha*max(x, 0) + beta",
        paper=Paper(
            "Trainable Activations for Image Classification", "Pishchik", 2023, "doi:10.20944/preprints202301.0463.v1", status="read"
        ),
        params={"alpha": Param(1.0, learnable=True, doc="slope, learned"), "beta": Param(0.0, learnable=True, doc="shift, learned")},
        range=lambda alpha, beta: _range(alpha, beta),
        monotone=lambda alpha, beta: _monotone(alpha),  # noqa: ARG005
        parity=lambda alpha, beta: "neither" if alpha else "even" if beta else None,
        smoothness=lambda alpha, beta: 0 if alpha else INF,  # noqa: ARG005
        lipschitz=lambda alpha, beta: abs(alpha),  # noqa: ARG005
        kinks=lambda alpha, beta: (0.0,) if alpha else (),  # noqa: ARG005
        critical_points=(),
        antiderivative="alpha*max(x, 0)**2/2 + beta*x",
        tags=("learnable",),
        summary="ReLU with a learned slope and a learned shift.",
    )
)
@in_float32
def shilu(x: Tensor, alpha: float | Tensor = 1.0, beta: float | Tensor = 0.0) -> Tensor:
    """alpha · max(x, 0) + beta."""
    return alpha * F.relu(x) + beta


@activation(
    Facts(
        name="frelu",
        formula="max(x, 0) + b",
        paper=Paper(
            "FReLU: Flexible Rectified Linear Units for Improving Convolutional Neural Networks",
            "Qiu, Xu, Cai",
            2017,
            "arXiv:1706.08098",
        ),
        params={"b": Param(0.0, learnable=True, doc="value for x < 0, learned")},
        range=lambda b: (b, INF),
        monotone="nondecreasing",
        parity="neither",
        smoothness=0,
        lipschitz=1.0,
        kinks=(0.0,),
        critical_points=(),
        antiderivative="max(x, 0)**2/2 + b*x",
        tags=("learnable",),
        summary="ReLU with a learned shift, which training drives below 0.",
    )
)
@in_float32
def frelu(x: Tensor, b: float | Tensor = 0.0) -> Tensor:
    """max(x, 0) + b."""
    return F.relu(x) + b
