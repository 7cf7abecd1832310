"""Sure bounds of the folded forms themselves: values, slopes and curvatures on cells, and the rounding of their evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from slaf.core.intervals import Interval
from slaf.kernels.series import clenshaw

from .piecewise import CHEBYSHEV, chebyshev_points, chebyshev_values

__all__ = ["ChebyshevForm", "FoldedForm", "PowerForm"]

EPS64, EPS32 = torch.finfo(torch.float64).eps, torch.finfo(torch.float32).eps / 2
UNDERFLOW32 = 64 * torch.finfo(torch.float32).tiny


class FoldedForm(Protocol):
    """p as real mathematics over the stored numbers; every cell [a, b] lies in the piece ``piece``, all float64 of shape (n,)."""

    @property
    def breaks(self) -> Tensor:
        """Where one piece ends and the next begins, the ends of the interval included."""

    def value(self, piece: Tensor, x: Tensor) -> Interval:
        """p at points."""

    def derivative(self, piece: Tensor, a: Tensor, b: Tensor, order: int) -> Interval:
        """p, p' or p'' on cells."""

    def rounding(self, piece: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """How far the module's float32 evaluation may be from p, at most; with a kernel's fused multiply-adds it rounds less."""


@dataclass(frozen=True)
class PowerForm:
    """p(x) = Σ_k coefficients[i, k]·(x - center[i])^k on piece i, evaluated by Horner's rule.

    Attributes:
        breaks: (m + 1,). center: (m,). coefficients: (m, degree + 1).
    """

    breaks: Tensor
    center: Tensor
    coefficients: Tensor

    def _rows(self, piece: Tensor, order: int) -> Tensor:
        c = self.coefficients
        for _ in range(order):
            c = c[:, 1:] * torch.arange(1, c.shape[1], dtype=torch.float64) if c.shape[1] > 1 else torch.zeros_like(c)
        return c[piece]

    def _point(self, piece: Tensor, x: Tensor, order: int) -> tuple[Tensor, Tensor]:
        c, t = self._rows(piece, order), x - self.center[piece]
        value, size = torch.zeros_like(t), torch.zeros_like(t)
        for k in range(c.shape[1] - 1, -1, -1):
            value, size = value * t + c[:, k], size * t.abs() + c[:, k].abs()
        # 2k roundings for the term of order k, k for x - center, and those of the derivative's factors
        return value, (4 * c.shape[1] + 8) * EPS64 * size

    def value(self, piece: Tensor, x: Tensor) -> Interval:
        value, radius = self._point(piece, x, 0)
        return value - radius, value + radius

    def derivative(self, piece: Tensor, a: Tensor, b: Tensor, order: int) -> Interval:
        middle = a + (b - a) / 2
        value, radius = self._point(piece, middle, order)
        reach = torch.maximum((a - self.center[piece]).abs(), (b - self.center[piece]).abs())
        spread = _horner(self._rows(piece, order + 1).abs(), reach) * (b - a) / 2
        radius = (radius + spread) * (1 + 1e-12)
        return value - radius, value + radius

    def rounding(self, piece: Tensor, a: Tensor, b: Tensor) -> Tensor:
        c = self._rows(piece, 0).abs()
        reach = torch.maximum((a - self.center[piece]).abs(), (b - self.center[piece]).abs())
        steps = 3 * torch.arange(c.shape[1], dtype=torch.float64) + 1  # of x - center k, of the powers and sums 2k + 1
        return _horner(c * steps, reach) * EPS32 * (1 + 1e-4) + UNDERFLOW32


def _horner(c: Tensor, t: Tensor) -> Tensor:
    out = torch.zeros_like(t)
    for k in range(c.shape[1] - 1, -1, -1):
        out = out * t + c[:, k]
    return out


@dataclass(frozen=True)
class ChebyshevForm:
    """p(x) = Σ_k coefficients[k]·T_k((x - center)·rscale), one piece, evaluated by Clenshaw's rule; |(x - center)·rscale| <= 1."""

    interval: tuple[float, float]
    center: float
    rscale: float
    coefficients: Tensor

    @property
    def breaks(self) -> Tensor:
        return torch.tensor(self.interval, dtype=torch.float64)

    def _series(self, order: int) -> tuple[Tensor, float]:
        """Coefficients of the derivative in x, and how far rounding may have moved the sum."""
        c, doubt = self.coefficients, 0.0
        for _ in range(order):
            matrix = torch.from_numpy(CHEBYSHEV.derivative(len(c) - 1))
            doubt = float((matrix.abs().T @ c.abs()).sum()) * self.rscale * (len(c) + 2) * EPS64 + doubt * (len(c)) ** 2 * self.rscale
            c = (c @ matrix) * self.rscale
            c = c[: max(len(c) - 1, 1)]
        return c, doubt

    def _point(self, x: Tensor, order: int) -> tuple[Tensor, float]:
        c, doubt = self._series(order)
        value = clenshaw((x - self.center) * self.rscale, c[:, None], CHEBYSHEV) if len(c) > 1 else c.expand_as(x)
        return value, doubt + clenshaw_rounding(c, EPS64)

    def value(self, piece: Tensor, x: Tensor) -> Interval:  # noqa: ARG002
        value, radius = self._point(x, 0)
        return value - radius, value + radius

    def derivative(self, piece: Tensor, a: Tensor, b: Tensor, order: int) -> Interval:  # noqa: ARG002
        value, radius = self._point(a + (b - a) / 2, order)
        c, doubt = self._series(order + 1)
        spread = (radius + (supremum(c) + doubt) * (b - a) / 2) * (1 + 1e-12)
        return value - spread, value + spread

    def rounding(self, piece: Tensor, a: Tensor, b: Tensor) -> Tensor:  # noqa: ARG002
        return torch.full_like(a, clenshaw_rounding(self.coefficients, EPS32) + UNDERFLOW32)


def supremum(c: Tensor) -> float:
    """A sure bound of |Σ c_k T_k| on [-1, 1]: the largest value at many Chebyshev points over cos(πn/2N) (Ehlich and Zeller, 1964)."""
    return float(_suprema(c[None]))


def _suprema(rows: Tensor) -> Tensor:
    degree = rows.shape[1] - 1
    n = 64 * max(degree, 1)
    values = (rows @ chebyshev_values(chebyshev_points(n + 1), degree).T).abs().amax(-1)
    return values / math.cos(math.pi * degree / (2 * n)) * (1 + 1e-10) + 1e-15 * rows.abs().sum(1)


def clenshaw_rounding(c: Tensor, eps: float) -> float:
    """How far Clenshaw's rule in arithmetic of unit roundoff ``eps`` may be from Σ c_k T_k(u) on [-1, 1], u's own rounding included.

    b_k = c_k + 2u·b_{k+1} - b_{k+2} is off by eps·(2|b_k| + 2|b_{k+1}| + |b_{k+2}|) at most, and such an error reaches the sum with
    the factor T_k(u), so with 1 at most.
    """
    degree = len(c) - 1
    partial = torch.zeros(degree + 3, degree + 1, dtype=torch.float64)
    for k in range(degree, -1, -1):  # b_k = Σ_{j>=k} c_j U_{j-k} as Chebyshev series of the first kind
        row = torch.zeros(degree + 1, dtype=torch.float64)
        for j in range(k, degree + 1):
            n = j - k
            row[n % 2 : n + 1 : 2] += 2 * c[j]
            if n % 2 == 0:
                row[0] -= c[j]
        partial[k] = row
    partial[0] = c  # the last step is half a step: c_0 + u·b_1 - b_2
    size = _suprema(partial)
    steps = float((2 * size[: degree + 1] + 2 * size[1 : degree + 2] + size[2 : degree + 3]).sum())
    slope = c @ torch.from_numpy(CHEBYSHEV.derivative(degree))
    return (steps + 2 * supremum(slope)) * eps * 1.001
