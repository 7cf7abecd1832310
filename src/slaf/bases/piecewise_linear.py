"""Piecewise linear functions as a straight line and hinges, one at every inner knot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import register_basis
from .piecewise import PiecewiseBasis, Table

__all__ = ["PiecewiseLinear"]


@register_basis
@dataclass(frozen=True, repr=False)
class PiecewiseLinear(PiecewiseBasis):
    """φ_1(u) = u, φ_{k+1}(u) = max(u - t_k, 0) for t_k ≥ 0 and max(t_k - u, 0) for t_k < 0; t_k the K - 1 inner edges of K equal cells.

    Truncated powers that all vanish at 0: there b is the value and, unless a knot lies at 0, a_1 the slope; every other coefficient is
    a change of slope. Straight beyond the domain by itself. With the constant the same space as ``bspline(degree=1)``, whose
    coefficients are heights. Condition number of [1, φ] for 11 terms: below 150 (uniform density on the domain).

    Source: a sum of hinges, as in Agostinelli et al. (2014), Learning Activation Functions to Improve Deep Neural Networks,
    arXiv:1412.6830 [from memory], with fixed knots.
    """

    name = "piecewise_linear"
    smoothness = 0

    @property
    def local_degree(self) -> int:
        return 1

    def cells(self, count: int) -> int:
        return count

    def inner_table(self, count: int) -> Table:
        width = self.width(count)
        left = np.arange(count)  # the left edges of the cells, in widths from the domain's end
        table = np.zeros((count, count, 2))
        table[:, 0, 0], table[:, 0, 1] = (left - count / 2) * width, width
        for k in range(1, count):
            right = 2 * k >= count
            inside = left >= k if right else left < k
            sign = width if right else -width
            table[:, k, 0], table[:, k, 1] = sign * inside * (left - k), sign * inside
        return table
