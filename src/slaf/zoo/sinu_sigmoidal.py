"""Lines with a wave on them: SinLU, CosLU, VLU."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._numeric import expit, extremes, largest_slope
from ._precision import in_float32


def _sinlu_slope(a: float, b: float):  # type: ignore[no-untyped-def]  # a function of an array
    return lambda x: expit(x) * (1 + a * b * np.cos(b * x) + (x + a * np.sin(b * x)) * expit(-x))


def _coslu_slope(a: float, b: float):  # type: ignore[no-untyped-def]
    return lambda x: expit(x) * (1 - a * b * np.sin(b * x) + (x + a * np.cos(b * x)) * expit(-x))


@activation(
    Facts(
        name="sinlu",
        formula="(x + a*sin(b*x))*sigmoid(x)",
        paper=Paper(
            "SinLU: Sinu-Sigmoidal Linear Unit", "Paul, Bandyopadhyay, Yoon, Geem, Sarkar", 2022, "doi:10.3390/math10030337", status="read"
        ),
        params={
            "a": Param(1.0, learnable=True, doc="amplitude of the wave, learned"),
            "b": Param(1.0, learnable=True, doc="frequency of the wave, learned"),
        },
        range=lambda a, b: (extremes(lambda x: (x + a * np.sin(b * x)) * expit(x), -60, 60 + 2 * abs(a), 12001)[0], INF),
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=lambda a, b: largest_slope(_sinlu_slope(a, b), -60, 60, 1 + abs(a * b)),
        kinks=(),
        tags=("learnable",),
        summary="Silu of a line with a learned sine wave on it.",
    )
)
@in_float32
def sinlu(x: Tensor, a: float | Tensor = 1.0, b: float | Tensor = 1.0) -> Tensor:
    """(x + a · sin(b · x)) · sigmoid(x)."""
    return (x + a * torch.sin(b * x)) * torch.sigmoid(x)


@activation(
    Facts(
        name="coslu",
        formula="(x + alpha*cos(beta*x))*sigmoid(x)",
        paper=Paper(
            "Trainable Activations for Image Classification", "Pishchik", 2023, "doi:10.20944/preprints202301.0463.v1", status="read"
        ),
        params={
            "alpha": Param(1.0, learnable=True, doc="amplitude of the wave, learned"),
            "beta": Param(1.0, learnable=True, doc="frequency of the wave, learned"),
        },
        range=lambda alpha, beta: (
            extremes(lambda x: (x + alpha * np.cos(beta * x)) * expit(x), -60, 60 + 2 * abs(alpha), 12001)[0],
            INF,
        ),
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=lambda alpha, beta: largest_slope(_coslu_slope(alpha, beta), -60, 60, 1 + abs(alpha * beta)),
        kinks=(),
        tags=("learnable",),
        summary="Silu of a line with a learned cosine wave on it.",
    )
)
@in_float32
def coslu(x: Tensor, alpha: float | Tensor = 1.0, beta: float | Tensor = 1.0) -> Tensor:
    """(x + alpha · cos(beta · x)) · sigmoid(x)."""
    return (x + alpha * torch.cos(beta * x)) * torch.sigmoid(x)


@activation(
    Facts(
        name="vlu",
        formula="max(x, 0) + alpha*sin(beta*x)",
        params={
            "alpha": Param(1.0, low=0.0, open=True, doc="amplitude of the wave"),
            "beta": Param(1.0, low=0.0, open=True, doc="frequency of the wave"),
        },
        range=lambda alpha, beta: (-alpha, INF),  # noqa: ARG005 - claims are called with every parameter
        monotone="neither",
        parity="neither",
        smoothness=0,
        lipschitz=lambda alpha, beta: 1 + alpha * beta,
        kinks=(0.0,),
        antiderivative="max(x, 0)**2/2 + 2*alpha*sin(beta*x/2)**2/beta",
        tags=("periodic",),
        summary="Variable linear unit: ReLU with a sine wave on it.",
    )
)
@in_float32
def vlu(x: Tensor, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    """max(x, 0) + alpha · sin(beta · x)."""
    return F.relu(x) + alpha * torch.sin(beta * x)
