"""Gaussian radial basis functions on a uniform grid, by the kernels: two exponentials an element whatever their number; only x is kept.

y = c_0 + Σ_k c_k exp(-(u - u_k)²/(2 (width·spacing)²)), u = (x - center)·rscale, u_k uniform about 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from . import raw
from .dispatch import place
from .fused import run
from .normalized import QUIET, Fold, Folded, Measured
from .recurrence import Recurrence

__all__ = ["POWER", "Grid", "bumps", "fixed_map"]

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


def fixed_map(x: Tensor, shape: tuple[int, ...], center: Tensor, rscale: Tensor) -> Measured | None:
    """The input map with constants (sites,), float64; ``None`` where no kernel can run."""
    layout = place(x, shape)
    if layout is None or layout.c != len(center):
        return None
    return Measured(center.new_empty(len(center), 0), center, rscale, shape, POWER, layout, 0)


def bumps(x: Tensor, grid: Grid, measured: Measured, fold: Fold, weight: Tensor, bias: Tensor, definition: Definition) -> Tensor:
    """y with (c, center, rscale) = fold(t, weight, bias), differentiable in x, weight and bias.

    Args:
        measured: the moments t that the input map is made of, or :func:`fixed_map`.
        definition: (x, c, center, rscale) → y in plain torch; c is (sites or 1, terms + 1), the maps are in ``measured.shape``.
    """
    return run(_Bumps(grid, measured, fold, weight, bias, definition), x, weight, bias)


class _Bumps(Folded):
    def __init__(self, grid: Grid, measured: Measured, fold: Fold, weight: Tensor, bias: Tensor, definition: Definition) -> None:
        super().__init__(measured, fold, weight, bias)
        self.grid, self.definition = grid, definition

    def forward(self, x: Tensor) -> Tensor:
        coef, center, rscale = self.tables
        return raw.bumps_forward(x, self.measured.layout, self.grid, coef, center, rscale)

    @QUIET
    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        layout, moves, (coef, center, rscale) = self.measured.layout, self.measured.t.shape[1] > 0, self.tables
        again = moves and x.dtype != torch.float32  # a gradient in a half type is not to be rounded twice
        gx, sums, slopes = raw.bumps_backward(x, g, layout, self.grid, coef, center, rscale, input_gradient=need_x and not again)
        gt, *others = self._adjoint(sums, slopes)
        if need_x and moves:
            q = self._q(gt)
            if gx is None:
                gx = raw.bumps_input(x, g, layout, self.grid, coef, center, rscale, q)
            else:  # gx·1 + q(u), 1 being the slope of u/rscale
                unit = torch.cat([torch.zeros_like(rscale), 1 / rscale], 1)
                gx = raw.series_input(x, gx, layout, POWER_FAMILY, unit, q, center, rscale)
        return gx, *others

    def evaluated(self, x: Tensor, c: Tensor, center: Tensor, rscale: Tensor) -> Tensor:
        return self.definition(x, c, center, rscale)
