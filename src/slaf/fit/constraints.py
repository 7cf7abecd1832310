"""What a fit must obey: monotone, Lipschitz, odd or even, or fixed at points; as linear conditions on the coefficients."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slaf.core import SlafError, nearest, one_of

from .minimax import Rows
from .piecewise import PiecewiseTerms

__all__ = ["Constraint", "Fixed", "Lipschitz", "Monotone", "Parity", "as_constraint"]

Terms = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Monotone:
    """p is ``"nondecreasing"`` or ``"nonincreasing"`` on the interval."""

    direction: str = "nondecreasing"

    def __post_init__(self) -> None:
        one_of("direction", self.direction, ("nondecreasing", "nonincreasing"))

    @property
    def slopes(self) -> tuple[float, float]:
        """The least and the largest p' allowed."""
        return (0.0, math.inf) if self.direction == "nondecreasing" else (-math.inf, 0.0)


@dataclass(frozen=True)
class Lipschitz:
    """|p'| <= constant on the interval."""

    constant: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.constant, bool) or not isinstance(self.constant, (int, float)) or not 0 < self.constant < math.inf:
            raise SlafError(f"constant must be a positive number; got {self.constant!r}")

    @property
    def slopes(self) -> tuple[float, float]:
        """The least and the largest p' allowed."""
        return -float(self.constant), float(self.constant)


@dataclass(frozen=True)
class Parity:
    """p(-x) = -p(x), ``"odd"``, or p(-x) = p(x), ``"even"``; the interval must be symmetric about 0."""

    kind: str

    def __post_init__(self) -> None:
        one_of("kind", self.kind, ("odd", "even"))


@dataclass(frozen=True)
class Fixed:
    """The derivative of ``order`` (0: the value) equals ``value`` at ``x``."""

    x: float
    value: float
    order: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.x) and math.isfinite(self.value)):
            raise SlafError(f"x and value must be finite numbers; got {self.x!r} and {self.value!r}")
        if isinstance(self.order, bool) or not isinstance(self.order, int) or not 0 <= self.order <= 4:
            raise SlafError(f"order must be an integer from 0 to 4; got {self.order!r}")


Constraint = Monotone | Lipschitz | Parity | Fixed
_WORDS: dict[str, Constraint] = {
    "nondecreasing": Monotone("nondecreasing"), "nonincreasing": Monotone("nonincreasing"), "odd": Parity("odd"), "even": Parity("even"),
}  # fmt: skip


def as_constraint(given: str | Constraint) -> Constraint:
    """A constraint from its word: ``"nondecreasing"``, ``"nonincreasing"``, ``"odd"``, ``"even"``, ``"lipschitz(1.0)"``.

    Raises:
        SlafError: an unknown word; the nearest is suggested.
    """
    if isinstance(given, (Monotone, Lipschitz, Parity, Fixed)):
        return given
    if isinstance(given, str):
        if given in _WORDS:
            return _WORDS[given]
        match = re.fullmatch(r"lipschitz(?:\((\d+\.?\d*(?:e-?\d+)?)\))?", given)
        if match:
            return Lipschitz(float(match[1] or 1))
    words = (*_WORDS, "lipschitz(1.0)")
    raise SlafError(f"a constraint must be one of {', '.join(words)}, or Fixed(x, value, order); got {given!r}{nearest(str(given), words)}")


def derivative(terms: Terms, x: Tensor, order: int) -> Tensor:
    """The terms' derivatives at ``x``: exactly for piecewise polynomials, by forward-mode differentiation for a function."""
    if isinstance(terms, PiecewiseTerms):
        return terms(x, order)
    if order == 0:
        return terms(x)

    def slope(t: Tensor) -> Tensor:
        return torch.func.jvp(lambda s: derivative(terms, s, order - 1), (t,), (torch.ones_like(t),))[1]

    return slope(x)


def equalities(terms: Terms, constraints: Sequence[Constraint], interval: tuple[float, float], count: int) -> tuple[Tensor, Tensor]:
    """E and d with E w = d for all that must hold exactly: (rows, K) and (rows,)."""
    rows, wanted = [torch.zeros(0, count, dtype=torch.float64)], [torch.zeros(0, dtype=torch.float64)]
    for c in constraints:
        if isinstance(c, Fixed):
            rows.append(derivative(terms, torch.tensor([c.x], dtype=torch.float64), c.order))
            wanted.append(torch.tensor([c.value], dtype=torch.float64))
        elif isinstance(c, Parity):
            low, high = interval
            if abs(low + high) > 1e-12 * (high - low):
                raise SlafError(f"an {c.kind} fit needs an interval symmetric about 0; got ({low:g}, {high:g})")
            # points that are no ends of pieces, where a step would belong to one side only
            x = high * (torch.arange(8 * count + 3, dtype=torch.float64) + 0.4142) / (8 * count + 3)
            rows.append(terms(x) + (1 if c.kind == "odd" else -1) * terms(-x))
            wanted.append(torch.zeros(len(x), dtype=torch.float64))
    return torch.cat(rows), torch.cat(wanted)


def solve_equalities(matrix: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """A particular w and a basis N (K, K - rank) of all others: every solution is w + N v.

    Raises:
        SlafError: there is no solution, or only one.
    """
    count = matrix.shape[1]
    if not len(matrix):
        return torch.zeros(count, dtype=torch.float64), torch.eye(count, dtype=torch.float64)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=True)
    rank = int((s > 1e-10 * s.max().clamp(min=1e-300)).sum())
    particular = vh[:rank].T @ ((u[:, :rank].T @ wanted) / s[:rank])
    if float((matrix @ particular - wanted).abs().max()) > 1e-8 * (1 + float(wanted.abs().max())):
        raise SlafError("the constraints contradict each other: no coefficients obey all that is fixed")
    if rank == count:
        raise SlafError("the constraints leave nothing to fit: they determine every coefficient")
    return particular, vh[rank:].T


def slope_range(constraints: Sequence[Constraint]) -> tuple[float, float]:
    """The slopes that all constraints together allow."""
    ranges = [c.slopes for c in constraints if isinstance(c, (Monotone, Lipschitz))]
    return max((r[0] for r in ranges), default=-math.inf), min((r[1] for r in ranges), default=math.inf)


def slope_rows(terms: Terms, allowed: tuple[float, float], margin: float) -> list[Rows]:
    """The inequalities for slopes within ``allowed``, tightened by ``margin``."""
    least, most = allowed
    rows = []
    if least > -math.inf:
        rows.append(Rows(lambda x: -derivative(terms, x, 1), lambda x: torch.full_like(x, -least - margin)))
    if most < math.inf:
        rows.append(Rows(lambda x: derivative(terms, x, 1), lambda x: torch.full_like(x, most - margin)))
    return rows


def excess(terms: Terms, weights: Tensor, allowed: tuple[float, float], grid: Tensor) -> float:
    """By how much slopes may leave ``allowed``, at most: proven for piecewise polynomials, else on the grid with room for its gaps."""
    least, most = allowed
    if isinstance(terms, PiecewiseTerms):
        slope = terms.combine(weights).derivative()
        cells = max(64, 16384 // (len(terms.breaks) - 1))
        return max(least - slope.minimum(cells), slope.maximum(cells) - most)
    slopes = derivative(terms, grid, 1) @ weights
    gap = float(slopes.diff(n=2).abs().max()) / 4  # twice h²/8·max|p'''|
    return max(least - float(slopes.min()), float(slopes.max()) - most) + gap
