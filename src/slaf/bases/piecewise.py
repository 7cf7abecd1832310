"""Bases of piecewise polynomials on equal cells of the domain, continued by straight lines: given by a table of local coefficients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slaf.core import SlafError
from slaf.kernels.pieces import value_on_pieces

from .base import Basis, Matrix, check_order

__all__ = ["PiecewiseBasis"]

Table = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class PiecewiseBasis(Basis):
    """A basis of functions that are polynomials on each of n equal cells of the domain and straight lines to its left and right.

    Piece 0 is the line to the left, piece i the i-th cell, piece n + 1 the line to the right. Each is written in powers of
    t = (u - anchor)/width, the anchor being the cell's left edge, and the domain's own end for the two lines.
    """

    @property
    @abstractmethod
    def local_degree(self) -> int:
        """p, the degree of the pieces."""

    @abstractmethod
    def cells(self, count: int) -> int:
        """n, the number of cells that ``count`` terms have."""

    @abstractmethod
    def inner_table(self, count: int) -> Table:
        """The local coefficients on the cells: (n, K, p + 1), float64."""

    # -- the pieces ---------------------------------------------------------------------------------------------------------

    def breakpoints(self, count: int) -> list[float]:
        """The n + 1 edges of the cells."""
        n = self.cells(count)
        return [self.domain[0] + (self.domain[1] - self.domain[0]) * i / n for i in range(n + 1)]

    def width(self, count: int) -> float:
        """The length of a cell."""
        return (self.domain[1] - self.domain[0]) / self.cells(count)

    def table(self, count: int) -> Table:
        """The local coefficients of every term on every piece: (n + 2, K, p + 1), float64."""
        return _with_lines(self, count)

    def to_pieces(self, coefficients: Tensor) -> Tensor:
        """From c with Σ c_k φ_k, k = 0 … K, to local coefficients: (…, K + 1) → (…, n + 2, p + 1)."""
        count = coefficients.shape[-1] - 1
        table = torch.from_numpy(_with_constant(self, count)).to(coefficients)
        return torch.einsum("...k,ikj->...ij", coefficients, table)

    def from_pieces(self, local: Tensor, count: int) -> Tensor:
        """From local coefficients (…, n + 2, p + 1) to those of φ_0 … φ_K, exactly: (…, K + 1).

        Raises:
            SlafError: the pieces do not fit together as this basis does.
        """
        table = torch.from_numpy(_with_constant(self, count)).to(local)
        design = table.movedim(1, 2).reshape(-1, count + 1)
        wanted = local.reshape(-1, design.shape[0])
        found = torch.linalg.lstsq(design, wanted.T).solution.T
        off = float((found @ design.T - wanted).abs().max() / wanted.abs().max().clamp(min=1e-300)) if wanted.numel() else 0.0
        if off > 1e4 * torch.finfo(local.dtype).eps:
            raise SlafError(f"these pieces are no combination of the {count} terms of basis {self}; the nearest is off by {off:.2g}")
        return found.reshape(*local.shape[:-2], count + 1)

    def matrix(self, count: int) -> Tensor:
        """From c with Σ c_k φ_k, k = 0 … K, to the pieces of :class:`slaf.kernels.pieces.Cells`: (K + 1, (n + 2)·(p + 1)), float64."""
        return _matrix(self, count)

    def locate(self, u: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The number of the piece that each u lies on, and t there."""
        n = self.cells(count)
        q = u * (1 / self.width(count)) + n / 2
        cell = q.detach().floor().clamp(-1, n)
        return cell.nan_to_num(nan=0.0).long() + 1, q - torch.relu(cell)  # a second clamp would confuse ONNX's optimizer

    # -- the terms ----------------------------------------------------------------------------------------------------------

    def derivative(self, u: Tensor, count: int, order: int = 1) -> Tensor:
        table = self.table(count)
        for _ in range(check_order(order)):
            powers = np.arange(1, table.shape[-1])
            table = table[..., 1:] * powers / self.width(count) if len(powers) else np.zeros_like(table)
        return self._from_table(u, count, table)

    def antiderivative(self, u: Tensor, count: int) -> Tensor:
        table, width = self.table(count), self.width(count)
        out = np.zeros((*table.shape[:2], table.shape[2] + 1))
        out[..., 1:] = table * width / np.arange(1, table.shape[2] + 1)
        # continuous across the cells, the domain's left end at 0
        rises = out[1:-1].sum(-1)
        out[2:, :, 0] = np.cumsum(rises, 0)
        at_zero = self._from_table(torch.zeros((), dtype=u.dtype, device=u.device), count, out)
        return self._from_table(u, count, out) - at_zero

    def _from_table(self, u: Tensor, count: int, table: Table) -> Tensor:
        piece, t = self.locate(u, count)
        return _horner(torch.from_numpy(table).to(u)[piece].unbind(-1), t[..., None])

    def mixing(self, count: int) -> Matrix:
        return self.table(count).transpose(1, 0, 2).reshape(count, -1)

    def combine(self, u: Tensor, coefficients: Tensor, count: int) -> Tensor:
        """As in the base class: the elements are the powers of t on the pieces, so each u needs p + 1 coefficients, looked up."""
        pieces, layout = self.cells(count) + 2, coefficients.shape[1:]
        local = coefficients.reshape(pieces, self.local_degree + 1, -1).permute(2, 0, 1).reshape(-1, self.local_degree + 1)
        piece, t = self.locate(u, count)
        if layout.numel() > 1:
            piece = piece + torch.arange(0, len(local), pieces, device=u.device).reshape(layout)
        return value_on_pieces(torch.nn.functional.embedding(piece, local).unbind(-1), t)

    # -- in symbols ---------------------------------------------------------------------------------------------------------

    def expressions(self, x: Any, count: int) -> list[Any]:
        table = self.table(count)
        return [self._piecewise(x, count, table[:, k]) for k in range(count)]

    def expression(self, x: Any, coefficients: Sequence[float]) -> Any:
        count = len(coefficients)
        return self._piecewise(x, count, np.einsum("k,ikj->ij", np.asarray(coefficients, dtype=np.float64), self.table(count)))

    def _piecewise(self, x: Any, count: int, table: Table) -> Any:
        import sympy

        edges, width = self.breakpoints(count), self.width(count)
        anchors = [edges[0], *edges]
        pieces = []
        for row, anchor in zip(table.tolist(), anchors, strict=True):
            t = (x - sympy.Float(anchor)) / sympy.Float(width)
            pieces.append(sum((sympy.Float(c) * t**j for j, c in enumerate(row) if c), sympy.Integer(0)))
        conditions = [x < sympy.Float(edge) for edge in edges]
        return sympy.Piecewise(*zip(pieces, [*conditions, True], strict=True))


