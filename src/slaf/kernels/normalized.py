"""A series whose coefficients depend on the moments of its own input: batch normalisation before or inside a polynomial.

t = means of φ_j(u₀), u₀ = (x - center₀)·rscale₀; (c, center, rscale) = fold(t, parameters); y = Σ_j c_j φ_j((x - center)·rscale).
The definition is that composition of ``moments`` and ``series``. On the kernels it takes four passes over memory: the moments, y, then in
backward the sums Σ g φ_j, and, after the small matrix algebra of ``fold`` has been differentiated in float64, g p'(u)·rscale + q(u) with
q the polynomial that the gradient of t makes. Only x is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import raw
from .dispatch import MAX_DEGREE, Layout, on_gpu
from .fused import run
from .recurrence import Recurrence
from .series import moments, native_place, series
from .tables import by_site, rows_table

__all__ = ["QUIET", "Fold", "Folded", "Measured", "composed", "measure", "normalized", "own_map", "polynomial"]

Array = NDArray[np.float64]
QUIET = np.errstate(invalid="ignore", over="ignore", divide="ignore")
"""Numpy is as silent as torch about what is not finite."""


class Fold(Protocol):
    """From t (sites, count), weight and bias to c (sites or 1, degree + 1), center and rscale (sites,); ``None``: where t was measured."""

    def __call__(self, t: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """In torch, differentiable."""

    def values(self, t: Array, weight: Array, bias: Array) -> tuple[Array, Array | None, Array | None]:
        """The same in numpy."""

    def adjoint(self, gc: Array, gcenter: Array | None, grscale: Array | None) -> tuple[Array, ...]:
        """After ``values``: from the gradients of c by site, center and rscale to those of t, weight and bias."""


@dataclass(frozen=True)
class Measured:
    """The moments of x, from one pass by a kernel.

    Attributes:
        t: (sites, count), float64.
        center, rscale: (sites,), float64: where they were taken.
        shape: in which (sites,) broadcasts against x.
    """

    t: Tensor
    center: Tensor
    rscale: Tensor
    shape: tuple[int, ...]
    recurrence: Recurrence
    layout: Layout
    family: int

    def accurate(self, unit: float) -> bool:
        """Whether mean and variance of x, from two moments, hold their digits; u is ``unit`` times standard."""
        return raw.accurate(self.t, self.family, unit)


def measure(
    x: Tensor, count: int, shape: tuple[int, ...], center: Tensor, rscale: Tensor, recurrence: Recurrence, degree: int
) -> Measured | None:
    """The moments of φ_1 … φ_count at (x - center)·rscale; ``None`` where no kernel can run for them and for a series of ``degree``.

    ``center`` and ``rscale`` (sites,) count as constants: nothing that is made of the moments depends on them, but for rounding.
    """
    if count > 2 * MAX_DEGREE or on_gpu(x):  # there the fold would wait for the device, which the definition does not
        return None
    center, rscale = (t.detach().to(torch.float32).to(torch.float64) for t in (center, rscale))  # as the kernel sees them
    found = native_place(x, degree, recurrence, shape)
    if found is None or found[0].c != len(center):
        return None
    layout, family = found
    t = raw.moments(x, layout, family, count, *(rows_table(m[:, None], shape, layout) for m in (center, rscale)))
    return Measured(by_site(t, shape, layout), center, rscale, shape, recurrence, layout, family)


@torch.no_grad()
def own_map(x: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the elements of every site, (sites,), float64; a deviation of 1 where they are constant."""
    dims = [d for d in range(x.dim()) if shape[d] == 1]
    std, center = (t.reshape(-1).double() for t in torch.std_mean(x.float(), dims, correction=0, keepdim=True))
    return center, torch.where(std > 1e-6 * center.abs() + 1e-30, std, torch.ones_like(std))


def normalized(x: Tensor, measured: Measured, fold: Fold, weight: Tensor, bias: Tensor) -> Tensor:
    """Σ_j c_j φ_j((x - center)·rscale) with (c, center, rscale) = fold(t, weight, bias), differentiable in x, weight and bias."""
    return run(Folded(measured, fold, weight, bias), x, weight, bias)


