"""Sines of the input: the activations of coordinate networks."""

import math

import torch
from torch import Tensor

from slaf.core import INF, Facts, Paper, Param, activation

from ._phase import cosine_of, phase_of_product, sine_of, two_product, two_sum
from ._precision import in_float32

_OMEGA = Param(1.0, low=0.0, open=True, doc="angular frequency")


@activation(
    Facts(
        name="sine",
        formula="sin(omega*x)",
        aliases=("siren",),
        paper=Paper(
            "Implicit Neural Representations with Periodic Activation Functions",
            "Sitzmann, Martel, Bergman, Lindell, Wetzstein",
            2020,
            "arXiv:2006.09661",
            status="read",
        ),
        params={"omega": Param(1.0, low=0.0, open=True, doc="angular frequency, 30 in the paper")},
        range=(-1.0, 1.0),
        monotone="neither",
        parity="odd",
        smoothness=INF,
        lipschitz=lambda omega: omega,
        kinks=(),
        antiderivative="2*sin(omega*x/2)**2/omega",
        tags=("periodic", "coordinate network"),
        summary="The sine, as in SIREN.",
    )
)
@in_float32
def sine(x: Tensor, omega: float = 1.0) -> Tensor:
    """sin(omega · x)."""
    return sine_of(*phase_of_product(x, omega))


@activation(
    Facts(
        name="cosine",
        formula="cos(omega*x)",
        params={"omega": _OMEGA},
        range=(-1.0, 1.0),
        monotone="neither",
        parity="even",
        smoothness=INF,
        lipschitz=lambda omega: omega,
        kinks=(),
        antiderivative="sin(omega*x)/omega",
        tags=("periodic",),
        summary="The cosine.",
    )
)
@in_float32
def cosine(x: Tensor, omega: float = 1.0) -> Tensor:
    """cos(omega · x)."""
    return cosine_of(*phase_of_product(x, omega))


@activation(
    Facts(
        name="expsin",
        formula="exp(sin(a*x))",
        paper=Paper(
            "Beyond Periodicity: Towards a Unifying Framework for Activations in Coordinate-MLPs",
            "Ramasinghe, Lucey",
            2021,
            "arXiv:2111.15135",
        ),
        params={"a": _OMEGA},
        range=(1 / math.e, math.e),
        monotone="neither",
        parity="neither",
        smoothness=INF,
        lipschitz=lambda a: a * 1.4585285371362376,  # where sin² + sin = 1, at 0.666239432492515255/a
        kinks=(),
        tags=("periodic", "coordinate network"),
        summary="The exponential of a sine.",
    )
)
@in_float32
def expsin(x: Tensor, a: float = 1.0) -> Tensor:
    """exp(sin(a · x))."""
    return torch.exp(sine_of(*phase_of_product(x, a)))


@activation(
    Facts(
        name="hosc",
        formula="tanh(beta*sin(omega*x))",
        paper=Paper(
            "HOSC: A Periodic Activation Function for Preserving Sharp Features in Implicit Neural Representations",
            "Serrano, Szymkowiak, Musialski",
            2024,
            "arXiv:2401.10967",
        ),
        params={"beta": Param(1.0, low=0.0, open=True, doc="sharpness: a square wave for beta → ∞"), "omega": _OMEGA},
        range=lambda beta, omega: (-math.tanh(beta), math.tanh(beta)),  # noqa: ARG005 - claims are called with every parameter
        monotone="neither",
        parity="odd",
        smoothness=INF,
        lipschitz=lambda beta, omega: beta * omega,
        kinks=(),
        tags=("periodic", "coordinate network"),
        summary="A sine pressed towards a square wave.",
    )
)
@in_float32
def hosc(x: Tensor, beta: float = 1.0, omega: float = 1.0) -> Tensor:
    """tanh(beta · sin(omega · x))."""
    return torch.tanh(beta * sine_of(*phase_of_product(x, omega)))


@activation(
    Facts(
        name="finer",
        formula="sin(omega*(abs(x) + 1)*x)",
        paper=Paper(
            "FINER: Flexible spectral-bias tuning in Implicit NEural Representation by Variable-periodic Activation Functions",
            "Liu et al.",
            2023,
            "arXiv:2312.02434",
            status="read",
        ),
        params={"omega": _OMEGA},
        range=(-1.0, 1.0),
        monotone="neither",
        parity="odd",
        smoothness=1,
        lipschitz=INF,
        kinks=(0.0,),
        tags=("oscillating", "coordinate network"),
        summary="A sine whose frequency grows with the size of the input.",
    )
)
@in_float32
def finer(x: Tensor, omega: float = 1.0) -> Tensor:
    """sin(omega · (|x| + 1) · x)."""
    square, first = two_product(x, x.abs())
    total, second = two_sum(square, x)
    phase, third = phase_of_product(total, omega)
    correction = omega * (first + second)
    return sine_of(phase, correction if third is None else third + correction)
