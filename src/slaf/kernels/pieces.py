"""Piecewise polynomials on a uniform grid, straight beyond it, by the kernels: value, and all gradients in one pass; only x is kept.

With v = (x - center)·rscale piece 0 is left of the grid, piece j = 1 … cells is [j - 1 - cells/2, j - cells/2), piece cells + 1 right of
it; on each f = Σ_k c_k t^k, where t = 0 at the piece's left end and grows by 1 over a cell. f must be continuous at the grid's two ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from . import raw
from .dispatch import Layout, on_gpu, place, readable
from .fused import run
from .tables import by_row, map_table, rows_table

__all__ = ["Cells", "piecewise", "value_on_pieces"]

MAX_CELLS, MAX_DEGREE = 1023, 7


class Cells(NamedTuple):
    """A grid and the linear map from θ to the pieces on it.

    Attributes:
        degree: of the pieces.
        matrix: (K, (cells + 2)·(degree + 1)), float64: θ @ matrix are the c_k, piece by piece; one tensor for each grid.
        center, rscale: numbers, or one for every site, float64.
    """

    degree: int
    matrix: Tensor
    center: float | Tensor
    rscale: float | Tensor

    @property
    def cells(self) -> int:
        return self.matrix.shape[1] // (self.degree + 1) - 2


def piecewise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    factor: float,
    cells: Cells,
    shape: tuple[int, ...],
    definition: Callable[..., Tensor],
) -> Tensor | None:
    """The functions of θ = factor·(bias, weight), or without a bias factor·weight, at ``x``, in its dtype; ``None`` where the definition
    must run.

    Args:
        weight, bias: (count, …) and (count,); each of their rows serves sites / count sites in a run.
        shape: in which one entry per site broadcasts against x.
        definition: (x, weight) or (x, weight, bias) → y in plain torch, for what the kernels do not do.
    """
    if torch.compiler.is_compiling() or not (1 <= cells.degree <= MAX_DEGREE and 1 <= cells.cells <= MAX_CELLS):
        return None
    if weight.dtype in (torch.bfloat16, torch.float16):
        weight, bias = weight.float(), None if bias is None else bias.float()
    by_site = weight.shape[0] > 1 or isinstance(cells.center, Tensor) or isinstance(cells.rscale, Tensor)
    layout = place(x, shape if by_site else (1,) * x.dim())
    if layout is None or layout.c % weight.shape[0]:
        return None
    of_sites = weight.dtype is torch.float32 and x.is_cpu and not on_gpu(x) and readable(weight) and readable(bias)
    kernel = (_PiecesOfSites if of_sites else _Pieces)(weight, bias, factor, cells, shape, definition, layout)
    return run(kernel, x, weight) if bias is None else run(kernel, x, weight, bias)


def value_on_pieces(coefficients: Sequence[Tensor], t: Tensor) -> Tensor:
    """Σ_k c_k t^k with c_k looked up for every element, where t leaves [0, 1] only on straight pieces.

    There the higher terms, which are 0, see t at the end of its range, so that none overflows. t is the first factor of every product:
    the result has its memory format.
    """
    value = t * coefficients[1] + coefficients[0]
    if len(coefficients) == 2:
        return value
    inside = t.clamp(0, 1)
    higher = coefficients[-1]
    for c in reversed(coefficients[2:-1]):
        higher = inside * higher + c
    return value + inside * inside * higher


@lru_cache(maxsize=128)
def _copied(matrix: Tensor, device: torch.device) -> Tensor:
    """A tensor is a key by its identity, and there is one for each grid."""
    return matrix.to(device)


@lru_cache(maxsize=128)
def _sparse(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By column: where the entries begin that are not 0, and the last ones end; their rows; their values."""
    columns, rows = matrix.T.nonzero(as_tuple=True)
    starts = torch.searchsorted(columns, torch.arange(matrix.shape[1] + 1, device="cpu"))
    return starts.to(torch.int32), rows.to(torch.int32), matrix[rows, columns]


def _adjoint(sums: Tensor, matrix: Tensor) -> Tensor:
    """sums @ matrix.T, where 0 in the matrix is no term, also times infinity; but on a GPU nobody looks, since that would wait for it."""
    found = sums @ matrix.T
    if not sums.is_cuda and not isfinite(found.sum().item()):
        found = torch.where(matrix == 0, 0, sums[:, None] * matrix).sum(2)
    return found


class _Pieces:
    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        factor: float,
        cells: Cells,
        shape: tuple[int, ...],
        definition: Callable[..., Tensor],
        layout: Layout,
    ) -> None:
        self.degree, self.factor, self.shape, self.defined, self.layout = cells.degree, factor, shape, definition, layout
        self.parameters, device = (weight, bias), weight.device
        self.center, self.rscale = (map_table(m, shape, layout, device) for m in (cells.center, cells.rscale))
        self._take(cells)

    def _take(self, cells: Cells) -> None:
        weight, bias = self.parameters
        self.matrix = cells.matrix if weight.is_cpu else _copied(cells.matrix, weight.device)
        with torch.no_grad():
            theta = weight if bias is None else torch.cat([bias[:, None], weight], 1)
            rows, repeat = self.factor * theta.to(torch.float64) @ self.matrix, self.layout.c // len(weight)
            self.table = rows_table(rows.repeat_interleave(repeat, 0) if 1 < len(weight) < self.layout.c else rows, self.shape, self.layout)

    def forward(self, x: Tensor) -> Tensor:
        return raw.pieces_forward(x, self.layout, self.degree, self.table, self.center, self.rscale)

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        gx, sums = raw.pieces_backward(x, g, self.layout, self.degree, self.table, self.center, self.rscale, need_x)
        weight, bias = self.parameters
        found = self.factor * _adjoint(by_row(sums, len(weight), self.shape, self.layout), self.matrix)
        if bias is None:
            return gx, found.to(weight.dtype)
        return gx, found[:, 1:].to(weight.dtype), found[:, 0].to(bias.dtype)


class _PiecesOfSites(_Pieces):
    """On the CPU, of float32 parameters: one call each way."""

    def _take(self, cells: Cells) -> None:
        self.about = self.layout, self.degree, self.factor, *self.parameters, _sparse(cells.matrix), self.center, self.rscale

    def forward(self, x: Tensor) -> Tensor:
        y, self.numbers = raw.sites_pieces_forward(x, *self.about)
        return y

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        found = raw.sites_pieces_backward(x, g, *self.about, self.numbers, need_x)
        return found if self.parameters[1] is not None else found[:2]
