"""B-splines on uniform knots, continued by straight lines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .base import check_integer, register_basis
from .piecewise import PiecewiseBasis, Table

__all__ = ["BSpline"]

MAX_SPLINE_DEGREE = 7


@register_basis
@dataclass(frozen=True, repr=False)
class BSpline(PiecewiseBasis):
    """φ_k = the uniform B-splines B_0 … B_{n+p-1} of degree p on the n = K - p + 1 cells of the domain, but for the middle one.

    The B_i sum to one on the domain, so with the bias all of them would be one too many. The middle one, i = ⌊(n + p)/2⌋, is left
    out: then b is its coefficient, a_k the difference of another's to it, and 1, φ_1 … φ_K are a basis of all splines: rank K + 1.
    Beyond the domain every term goes on as a straight line with the value and the slope at the end, so combinations are C^{p-1}
    inside and C¹ (for p = 1: C⁰) at the ends. For the cubic and 13 terms the condition number of [1, φ] is below 140 (uniform
    density on the domain); the degree drives it: 30 for 2, 8000 for 5.

    Args:
        degree: p, 1 to 7; 3, the cubic spline, is Kolmogorov–Arnold networks' usual choice.

    Source: de Boor, A Practical Guide to Splines (1978) [from memory].
    """

    degree: int = 3

    name = "bspline"
    default_terms = 13
    examples = ("bspline(degree=1)", "bspline(degree=2)", "bspline(degree=5)")

    def __post_init__(self) -> None:
        check_integer("degree of bspline", self.degree, 1, MAX_SPLINE_DEGREE)

    @property
    def smoothness(self) -> float:  # type: ignore[override]
        """C¹ for want of a second derivative's continuity where the straight lines begin."""
        return min(self.degree - 1, 1)

    @property
    def least_terms(self) -> int:
        return self.degree

    @property
    def local_degree(self) -> int:
        return self.degree

    def cells(self, count: int) -> int:
        return count - self.degree + 1

    def inner_table(self, count: int) -> Table:
        n, p = self.cells(count), self.degree
        pieces = _cardinal(p)
        table = np.zeros((n, n + p, p + 1))
        for cell in range(n):
            # B_{i+1} begins p cells before cell i
            for i in range(cell, cell + p + 1):
                table[cell, i] = pieces[cell - i + p]
        return np.delete(table, self.left_out(count), 1)

    def left_out(self, count: int) -> int:
        """The number of the spline that is none of the terms."""
        return (self.cells(count) + self.degree) // 2

    def on_a_cell(self) -> Table:
        """Row r: the r-th of the splines that are not 0 on a cell, in powers of t: (p + 1, p + 1)."""
        return _cardinal(self.degree)[::-1].copy()


@lru_cache(maxsize=8)
def _cardinal(degree: int) -> Table:
    """Row r: the B-spline with knots 0, 1, …, p + 1 on [r, r + 1], in powers of t = x - r: (p + 1, p + 1)."""
    pieces = np.ones((1, 1))
    for p in range(1, degree + 1):
        following = np.zeros((p + 1, p + 1))
        for r in range(p + 1):
            # N_p(x) = x/p N_{p-1}(x) + (p + 1 - x)/p N_{p-1}(x - 1), x = r + t
            if r < p:
                following[r, :-1] += r / p * pieces[r]
                following[r, 1:] += pieces[r] / p
            if r > 0:
                following[r, :-1] += (p + 1 - r) / p * pieces[r - 1]
                following[r, 1:] -= pieces[r - 1] / p
        pieces = following
    return pieces
