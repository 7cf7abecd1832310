"""Best approximation in the maximum norm from any linear family: linear programs on a growing set of points.

The reference set grows by the points where the current error is largest, as in Remez' exchange, until the linear program's value,
which no member of the family can beat on those points, and the true maximum agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slaf.core import SlafError

from .linear_program import linear_program
from .piecewise import chebyshev_points
from .target import Function, Target, as_function, kinks_of

__all__ = ["Minimax", "minimax"]

ROUNDS = 40


@dataclass(frozen=True)
class Minimax:
    """What :func:`minimax` found.

    Attributes:
        coefficients: (K,), float64.
        max_error: the largest error found on a dense grid, refined at its peaks.
        lower_bound: no coefficients have a smaller maximum error (the linear program's value); ``max_error`` is near it.
        where: the x of the largest error.
    """

    coefficients: Tensor
    max_error: float
    lower_bound: float
    where: float


@dataclass(frozen=True)
class Rows:
    """matrix(x) @ w <= limit(x): a constraint at points, to be kept on the whole interval."""

    matrix: Callable[[Tensor], Tensor]
    limit: Callable[[Tensor], Tensor]


def minimax(
    target: Target,
    terms: Callable[[Tensor], Tensor],
    interval: tuple[float, float],
    kinks: Sequence[float] = (),
    rtol: float = 1e-3,
    rows: Sequence[Rows] = (),
) -> Minimax:
    """The w that minimises max |target(x) - Σ_k w_k terms_k(x)| over ``interval``.

    Args:
        target: an activation string, a module, or a function (n,) → (n,), float64.
        terms: maps (n,) to (n, K), float64; linearly independent on the interval.
        interval: (low, high).
        kinks: points of terms that the grid shall contain, beside the target's own.
        rtol: how far ``max_error`` may be above ``lower_bound``.
        rows: inequalities that hold too, on the grid.

    Raises:
        SlafError: scipy is missing; the target is not finite on the interval; the terms depend on each other; no solution.
    """
    kinks, target = (*kinks, *kinks_of(target)), as_function(target)
    grid = dense_grid(interval, terms, kinks)
    y = target(grid)
    if not bool(torch.isfinite(y).all()):
        raise SlafError(f"the function to fit is not finite on [{interval[0]:g}, {interval[1]:g}]")
    design = terms(grid)
    map_back = _conditioned(design)
    basis = design @ map_back
    # about the least-squares solution and scaled by its error, so that the solver's absolute tolerances are relative
    start = torch.linalg.lstsq(basis, y[:, None], driver="gelsd").solution[:, 0]
    residual = y - basis @ start
    size = float(residual.abs().max())
    if size <= 64 * torch.finfo(torch.float64).eps * float(y.abs().max()) and not rows:
        return _result(target, terms, map_back @ start, grid, 0.0)
    size = size or 1.0
    problem = _Exchange(basis, residual / size, [_on_grid(r, grid, map_back, start, size) for r in rows], design.shape[1])
    solution, lower = problem.solve(rtol / 2)
    found = _result(target, terms, map_back @ (start + size * solution), grid, size * lower)
    if found.max_error > (1 + rtol) * found.lower_bound:  # peaks between the grid's points: take them in
        extra = _peaks(target, terms, found.coefficients, grid)
        return _polish(target, terms, found, extra, (grid, map_back, start, size), problem, rtol)
    return found


def _polish(
    target: Function, terms: Callable[[Tensor], Tensor], found: Minimax, extra: Tensor, known: tuple[Tensor, Tensor, Tensor, float],
    problem: _Exchange, rtol: float,
) -> Minimax:  # fmt: skip
    grid, map_back, start, size = known
    for _ in range(8):
        basis = terms(extra) @ map_back
        problem.extend(basis, (target(extra) - basis @ start) / size)
        solution, lower = problem.solve(rtol / 2)
        again = _result(target, terms, map_back @ (start + size * solution), grid, size * lower)
        if again.max_error < found.max_error:
            found = again
        if again.max_error <= (1 + rtol) * again.lower_bound:
            break
        extra = _peaks(target, terms, again.coefficients, grid)
    return found


class _Exchange:
    """Linear programs over a growing subset of the rows: minimise t where |r - Q v| <= t, and side conditions C v <= d."""

    def __init__(self, basis: Tensor, residual: Tensor, side: list[tuple[Tensor, Tensor]], count: int) -> None:
        self.basis, self.residual, self.side = basis, residual, side
        picks = torch.linspace(0, len(basis) - 1, min(len(basis), 3 * count + 2)).round().long()
        self.working = {int(i) for i in picks}
        self.side_working: list[set[int]] = [{int(i) for i in picks} for _ in side]

    def extend(self, basis: Tensor, residual: Tensor) -> None:
        """More points, all of them taken into the program at once."""
        count = len(self.basis)
        self.basis, self.residual = torch.cat([self.basis, basis]), torch.cat([self.residual, residual])
        self.working |= set(range(count, len(self.basis)))

    def solve(self, rtol: float) -> tuple[Tensor, float]:
        for _ in range(ROUNDS):
            v, lower = self._program()
            error = (self.residual - self.basis @ v).abs()
            new = _new_peaks(error, lower * (1 + rtol), self.working)
            self.working |= new
            found = bool(new)
            for (matrix, limit), working in zip(self.side, self.side_working, strict=True):
                late = _new_peaks(matrix @ v - limit, 1e-9, working)
                working |= late
                found = found or bool(late)
            if not found:
                break
        return v, lower

    def _program(self) -> tuple[Tensor, float]:
        at = sorted(self.working)
        q, r = self.basis[at].numpy(), self.residual[at].numpy()
        one = np.ones((len(r), 1))
        blocks, limits = [np.hstack([q, -one]), np.hstack([-q, -one])], [r, -r]
        for (matrix, limit), working in zip(self.side, self.side_working, strict=True):
            chosen = sorted(working)
            blocks.append(np.hstack([matrix[chosen].numpy(), np.zeros((len(chosen), 1))]))
            limits.append(limit[chosen].numpy())
        cost = np.zeros(q.shape[1] + 1)
        cost[-1] = 1
        z, value = linear_program(cost, np.vstack(blocks), np.concatenate(limits))
        return torch.from_numpy(z[:-1].copy()), max(value, 0.0)


def _new_peaks(excess: Tensor, above: float, known: set[int]) -> set[int]:
    """Indices of local maxima of ``excess`` beyond ``above`` that are not known yet, the largest first, at most a few dozen."""
    padded = torch.cat([excess.new_full((1,), -math.inf), excess, excess.new_full((1,), -math.inf)])
    peak = (excess >= padded[:-2]) & (excess >= padded[2:]) & (excess > above)
    at = peak.nonzero()[:, 0]
    at = at[excess[at].argsort(descending=True)][:64]
    return {int(i) for i in at} - known


def _on_grid(rows: Rows, grid: Tensor, map_back: Tensor, start: Tensor, size: float) -> tuple[Tensor, Tensor]:
    matrix = rows.matrix(grid) @ map_back
    limit = (rows.limit(grid) - matrix @ start) / size
    scale = matrix.abs().amax(1).clamp(min=1e-300)
    return matrix / scale[:, None], limit / scale


def _conditioned(design: Tensor) -> Tensor:
    """M such that design @ M is well conditioned: a rescaling, or orthonormal columns where that is not enough."""
    scale = design.square().mean(0).sqrt()
    if bool((scale == 0).any()) or not bool(torch.isfinite(scale).all()):
        raise SlafError("the terms of a fit must be finite, and none of them zero on the whole interval")
    _, r = torch.linalg.qr(design / scale)
    diagonal = r.diagonal().abs()
    if float(diagonal.min()) <= 1e-13 * float(diagonal.max()):
        raise SlafError("the terms of a fit depend linearly on each other on the interval")
    if float(diagonal.min()) > 1e-2 * float(diagonal.max()):
        return torch.diag(1 / scale)  # keeps the zeros of local terms
    return torch.linalg.inv(r) * math.sqrt(len(design)) / scale[:, None]


def dense_grid(interval: tuple[float, float], terms: object = None, kinks: Sequence[float] = ()) -> Tensor:
    """Points that are dense at the ends, uniformly dense inside, and contain kinks and breaks."""
    low, high = interval
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SlafError(f"interval must be (low, high) with low < high, finite; got {interval!r}")
    breaks = getattr(terms, "breaks", torch.zeros(0, dtype=torch.float64))
    marks = torch.cat([breaks, torch.tensor(list(kinks), dtype=torch.float64)])
    marks = marks[(marks > low) & (marks < high)]
    middle, half = (low + high) / 2, (high - low) / 2
    wide = torch.linspace(low, high, max(2001, 24 * len(breaks) + 1), dtype=torch.float64)
    return torch.cat([middle + half * chebyshev_points(1025), wide, marks]).clamp(low, high).unique()


def _error(target: Function, terms: Callable[[Tensor], Tensor], weights: Tensor, x: Tensor) -> Tensor:
    return (target(x) - terms(x) @ weights).abs()


def _peaks(target: Function, terms: Callable[[Tensor], Tensor], weights: Tensor, grid: Tensor, best: int = 64) -> Tensor:
    """The local maxima of the error, found between the grid's points too."""
    error = _error(target, terms, weights, grid)
    at = sorted(_new_peaks(error, 0.5 * float(error.max()), set()))[: 4 * best] or [0]  # an exact fit has none
    middle = torch.tensor(at)
    low, high = grid[(middle - 1).clamp(min=0)], grid[(middle + 1).clamp(max=len(grid) - 1)]
    for _ in range(4):
        steps = torch.linspace(0, 1, 17, dtype=torch.float64)
        x = low[:, None] + (high - low)[:, None] * steps
        values = _error(target, terms, weights, x.reshape(-1)).reshape(x.shape)
        top = values.argmax(1)
        rows = torch.arange(len(x))
        low, high = x[rows, (top - 1).clamp(min=0)], x[rows, (top + 1).clamp(max=16)]
        peak = x[rows, top]
    return torch.cat([peak, grid[middle]]).unique()


def _result(target: Function, terms: Callable[[Tensor], Tensor], weights: Tensor, grid: Tensor, lower: float) -> Minimax:
    points = _peaks(target, terms, weights, grid)
    error = _error(target, terms, weights, points)
    worst = int(error.argmax())
    return Minimax(weights, float(error[worst]), min(lower, float(error[worst])), float(points[worst]))