class Folded:
    """The small matrices of one call, in float64."""

    @QUIET
    def __init__(self, measured: Measured, fold: Fold, weight: Tensor, bias: Tensor) -> None:
        self.measured, self.fold = measured, fold
        self.dtypes = weight.dtype, bias.dtype
        wide = (p.detach().to(torch.float64).numpy() for p in (weight, bias))
        c, self.center, self.rscale = fold.values(measured.t.numpy(), *wide)
        layout, shape = measured.layout, measured.shape
        center, rscale = measured.center, measured.rscale
        if self.center is not None and self.rscale is not None:
            center, rscale = torch.from_numpy(self.center), torch.from_numpy(self.rscale)
        self.tables = [rows_table(rows, shape, layout) for rows in (torch.from_numpy(c), center[:, None], rscale[:, None])]

    def forward(self, x: Tensor) -> Tensor:
        return raw.series_forward(x, self.measured.layout, self.measured.family, *self.tables)

    @QUIET
    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        measured, (coef, center, rscale) = self.measured, self.tables
        layout, family = measured.layout, measured.family
        by_map = self.rscale is not None
        _, sums, slopes = raw.series_backward(x, g, layout, family, coef, center, rscale, False, True, by_map)
        assert sums is not None
        gt, *others = self._adjoint(sums, slopes)
        gx = raw.series_input(x, g, layout, family, coef, self._q(gt), center, rscale) if need_x else None
        return gx, *others

    def _adjoint(self, sums: Tensor, slopes: Tensor | None) -> tuple[Any, ...]:
        """From the sums of a backward pass to the gradients of t, weight and bias."""
        layout, shape, own = self.measured.layout, self.measured.shape, self.rscale
        gcenter = grscale = None
        if slopes is not None and own is not None:
            by_map = by_site(slopes.T, shape, layout).numpy()
            gcenter, grscale = -by_map[:, 0] * own, by_map[:, 1] / own
        gt, *others = self.fold.adjoint(by_site(sums, shape, layout).numpy(), gcenter, grscale)
        return gt, *(torch.from_numpy(o).to(dtype) for o, dtype in zip(others, self.dtypes, strict=True))

    def _q(self, gt: Array) -> Tensor:
        """The gradient of Σ t·gt by an element of x, as a series in the u of the result."""
        measured = self.measured
        share = measured.layout.n * measured.layout.s
        q = (gt @ _slopes(measured.recurrence, gt.shape[1])) * (measured.rscale.numpy() / share)[:, None]
        if self.center is not None and self.rscale is not None:
            q = _moved(q, measured, self.center, self.rscale)
        return rows_table(torch.from_numpy(q), measured.shape, measured.layout)

    def defined(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return self.evaluated(x, *composed(x, self.measured, self.fold, *parameters))

    def evaluated(self, x: Tensor, c: Tensor, center: Tensor, rscale: Tensor) -> Tensor:
        """y in plain torch from c (sites or 1, terms)."""
        return polynomial(x, self.measured, c, center, rscale)


def composed(x: Tensor, m: Measured, fold: Fold, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """c, and center and rscale to broadcast against x, in plain torch: with moments taken where ``m`` was, whose own are read if none."""
    t = m.t
    if count := t.shape[1]:
        found = moments(x, count, m.shape, m.center.reshape(m.shape), m.rscale.reshape(m.shape), m.recurrence)
        t = found.reshape(count, -1).T.to(t.dtype)
    c, center, rscale = fold(t, weight, bias)
    if center is None or rscale is None:
        center, rscale = m.center, m.rscale
    return c, center.reshape(m.shape), rscale.reshape(m.shape)


def polynomial(x: Tensor, m: Measured, c: Tensor, center: Tensor, rscale: Tensor) -> Tensor:
    """The series of c (sites or 1, terms)."""
    wide = c.T.reshape(c.shape[1], *(m.shape if len(c) > 1 else (1,) * len(m.shape)))
    return series(x, wide, center, rscale, m.recurrence)


@lru_cache(maxsize=64)
def _slopes(recurrence: Recurrence, count: int) -> Array:
    """Row j - 1 holds φ_j' in the family, j = 1 … count: (count, count)."""
    return recurrence.derivative(count)[1:, :count].copy()


def _moved(q: Array, measured: Measured, center: Array, rscale: Array) -> Array:
    """q(u₀), of degree 1 at most, as a series in u = (x - center)·rscale. φ_1 is u in the families of the kernels."""
    if q.shape[1] > 2:
        raise ValueError("a fold with a map of its own needs two moments, not more")
    middle, scale = measured.center.numpy(), measured.rscale.numpy()
    return np.stack([q[:, 0] + q[:, 1] * (center - middle) * scale, q[:, 1] * scale / rscale], 1)
