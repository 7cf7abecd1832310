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
from .dispatch import Layout, place
from .fused import run
from .tables import by_row, map_table, rows_table

__all__ = ["Cells", "piecewise", "value_on_pieces"]

MAX_CELLS, MAX_DEGREE = 1023, 7


class Cells(NamedTuple):
    """A grid and the linear map from θ to the pieces on it.

    Attributes:
        degree: of the pieces.
        matrix: (K, (cells + 2)·(degree + 1)), float64: θ @ matrix are the c_k, piece by piece.
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
    x: Tensor, theta: Tensor, cells: Cells, repeat: int, shape: tuple[int, ...], definition: Callable[[Tensor, Tensor], Tensor]
) -> Tensor | None:
    """The functions of θ at ``x``, in its dtype; ``None`` where the definition must run.

    Args:
        theta: (count, K), each row for ``repeat`` sites, or one for all.
        shape: in which one entry per site broadcasts against x.
        definition: (x, θ) → y in plain torch, for what the kernels do not do.
    """
    if torch.compiler.is_compiling() or not (1 <= cells.degree <= MAX_DEGREE and 1 <= cells.cells <= MAX_CELLS):
        return None
    by_site = len(theta) > 1 or isinstance(cells.center, Tensor) or isinstance(cells.rscale, Tensor)
    layout = place(x, shape if by_site else (1,) * x.dim())
    if layout is None or (len(theta) * repeat not in (1, layout.c)):
        return None
    return run(_Piecewise(theta, cells, repeat, shape, definition, layout), x, theta)


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


def _adjoint(sums: Tensor, matrix: Tensor) -> Tensor:
    """sums @ matrix.T, where 0 in the matrix is no term, also times infinity; but on a GPU nobody looks, since that would wait for it."""
    found = sums @ matrix.T
    if not sums.is_cuda and not isfinite(found.sum().item()):
        found = torch.where(matrix == 0, 0, sums[:, None] * matrix).sum(2)
    return found


class _Piecewise:
    def __init__(
        self,
        theta: Tensor,
        cells: Cells,
        repeat: int,
        shape: tuple[int, ...],
        definition: Callable[[Tensor, Tensor], Tensor],
        layout: Layout,
    ) -> None:
        matrix = cells.matrix if theta.is_cpu else _copied(cells.matrix, theta.device)
        self.degree, self.matrix, self.shape, self.definition, self.layout = cells.degree, matrix, shape, definition, layout
        self.count, self.dtype = len(theta), theta.dtype
        with torch.no_grad():
            rows = theta.detach().to(torch.float64) @ self.matrix
            self.table = rows_table(rows.repeat_interleave(repeat, 0) if repeat > 1 else rows, shape, layout)
            self.center, self.rscale = (map_table(m, shape, layout, theta.device) for m in (cells.center, cells.rscale))

    def forward(self, x: Tensor) -> Tensor:
        return raw.pieces_forward(x, self.layout, self.degree, self.table, self.center, self.rscale)

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        gx, sums = raw.pieces_backward(x, g, self.layout, self.degree, self.table, self.center, self.rscale, need_x)
        return gx, _adjoint(by_row(sums, self.count, self.shape, self.layout), self.matrix).to(self.dtype)

    def defined(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return self.definition(x, *parameters)
