"""Roots and extremes of a formula in closed form, for claims that depend on parameters and have no closed form of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["SILU_MIN_SLOPE", "expit", "extremes", "largest_slope", "roots", "softplus"]

Function = Callable[[Any], Any]
"""From an array of float64 to an array of the same shape."""

SILU_MIN_SLOPE = -0.09983932012886692
"""min silu', at -2.3993572805154677; silu'(-u) = 1 - silu'(u), so that the maximum is 1 minus this."""


def expit(x: Any) -> Any:
    """1 / (1 + exp(-x)) without overflow, and with all digits in the left tail."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(x, dtype=np.float64)))


def softplus(x: Any) -> Any:
    """log(1 + exp(x)) without overflow."""
    return np.logaddexp(0.0, x)


def roots(function: Function, low: float, high: float, cells: int = 4001) -> tuple[float, ...]:
    """Where ``function`` changes its sign between ``low`` and ``high``, by bisection of the cells of a grid."""
    # an odd number of cells of an interval around 0 keeps the grid off the places where formulas are exactly 0
    grid = np.linspace(low, high, cells + 1)
    with np.errstate(all="ignore"):
        sign = np.sign(function(grid))
        cell = np.flatnonzero(sign[:-1] * sign[1:] < 0)
        a, b, below = grid[cell], grid[cell + 1], sign[cell]
        for _ in range(80):
            middle = (a + b) / 2
            same = np.sign(function(middle)) == below
            a, b = np.where(same, middle, a), np.where(same, b, middle)
    return tuple(float(v) for v in (*((a + b) / 2), *grid[sign == 0]))


def extremes(function: Function, low: float, high: float, cells: int = 4001) -> tuple[float, float]:
    """The smallest and the largest value between ``low`` and ``high``, the best cell of a grid refined."""
    return -_largest(lambda x: -function(x), low, high, cells), _largest(function, low, high, cells)


def largest_slope(derivative: Function, low: float, high: float, *limits: float) -> float:
    """sup |f'| of a function whose slopes outside the interval do not exceed those inside and ``limits``."""
    least, most = extremes(derivative, low, high)
    return max(abs(least), abs(most), *(abs(v) for v in limits))


def _largest(function: Function, low: float, high: float, cells: int) -> float:
    best = -np.inf
    with np.errstate(all="ignore"):
        for _ in range(6):
            grid = np.linspace(low, high, cells + 1)
            y = function(grid)
            i = int(np.argmax(y))
            best = max(best, float(y[i]))
            low, high = float(grid[max(i - 1, 0)]), float(grid[min(i + 1, cells)])
            cells = 101
    return best
