"""What a basis is, and the registry of bases."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from slaf.core import Registry, SlafError
from slaf.kernels import Recurrence
from slaf.kernels.series import _terms

__all__ = ["Basis", "bases", "basis", "register_basis"]

MAX_DEGREE = 24
"""Beyond it the moments of degree-2K terms leave float32's range."""


@dataclass(frozen=True)
class Basis:
    """A polynomial basis φ_1 … φ_K over u; the constant φ_0 = 1 belongs to the bias.

    Attributes:
        name: as in ``slaf(basis=name)``.
        recurrence: how the terms follow one another.
        domain: the interval of u on which the terms stay of order one.
    """

    name: str
    recurrence: Recurrence
    domain: tuple[float, float] = (-1.0, 1.0)

    def evaluate(self, u: Tensor, degree: int) -> Tensor:
        """The terms one by one: the definition that everything folded is tested against. Shape (*u.shape, degree)."""
        import torch

        return torch.stack(list(_terms(u, degree, self.recurrence)), -1)


bases: Registry[Basis] = Registry("basis")
bases.scan("slaf.bases")


def register_basis(entry: Basis) -> Basis:
    """Make ``entry`` known as ``slaf(basis=<its name>)``."""
    return bases.register(entry.name, entry)


def basis(name: str) -> Basis:
    """The basis called ``name``; on a miss the error suggests the nearest."""
    return bases[name]


def check_degree(degree: object) -> int:
    """Return ``degree`` if it is an integer from 1 to 24; raise otherwise."""
    if isinstance(degree, bool) or not isinstance(degree, int) or not 1 <= degree <= MAX_DEGREE:
        raise SlafError(f"degree must be an integer from 1 to {MAX_DEGREE}; got {degree!r}")
    return degree
