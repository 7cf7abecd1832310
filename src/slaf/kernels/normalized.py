"""A series whose coefficients depend on the moments of its own input: batch normalisation before or inside a polynomial.

t = means of φ_j(u₀), u₀ = (x - center₀)·rscale₀; (c, center, rscale) = fold(t, parameters); y = Σ_j c_j φ_j((x - center)·rscale).
The definition is that composition of ``moments`` and ``series``. On the kernels it takes four passes over memory: the moments, y, then in
backward the sums Σ g φ_j, and, after the small matrix algebra of ``fold`` has been differentiated in float64, g p'(u)·rscale + q(u) with
q the polynomial that the gradient of t makes. Only x is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from . import raw
from .dispatch import MAX_DEGREE, Layout
from .fused import run
from .recurrence import Recurrence
from .series import moments, native_place, series

__all__ = ["Fold", "Measured", "measure", "normalized"]

Fold = Callable[..., tuple[Tensor, Tensor | None, Tensor | None]]
"""From t (sites, count) and the parameters to c (sites or 1, degree + 1), center and rscale (sites,), in float64, differentiable and
without side effects. ``None`` for both: the map that t was measured with."""


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


def measure(
    x: Tensor, count: int, shape: tuple[int, ...], center: Tensor, rscale: Tensor, recurrence: Recurrence, degree: int
) -> Measured | None:
    """The moments of φ_1 … φ_count at (x - center)·rscale; ``None`` where no kernel can run for them and for a series of ``degree``.

    ``center`` and ``rscale`` (sites,) count as constants: nothing that is made of the moments depends on them, but for rounding.
    """
    if count > 2 * MAX_DEGREE:
        return None
    center, rscale = (t.detach().to(torch.float32).to(torch.float64) for t in (center, rscale))  # as the kernel sees them
    found = native_place(x, degree, recurrence, shape)
    if found is None or found[0].c != len(center):
        return None
    layout, family = found
    t = raw.moments(x, layout, family, count, *(raw.rows_table(m[:, None], shape, layout) for m in (center, rscale)))
    return Measured(raw.by_site(t, shape, layout), center, rscale, shape, recurrence, layout, family)


def normalized(x: Tensor, measured: Measured, fold: Fold, *parameters: Tensor) -> Tensor:
    """Σ_j c_j φ_j((x - center)·rscale) with (c, center, rscale) = fold(t, *parameters), differentiable in x and the parameters."""
    return run(_Folded(x, measured, fold, parameters), x, *parameters)


class _Folded:
    """The small matrices of one call, with their own graph from t and the parameters to the coefficients."""

    def __init__(self, x: Tensor, measured: Measured, fold: Fold, parameters: tuple[Tensor, ...]) -> None:
        self.measured, self.fold = measured, fold
        graph = torch.is_grad_enabled()
        self.leaves = [measured.t.detach().requires_grad_(graph and x.requires_grad)]
        self.leaves += [p.detach().requires_grad_(graph and p.requires_grad) for p in parameters]
        c, self.center, self.rscale = fold(*self.leaves)
        self.c = c
        layout, shape = measured.layout, measured.shape
        center, rscale = (measured.center, measured.rscale) if self.center is None or self.rscale is None else (self.center, self.rscale)
        self.tables = [raw.rows_table(rows, shape, layout) for rows in (c, center[:, None], rscale[:, None])]

    def _sites(self, sums: Tensor) -> Tensor:
        return raw.by_site(sums, self.measured.shape, self.measured.layout)

    def forward(self, x: Tensor) -> Tensor:
        return raw.series_forward(x, self.measured.layout, self.measured.family, *self.tables)

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        measured, (coef, center, rscale) = self.measured, self.tables
        own_map = self.center is not None and self.center.requires_grad
        _, sums, slopes = raw.series_backward(
            x, g, measured.layout, measured.family, coef, center, rscale, input_gradient=False, map_sums=own_map
        )
        assert sums is not None
        outputs, grads = [self.c], [self._sites(sums).sum_to_size(self.c.shape)]
        if own_map and slopes is not None:
            scale = rscale[:, 0].double()
            by_map = self._sites(torch.stack([-slopes[0] * scale, slopes[1] / scale], 1))
            outputs += [self.center, self.rscale]  # type: ignore[list-item]
            grads += [by_map[:, 0], by_map[:, 1]]
        gt, *of_parameters = self._through_the_fold(outputs, grads)
        gx = raw.series_input(x, g, measured.layout, measured.family, coef, self._q(gt), center, rscale) if need_x else None
        return gx, *of_parameters

    def _through_the_fold(self, outputs: list[Tensor], grads: list[Tensor]) -> list[Tensor | None]:
        """From the gradients of what ``fold`` gave to those of t and the parameters."""
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.requires_grad]
        wanted = [leaf for leaf in self.leaves if leaf.requires_grad]
        if not pairs or not wanted:
            return [None] * len(self.leaves)
        of, by = zip(*pairs, strict=True)
        found = iter(torch.autograd.grad(of, wanted, by, retain_graph=True, allow_unused=True))
        return [next(found) if leaf.requires_grad else None for leaf in self.leaves]

    def _q(self, gt: Tensor | None) -> Tensor:
        """The gradient of Σ t·gt by an element of x, as a series in the u of the result."""
        measured = self.measured
        if gt is None:
            return torch.zeros(measured.layout.c, 1)
        share = measured.layout.n * measured.layout.s
        q = (gt @ _slopes(measured.recurrence, gt.shape[1])) * (measured.rscale / share)[:, None]
        if self.center is not None and self.rscale is not None:
            q = _moved(q, measured, self.center.detach(), self.rscale.detach())
        return raw.rows_table(q, measured.shape, measured.layout)

    def defined(self, x: Tensor, *parameters: Tensor) -> Tensor:
        m = self.measured
        t = moments(x, m.t.shape[1], m.shape, m.center.reshape(m.shape), m.rscale.reshape(m.shape), m.recurrence)
        c, center, rscale = self.fold(t.reshape(len(t), -1).T.to(m.t.dtype), *parameters)
        if center is None or rscale is None:
            center, rscale = m.center, m.rscale
        wide = c.T.reshape(c.shape[1], *(m.shape if len(c) > 1 else (1,) * len(m.shape)))
        return series(x, wide, center.reshape(m.shape), rscale.reshape(m.shape), m.recurrence)


@lru_cache(maxsize=64)
def _slopes(recurrence: Recurrence, count: int) -> Tensor:
    """Row j - 1 holds φ_j' in the family, j = 1 … count: (count, count)."""
    return torch.from_numpy(recurrence.derivative(count)[1:, :count].copy())


def _moved(q: Tensor, measured: Measured, center: Tensor, rscale: Tensor) -> Tensor:
    """q(u₀), of degree 1 at most, as a series in u = (x - center)·rscale. φ_1 is u in the families of the kernels."""
    if q.shape[1] > 2:
        raise ValueError("a fold with a map of its own needs two moments, not more")
    if q.shape[1] == 1:
        return q
    constant = q[:, 0] + q[:, 1] * (center - measured.center) * measured.rscale
    return torch.stack([constant, q[:, 1] * measured.rscale / rscale], 1)
