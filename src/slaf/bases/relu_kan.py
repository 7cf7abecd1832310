"""The bumps of ReLU-KAN: squared products of two rectified lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import check_integer, register_basis
from .piecewise import PiecewiseBasis, Table

__all__ = ["ReLUKAN"]

MAX_ORDER = 7


@register_basis
@dataclass(frozen=True, repr=False)
class ReLUKAN(PiecewiseBasis):
    """φ_j(u) = (4/(e - s)²·max(e - u, 0)·max(u - s, 0))² on the g = K - order cells of the domain: 1 in the middle of [s, e], 0 outside.

    Each support is order + 1 cells long and begins a cell after the one before, the first ``order`` cells before the domain: as the
    B-splines' of that degree, which they imitate, but their sum is no constant. With cells of length h = 1/g on [0, 1] the factor is the
    paper's r = 4g²/(order + 1)². Beyond the domain every term goes on as a straight line, where the paper's fall to 0: combinations are
    C¹ everywhere. Condition number of [1, φ] for 9 terms: below 900 (uniform density on the domain).

    Args:
        order: k, 1 to 7; 3 in the paper.

    Source: Qiu et al. (2024), ReLU-KAN, arXiv:2406.02075 [from memory].
    """

    order: int = 3

    name = "relu_kan"
    default_terms = 9
    smoothness = 1
    examples = ("relu_kan(order=2)",)

    def __post_init__(self) -> None:
        check_integer("order of relu_kan", self.order, 1, MAX_ORDER)

    @property
    def least_terms(self) -> int:
        """Beyond order 3 it takes more cells than one for the quartics to be independent."""
        return self.order + max(1, self.order - 2)

    @property
    def local_degree(self) -> int:
        return 4

    def cells(self, count: int) -> int:
        return count - self.order

    def inner_table(self, count: int) -> Table:
        length = self.order + 1
        table = np.zeros((self.cells(count), count, 5))
        for cell in range(self.cells(count)):
            for into in range(length):  # how many cells before this one the support begins
                # in cells, u - s = into + t and e - u = length - into - t
                product = np.polynomial.polynomial.polymul([into, 1], [length - into, -1]) * (4 / length**2)
                table[cell, cell + self.order - into] = np.polynomial.polynomial.polymul(product, product)
        return table
