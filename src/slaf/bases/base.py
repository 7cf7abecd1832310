"""What a basis is, and the registry of bases."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from slaf.core import Registry, SlafError, Spec, bind, one_of, parse

__all__ = ["Basis", "bases", "basis", "register_basis"]

MAX_DEGREE, MAX_TERMS = 24, 64
"""Beyond degree 24 the moments of degree-2K terms leave float32's range."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Basis(ABC):
    """A basis φ_1 … φ_K over u; the constant φ_0 = 1 belongs to the bias.

    A concrete basis is a frozen dataclass whose fields, if any, are its own parameters: ``bspline(degree=3)``. Equal parameters make
    equal, hashable objects; ``str(basis)`` is the specification that :func:`basis` reads back.

    Class attributes:
        name: as in ``slaf(basis=name)``.
        domain: the interval of u, symmetric about 0, that the terms are made for.
        smoothness: n where every combination of terms is C^n on the whole line.
        least_terms, default_terms: the smallest K, and the one taken where none is given.
        examples: further specifications worth showing and testing.
    """

    name: ClassVar[str]
    domain: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    smoothness: ClassVar[float] = math.inf
    default_terms: ClassVar[int] = 11
    examples: ClassVar[tuple[str, ...]] = ()

    @property
    def half_width(self) -> float:
        """Half the length of the domain: what an input in [-1, 1] is multiplied by."""
        return self.domain[1]

    @property
    def least_terms(self) -> int:
        """The smallest number of terms."""
        return 1

    # -- the terms ----------------------------------------------------------------------------------------------------------

    @abstractmethod
    def derivative(self, u: Tensor, count: int, order: int = 1) -> Tensor:
        """The derivatives of that order of the terms; order 0 gives the terms. Shape (*u.shape, count), dtype of u."""

    @abstractmethod
    def antiderivative(self, u: Tensor, count: int) -> Tensor:
        """∫₀ᵘ φ_k for every k. Shape (*u.shape, count), dtype of u."""

    @abstractmethod
    def expressions(self, x: Any, count: int) -> list[Any]:
        """φ_1(x) … φ_K(x) as sympy expressions; sympy is imported here alone."""

    def evaluate(self, u: Tensor, count: int) -> Tensor:
        """The terms one by one: the definition that every faster path is tested against. Shape (*u.shape, count), dtype of u."""
        return self.derivative(u, count, 0)

    # -- their combinations -------------------------------------------------------------------------------------------------

    def mixing(self, count: int) -> Matrix | None:  # noqa: ARG002 - for those that are mixed
        """M with φ_k = Σ_j M[k, j] e_j where the terms are made of simpler elements e_j; ``None`` where they are the elements."""
        return None

    @abstractmethod
    def combine(self, u: Tensor, coefficients: Tensor, count: int) -> Tensor:
        """Σ_j c_j e_j(u) without a tensor for all elements at once, for c of shape (J, …), each c_j broadcasting against u."""

    def element_sizes(self, count: int) -> list[tuple[float, float]] | None:  # noqa: ARG002 - for those that are bounded
        """Upper bounds of |e_j| and |e_j'| over the whole line, for estimates of rounding; ``None`` where there are none."""
        return None

    def expression(self, x: Any, coefficients: Sequence[float]) -> Any:
        """Σ_k a_k φ_k(x) as a sympy expression with float coefficients."""
        import sympy

        terms = zip(coefficients, self.expressions(x, len(coefficients)), strict=True)
        return sum((sympy.Float(a) * term for a, term in terms), sympy.Integer(0))

    # -- names --------------------------------------------------------------------------------------------------------------

    def spec(self) -> Spec:
        """The specification, parameters at their default left out."""
        return Spec(self.name, (), {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default})

    def __str__(self) -> str:
        return str(self.spec())

    __repr__ = __str__

    def check_terms(self, count: object) -> int:
        """Return ``count`` if it is a number of terms that this basis has; raise otherwise."""
        if isinstance(count, bool) or not isinstance(count, int) or not self.least_terms <= count <= MAX_TERMS:
            raise SlafError(f"terms of basis {self} must be an integer from {self.least_terms} to {MAX_TERMS}; got {count!r}")
        return count


bases: Registry[type[Basis]] = Registry("basis")
bases.scan("slaf.bases")

B = TypeVar("B", bound=type[Basis])


def register_basis(entry: B) -> B:
    """Make a class of bases known as ``slaf(basis=<its name>)``; a decorator. Raises if the name is taken."""
    bases.register(entry.name, entry)
    return entry


def basis(spec: str | Spec | Basis) -> Basis:
    """The basis that ``spec`` names, such as ``"chebyshev"`` or ``"bspline(degree=2)"``; a :class:`Basis` is returned as it is.

    Raises:
        SlafError: an unknown name or parameter (the nearest is suggested), a value that is not allowed, or a domain that is not
            symmetric about 0.
    """
    if isinstance(spec, Basis):
        return spec
    if not isinstance(spec, (str, Spec)):
        raise SlafError(f"basis must be a name such as 'chebyshev' or 'bspline(degree=2)'; got {spec!r}")
    parsed = parse(spec) if isinstance(spec, str) else spec
    made: Basis = bind(bases[one_of("basis", parsed.name, bases.names())], parsed.args, parsed.kwargs, {}, parsed.name)
    low, high = made.domain
    if not 0 < high == -low < math.inf:
        raise SlafError(f"the domain of a basis must be symmetric about 0; {made} has {made.domain!r}")
    return made


def check_degree(degree: object) -> int:
    """Return ``degree`` if it is an integer from 1 to 24; raise otherwise."""
    if isinstance(degree, bool) or not isinstance(degree, int) or not 1 <= degree <= MAX_DEGREE:
        raise SlafError(f"degree must be an integer from 1 to {MAX_DEGREE}; got {degree!r}")
    return degree


def check_number(argument: str, value: object, low: float, high: float) -> None:
    """Raise unless ``value`` is a number with low <= value <= high."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise SlafError(f"{argument} must be a number from {low:g} to {high:g}; got {value!r}")


def check_integer(argument: str, value: object, low: int, high: int) -> None:
    """Raise unless ``value`` is an integer from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SlafError(f"{argument} must be an integer from {low} to {high}; got {value!r}")


def check_order(order: object) -> int:
    """Return ``order`` if it is a non-negative integer; raise otherwise."""
    if isinstance(order, bool) or not isinstance(order, int) or order < 0:
        raise SlafError(f"order must be a non-negative integer; got {order!r}")
    return order
