"""Piecewise polynomials on a uniform grid, linear beyond it: evaluation by local support, and all that follows from the pieces.

Coefficients are (degree + 1, count, cells + 2): piece j counts from the extrapolation on the left (0) to the one on the right
(cells + 1); on each of them f = Σ_k c_k t^k, where t is 0 at the piece's left end and grows by 1 over a cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slaf.core.activation import standard_normal_nodes
from slaf.kernels.pieces import value_on_pieces

from .family import Family

__all__ = ["Grid", "PiecewisePolynomial", "second_moment"]


class Grid(NamedTuple):
    """``knots`` uniform breakpoints on [low, high], the ends among them."""

    low: float
    high: float
    knots: int

    @property
    def cells(self) -> int:
        return self.knots - 1

    @property
    def step(self) -> float:
        return (self.high - self.low) / self.cells

    @property
    def center(self) -> float:
        return self.low + (self.high - self.low) / 2

    def breakpoints(self) -> Tensor:
        """The knots, (knots,), float64."""
        return self.center + (torch.arange(self.knots, dtype=torch.float64) - self.cells / 2) * self.step

    def dense(self, per_cell: int) -> Tensor:
        """``per_cell`` points inside every cell and the knots, sorted, float64."""
        inside = (torch.arange(per_cell, dtype=torch.float64) + 0.5) / per_cell
        knots = self.breakpoints()
        return torch.cat([(knots[:-1, None] + self.step * inside).reshape(-1), knots]).sort().values

    def locate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The piece of every x, int64, and the coordinate t in it.

        t is taken from the distance to the grid's middle, so that its rounding is that of x; a point that rounding puts into the
        neighbouring cell gets the same value there.
        """
        u = (x - self.center) * (1 / self.step)
        half = self.cells / 2
        cell = (u.detach() + half).floor().clamp(-1, self.cells)
        # a NaN is no integer: the second clamp keeps its index inside the table
        return (cell + 1).to(torch.int64).clamp(0, self.cells + 1), u - (cell - half)


