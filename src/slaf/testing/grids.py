"""Points at which functions are examined, and numerical suprema, jumps and sign changes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .case import Case

__all__ = ["is_jump", "jump_points", "magnitudes", "points", "supremum", "wide_grid"]

Function = Callable[[Tensor], Tensor]


def magnitudes(n: int = 241) -> Tensor:
    """±[1e-8, 1e4], evenly in the logarithm: where values and gradients must be finite."""
    positive = torch.logspace(-8, 4, n, dtype=torch.float64)
    return torch.cat([-positive.flip(0), positive])


def points(case: Case) -> Tensor:
    """A few hundred points away from kinks, for comparisons with a slow reference."""
    dense = torch.linspace(-12, 12, 145, dtype=torch.float64) + 0.0123
    return case.away_from_kinks(torch.cat([magnitudes(49), dense]).sort().values)


def wide_grid(case: Case) -> Tensor:
    """±[1e-8, 1e6], densely on [-20, 20], with both sides of every declared kink and critical point."""
    tails = torch.logspace(-8, 6, 281, dtype=torch.float64)
    marks = torch.tensor([*(case.facts.kinks or ()), *(case.facts.critical_points or ())], dtype=torch.float64)
    sides = [marks + s * h * marks.abs().clamp(min=1) for h in (0.0, 1e-9, 1e-6, 1e-4) for s in (-1, 1)]
    return torch.cat([-tails, tails, torch.linspace(-20, 20, 4001, dtype=torch.float64), *sides]).unique()


def supremum(function: Function, grid: Tensor) -> tuple[float, float]:
    """The largest value over a sorted grid, refined around the largest sample, and where it is."""
    for _ in range(5):
        y = function(grid)
        i = int(y.nan_to_num(nan=torch.inf).argmax())
        if not torch.isfinite(y[i]):
            break
        low, high = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
        best, where = float(y[i]), float(grid[i])
        grid = torch.cat([torch.linspace(0, 1, 401, dtype=torch.float64) * (high - low) + low, grid[i : i + 1]]).unique()
    else:
        return best, where
    return float(y[i]), float(grid[i])


def is_jump(function: Function, at: float) -> bool:
    """Whether the limits from the left and from the right differ (or are infinite)."""
    scale = max(1.0, abs(at))
    h = torch.tensor([1e-5, 1e-7], dtype=torch.float64) * scale
    left, right = function(at - h), function(at + h)
    if not bool(torch.isfinite(left).all() and torch.isfinite(right).all()):
        return True
    far, near = (right - left).abs().tolist()
    # over a continuous stretch the difference shrinks with the distance
    return near > 0.5 * far and near > 1e-7 * (1 + float(left.abs().max()))


def jump_points(function: Function, grid: Tensor, keep: Tensor) -> list[float]:
    """Where ``function`` jumps: bisection in the few cells of ``grid`` (those that ``keep`` marks) over which it changes most."""
    y = function(grid)
    change = (y[1:] - y[:-1]).abs().nan_to_num(nan=torch.inf)
    change = torch.where(keep, change, torch.zeros_like(change))
    cells = change.topk(min(8, len(change))).indices
    a, b, ya, yb = grid[cells], grid[cells + 1], y[cells], y[cells + 1]
    start = (yb - ya).abs()
    for _ in range(26):
        middle = (a + b) / 2
        ym = function(middle)
        left = (ym - ya).abs() >= (yb - ym).abs()
        a, ya = torch.where(left, a, middle), torch.where(left, ya, ym)
        b, yb = torch.where(left, middle, b), torch.where(left, ym, yb)
    end = (yb - ya).abs()
    found = (end > 0.3 * start) & (end > 1e-7 * (1 + torch.maximum(ya.abs(), yb.abs()))) | ~torch.isfinite(end)
    return sorted({round(v, 6) for v in a[found].tolist()})