@lru_cache(maxsize=64)
def _with_lines(basis: PiecewiseBasis, count: int) -> Table:
    inner = basis.inner_table(count)
    n, _, size = inner.shape
    out = np.zeros((n + 2, count, size))
    out[1:-1] = inner
    out[0, :, :2] = inner[0, :, :2]
    out[-1, :, 0] = inner[-1].sum(-1)
    out[-1, :, 1] = inner[-1] @ np.arange(size)
    return out


@lru_cache(maxsize=64)
def _with_constant(basis: PiecewiseBasis, count: int) -> Table:
    table = basis.table(count)
    one = np.zeros((len(table), 1, table.shape[2]))
    one[..., 0] = 1
    return np.concatenate([one, table], 1)


@lru_cache(maxsize=64)
def _matrix(basis: PiecewiseBasis, count: int) -> Tensor:
    table = _with_constant(basis, count).transpose(1, 0, 2).copy()
    table[:, 0, 0] -= table[:, 0, 1]  # t of the line to the left is counted from a cell further out there
    return torch.from_numpy(table.reshape(count + 1, -1))


def _horner(coefficients: Sequence[Tensor], t: Tensor) -> Tensor:
    """Σ_j c_j t^j; t is the first factor of every product, so the result has its memory layout."""
    y = coefficients[-1] + 0 * t
    for c in reversed(coefficients[:-1]):
        y = t * y + c
    return y
