"""Uniform grids with knots where the function has kinks."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["grid_with_knots_at"]


def grid_with_knots_at(kinks: Sequence[float], low: float, high: float, knots: int) -> tuple[float, float]:
    """(low, high) of the uniform grid of ``knots`` points that covers the interval and has knots at the kinks inside.

    One kink is always met. Several are where their distances are multiples of a spacing; otherwise the outermost two are met.
    """
    inside = [k for k in kinks if low < k < high]
    cells = knots - 1
    if not inside or cells < 2:
        return low, high
    first, last = inside[0], inside[-1]
    if first == last:
        left = min(max(round((first - low) / (high - low) * cells), 1), cells - 1)
        step = _rounded_up(max((first - low) / left, (high - first) / (cells - left)))
        return _clean(first - left * step, first + (cells - left) * step)
    best = None
    for between in range(1, cells - 1):
        step = (last - first) / between
        left, right = (max(1, math.ceil((d - 1e-9 * step) / step)) for d in (first - low, high - last))
        if left + between + right > cells:
            break
        met = sum(abs((k - first) / step - round((k - first) / step)) < 1e-9 for k in inside)
        if best is None or (met, between) >= best[:2]:
            best = (met, between, step, left + (cells - left - between - right) // 2)
    if best is None:
        return grid_with_knots_at(inside[:1], low, high, knots)
    _, between, step, left = best
    return _clean(first - left * step, last + (cells - left - between) * step)


def _rounded_up(step: float) -> float:
    """To three digits, so that strings are short and the kink stays where it is."""
    digits = 2 - math.floor(math.log10(step))
    return round(math.ceil(round(step * 10.0**digits, 9)) * 10.0**-digits, digits)


def _clean(low: float, high: float) -> tuple[float, float]:
    """Without the last digit's noise."""
    return float(f"{low:.14g}"), float(f"{high:.14g}")
