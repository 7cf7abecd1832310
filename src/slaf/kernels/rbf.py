"""Gaussian radial basis functions on a uniform grid, by the kernels: two exponentials an element whatever their number; only x is kept.

y = c_0 + Σ_k c_k exp(-(u - u_k)²/(2 (width·spacing)²)), u = (x - center)·rscale, u_k uniform about 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from . import raw
from .dispatch import Layout, on_gpu, place, readable
from .fused import run
from .normalized import QUIET, Fold, Folded, Measured
from .recurrence import Recurrence
from .tables import by_row, map_table, rows_table, spread, table

__all__ = ["POWER", "Definition", "Grid", "bumps", "bumps_at", "bumps_fixed"]

POWER = Recurrence((1.0,), (0.0,))
"""What the moments of an input map are taken of."""
POWER_FAMILY = 0
MAX_TERMS, MAX_EXPONENT = 32, 8.0

Definition = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Grid(NamedTuple):
    """``terms`` centres about 0, ``spacing`` apart, of Gaussians of ``width`` spacings."""

    terms: int
    spacing: float
    width: float

    def fits(self) -> bool:
        """Whether the factors that the kernel takes out of the Gaussians stay in float32's range."""
        return 1 <= self.terms <= MAX_TERMS and (self.terms - 1) ** 2 / (8 * self.width**2) <= MAX_EXPONENT


def bumps_fixed(
    x: Tensor,
    grid: Grid,
    weight: Tensor,
    bias: Tensor,
    factor: float,
    shape: tuple[int, ...],
    center: float | Tensor,
    rscale: float | Tensor,
    definition: Definition,
) -> Tensor | None:
    """y with factor·(bias, weight) for c and a constant input map; ``None`` where no kernel can run.

    Args:
        weight, bias: (count, terms) and (count,); each of their rows serves sites / count sites in a run.
        shape: in which one entry per site broadcasts against x.
        center, rscale: numbers, or one for every site.
        definition: (x, c, center, rscale) → y in plain torch; c is (sites or 1, terms + 1), the maps broadcast in ``shape``.
    """
    if weight.dtype in (torch.bfloat16, torch.float16):
        weight, bias = weight.float(), bias.float()
    layout = None if on_gpu(x) else place(x, shape)
    if layout is None or not (readable(weight) and readable(bias)):
        return None
    return run(_BumpsOfSites(layout, grid, weight, bias, factor, center, rscale, shape, definition), x, weight, bias)


def bumps(x: Tensor, grid: Grid, measured: Measured, fold: Fold, weight: Tensor, bias: Tensor, definition: Definition) -> Tensor:
    """y with (c, center, rscale) = fold(t, weight, bias), differentiable in x, weight and bias.

    Args:
        measured: the moments t that the input map is made of.
        definition: (x, c, center, rscale) → y in plain torch; c is (sites or 1, terms + 1), the maps are in ``measured.shape``.
    """
    return run(_Bumps(grid, measured, fold, weight, bias, definition), x, weight, bias)


def bumps_at(
    x: Tensor, grid: Grid, c: Tensor, center: Tensor, rscale: Tensor, shape: tuple[int, ...], definition: Definition
) -> Tensor | None:
    """y, differentiable in x, c, center and rscale, which may depend on x; ``None`` where no kernel can run.

    Args:
        c: (sites or 1, terms + 1), where (sites,) broadcasts in ``shape`` against x.
        center, rscale: in ``shape``.
        definition: (x, c, center, rscale) → y in plain torch.
    """
    layout = None if torch.compiler.is_compiling() else place(x, shape)
    return None if layout is None else run(_BumpsAt(layout, grid, c, center, rscale, shape, definition), x, c, center, rscale)


class _BumpsAt:
    def __init__(
        self,
        layout: Layout,
        grid: Grid,
        c: Tensor,
        center: Tensor,
        rscale: Tensor,
        shape: tuple[int, ...],
        definition: Callable[..., Tensor],
    ) -> None:
        self.layout, self.grid, self.shape, self.defined = layout, grid, shape, definition
        self.rows, self.dtypes = len(c), (c.dtype, center.dtype, rscale.dtype)
        self.tables = rows_table(c, shape, layout), table(center[None], layout), table(rscale[None], layout)

    def forward(self, x: Tensor) -> Tensor:
        return raw.bumps_forward(x, self.layout, self.grid, *self.tables)

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        gx, sums, slopes = raw.bumps_backward(x, g, self.layout, self.grid, *self.tables, need_x)
        rscale = self.tables[2][:, 0]
        by_map = spread(torch.stack([-slopes[0] * rscale, slopes[1] / rscale], 1), self.shape, self.layout)
        found = by_row(sums, self.rows, self.shape, self.layout), *by_map
        return gx, *(t.to(dtype) for t, dtype in zip(found, self.dtypes, strict=True))


class _BumpsOfSites:
    """One call each way."""

    def __init__(
        self,
        layout: Layout,
        grid: Grid,
        weight: Tensor,
        bias: Tensor,
        factor: float,
        center: float | Tensor,
        rscale: float | Tensor,
        shape: tuple[int, ...],
        definition: Definition,
    ) -> None:
        self.map, self.shape, self.definition = (center, rscale), shape, definition
        maps = map_table(center, shape, layout, weight.device), map_table(rscale, shape, layout, weight.device)
        self.about = layout, grid, factor, weight, bias, *maps

    def forward(self, x: Tensor) -> Tensor:
        y, self.table = raw.sites_bumps_forward(x, *self.about)
        return y

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        return raw.sites_bumps_backward(x, g, *self.about, self.table, need_x)

    def defined(self, x: Tensor, *parameters: Tensor) -> Tensor:
        weight, bias = parameters
        layout, _, factor, *_ = self.about
        rows = factor * torch.cat([bias[:, None], weight], 1).to(torch.float64)
        rows = rows.repeat_interleave(layout.c // len(rows), 0) if len(rows) > 1 else rows
        return self.definition(x, rows, *(self._broadcast(m, x) for m in self.map))

    def _broadcast(self, value: float | Tensor, x: Tensor) -> Tensor:
        return value.reshape(self.shape) if isinstance(value, Tensor) else x.new_tensor(value, dtype=torch.float64)


class _Bumps(Folded):
    def __init__(self, grid: Grid, measured: Measured, fold: Fold, weight: Tensor, bias: Tensor, definition: Definition) -> None:
        super().__init__(measured, fold, weight, bias)
        self.grid, self.definition = grid, definition

    def forward(self, x: Tensor) -> Tensor:
        coef, center, rscale = self.tables
        return raw.bumps_forward(x, self.measured.layout, self.grid, coef, center, rscale)

    @QUIET
    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        layout, (coef, center, rscale) = self.measured.layout, self.tables
        again = x.dtype != torch.float32  # a gradient in a half type is not to be rounded twice
        gx, sums, slopes = raw.bumps_backward(x, g, layout, self.grid, coef, center, rscale, need_x and not again)
        gt, *others = self._adjoint(sums, slopes)
        if need_x:
            q = self._q(gt)
            if gx is None:
                gx = raw.bumps_input(x, g, layout, self.grid, coef, center, rscale, q)
            else:  # gx·1 + q(u), 1 being the slope of u/rscale
                unit = torch.cat([torch.zeros_like(rscale), 1 / rscale], 1)
                gx = raw.series_input(x, gx, layout, POWER_FAMILY, unit, q, center, rscale)
        return gx, *others

    def evaluated(self, x: Tensor, c: Tensor, center: Tensor, rscale: Tensor) -> Tensor:
        return self.definition(x, c, center, rscale)