class PiecewisePolynomial(NamedTuple):
    """``count`` functions on one grid; degree at most 3 where stationary points are asked for."""

    grid: Grid
    coefficients: Tensor

    @property
    def degree(self) -> int:
        return len(self.coefficients) - 1

    # -- values ---------------------------------------------------------------------------------------------------------------

    def __call__(self, x: Tensor, row: Tensor | None = None) -> Tensor:
        """Values at ``x``, in its dtype, by a gather of one piece an element; ``row``, broadcasting against x, says whose function."""
        coefficients, t = self._look_up(x, row)
        value = coefficients[-1]
        for c in reversed(coefficients[:-1]):
            value = t * value + c
        return value

    def straight_beyond(self, x: Tensor, row: Tensor | None = None) -> Tensor:
        """The same for pieces whose two outer ones are straight: also where higher powers of t overflow."""
        return value_on_pieces(*self._look_up(x, row))

    def _look_up(self, x: Tensor, row: Tensor | None) -> tuple[list[Tensor], Tensor]:
        piece, t = self.grid.locate(x)
        index = self._index(piece, row)
        flat = index.reshape(-1)
        # one column after another: the backward of a one-dimensional index_select is the fastest scatter
        columns = self.coefficients.to(x.dtype).unbind(0)
        return [c.reshape(-1).index_select(0, flat).reshape(index.shape) for c in columns], t

    def _index(self, piece: Tensor, row: Tensor | None) -> Tensor:
        return piece if row is None else piece + row * (self.grid.cells + 2)

    def all_at(self, x: Tensor) -> Tensor:
        """Every function at every point of the vector ``x``: (count, n)."""
        piece, t = self.grid.locate(x)
        value = torch.zeros((), dtype=x.dtype, device=x.device)
        for c in reversed(self.coefficients.to(x.dtype).unbind(0)):
            value = t * value + c[:, piece]
        return value

    # -- calculus -------------------------------------------------------------------------------------------------------------

    def antiderivative(self) -> PiecewisePolynomial:
        """∫₀ˣ f, exactly."""
        scale = self.grid.step / torch.arange(1, self.degree + 2, dtype=self.coefficients.dtype, device=self.coefficients.device)
        powers = self.coefficients * scale[:, None, None]
        area = powers.sum(0)
        pieces = PiecewisePolynomial(self.grid, torch.cat([(area.cumsum(-1) - area)[None], powers]))
        at_zero = pieces.all_at(torch.zeros(1, dtype=powers.dtype, device=powers.device))
        return PiecewisePolynomial(self.grid, torch.cat([pieces.coefficients[:1] - at_zero, powers]))

    def at_knots(self) -> tuple[Tensor, Tensor]:
        """The derivatives of order 1 … degree on the left and on the right of each knot: two of (degree, count, knots)."""
        c, left, right = self.coefficients, [], []
        for order in range(1, self.degree + 1):
            scale = 1 / self.grid.step**order
            right.append(scale * math.factorial(order) * c[order, :, 1:])
            left.append(scale * torch.stack([math.perm(m, order) * c[m, :, :-1] for m in range(order, self.degree + 1)]).sum(0))
        return torch.stack(left), torch.stack(right)

    def total_variation_of_slope(self) -> Tensor:
        """∫|f''| over the line, jumps of f' counted by their size: (count,); differentiable."""
        c, step = self.coefficients, self.grid.step
        if self.degree == 1:
            return c[1].diff(dim=-1).abs().sum(-1) / step
        # f'' runs straight from a to b in every cell
        a = 2 * c[2]
        b = a + 6 * c[3] if self.degree == 3 else a
        size = a.abs() + b.abs()
        safe = torch.where(size > 0, size, torch.ones_like(size))
        crossing = (a * a + b * b) / (2 * safe)
        return torch.where(a * b < 0, crossing, size / 2).sum(-1) / step

    def steepest(self) -> Tensor:
        """sup |f'|: (count,)."""
        c = self.coefficients
        slopes = [c[1]]
        if self.degree > 1:
            slopes.append(torch.stack([m * c[m] for m in range(1, self.degree + 1)]).sum(0))
        if self.degree == 3:
            vertex = -c[2] / torch.where(c[3] == 0, torch.ones_like(c[3]), 3 * c[3])
            at_vertex = c[1] + vertex * c[2]
            slopes.append(torch.where((vertex > 0) & (vertex < 1), at_vertex, c[1]))
        # beyond the grid t leaves [0, 1], but f' is one number there
        return torch.stack(slopes).abs().amax((0, 2)) / self.grid.step

    # -- ranges ---------------------------------------------------------------------------------------------------------------

    def stationary_points(self) -> tuple[Tensor, Tensor]:
        """t and f where f' = 0 inside each cell, NaN where there is none: two of (2, count, cells + 2)."""
        c = self.coefficients
        zero = torch.zeros_like(c[0])
        q0, q1, q2 = c[1], 2 * c[2] if self.degree > 1 else zero, 3 * c[3] if self.degree > 2 else zero
        # clamped: where f' only just misses zero its nearest point is kept, which never harms
        root = (q1 * q1 - 4 * q0 * q2).clamp(min=0).sqrt()
        s = -(q1 + torch.where(q1 >= 0, root, -root)) / 2
        t = torch.stack([s / q2, q0 / s])
        t = torch.where((t >= 0) & (t <= 1), t, torch.nan)
        t[:, :, 0], t[:, :, -1] = torch.nan, torch.nan
        value = zero
        for part in reversed(c.unbind(0)):
            value = t * value + part
        return t, value

    def range_on(self, lower: Tensor, upper: Tensor, row: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The least and the largest value on each box: at its ends, at knots and at stationary points, however many cells it spans."""
        turned = self._replace(coefficients=-self.coefficients)
        return -turned._maximum_on(lower, upper, row), self._maximum_on(lower, upper, row)

    def _maximum_on(self, lower: Tensor, upper: Tensor, row: Tensor | None) -> Tensor:
        (first, t_first), (last, t_last) = self.grid.locate(lower), self.grid.locate(upper)
        stationary, values = self.stationary_points()
        best = torch.maximum(self(lower, row), self(upper, row))
        # the two cells that the box covers in part
        for s, v in zip(stationary, values, strict=True):
            for piece in (first, last):
                at = self._gather(s, piece, row)
                inside = ((piece > first) | (at >= t_first)) & ((piece < last) | (at <= t_last))
                best = torch.where(inside, torch.maximum(best, self._gather(v, piece, row)), best)
        # the knot before the last cell, and the whole cells between
        knots = self.coefficients[0]
        best = torch.where(last > first, torch.maximum(best, self._gather(knots, last, row)), best)
        ends = torch.maximum(knots, torch.cat([knots[:, 1:], knots[:, -1:]], 1))
        of_cell = torch.maximum(ends, values.nan_to_num(nan=-torch.inf).amax(0))
        return torch.where(last > first + 1, torch.maximum(best, _run_maximum(of_cell, first + 1, last, row)), best)

    def _gather(self, table: Tensor, piece: Tensor, row: Tensor | None) -> Tensor:
        return table.reshape(-1)[self._index(piece, row)]

    def rounding(self, lower: Tensor, upper: Tensor, row: Tensor | None = None) -> Tensor:
        """The size of the terms on each box: what one unit in the last place is relative to."""
        reach = torch.maximum((lower - self.grid.center).abs(), (upper - self.grid.center).abs())
        size, slope = self.coefficients.abs().sum(0).amax(-1), self.steepest()
        return size + slope * reach if row is None else size[row] + slope[row] * reach

    # -- symbols --------------------------------------------------------------------------------------------------------------

    def expression(self, row: int) -> Any:
        """One function as a sympy ``Piecewise`` in x; pieces that continue each other are one."""
        import sympy

        x = sympy.Symbol("x", real=True)
        starts = [self.grid.low - self.grid.step, *self.grid.breakpoints().tolist()]
        table = self.coefficients[:, row].detach().double().T.tolist()
        left, right = (t[:, row].detach() for t in self.at_knots())
        breaks = (left != right).any(0).tolist()
        pieces = []
        for start, c, ends_here, next_start in zip(starts, table, [*breaks, True], [*starts[1:], None], strict=True):
            if not ends_here:
                continue
            local = (x - sympy.Float(start)) / sympy.Float(self.grid.step)
            polynomial = sum((sympy.Float(v) * local**k for k, v in enumerate(c) if v), sympy.Integer(0))
            pieces.append((polynomial, True if next_start is None else x < sympy.Float(next_start)))
        return sympy.Piecewise(*pieces)


def second_moment(family: Family, kinks: Iterable[float]) -> float:
    """E f(z)² for z ~ N(0, 1), averaged over θ, by quadrature with panels that end at ``kinks``."""
    z, weight = standard_normal_nodes(kinks)
    parameter = next(family.parameters())
    values = family.curves(z.to(parameter.device, parameter.dtype)).to("cpu", torch.float64)
    return float((values.square() * weight[:, None]).sum(0).mean())


def _run_maximum(values: Tensor, begin: Tensor, end: Tensor, row: Tensor | None) -> Tensor:
    """max values[row, begin:end] for each element, by a table of maxima over runs of 2^k entries; anything where the run is empty."""
    count, n = values.shape
    table = [values]
    while 2 ** len(table) <= n:
        run = 2 ** (len(table) - 1)
        table.append(torch.maximum(table[-1], torch.cat([table[-1][:, run:], table[-1][:, -1:].expand(-1, run)], 1)))
    length = (end - begin).clamp(min=1)
    level = sum(((length >= 2**k).to(torch.int64) for k in range(1, len(table))), torch.zeros_like(length))
    start = (level * count + (0 if row is None else row)) * n
    flat = torch.stack(table).reshape(-1)
    second = (end - torch.pow(2, level)).clamp(min=0)
    return torch.maximum(flat[start + begin.clamp(max=n - 1)], flat[start + second])
