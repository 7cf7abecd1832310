"""A series whose coefficients are parameters themselves, up to a factor: the lean way that a small tensor needs."""

from __future__ import annotations

import torch
from torch import Tensor

from . import raw
from .dispatch import Layout
from .fused import run
from .recurrence import Recurrence
from .series import native_place, series

__all__ = ["series_of_sites"]


def series_of_sites(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    factor: float,
    repeat: int,
    shape: tuple[int, ...],
    center: Tensor | None,
    rscale: Tensor | None,
    recurrence: Recurrence,
) -> Tensor | None:
    """factor·(b + Σ_j a_j φ_j((x - center)·rscale)) by the kernels; ``None`` where the definition must run.

    Args:
        weight, bias: (count, degree) and (count,), each for ``repeat`` sites, or with count 1 for all.
        shape: in which one entry per site broadcasts against x.
        center, rscale: (sites,) constants, or ``None``.
    """
    found = native_place(x, weight.shape[1], recurrence, shape)
    if found is None or (weight.shape[0] * repeat not in (1, found[0].c)):
        return None
    return run(_PerSite(weight, bias, factor, repeat, shape, center, rscale, recurrence, *found), x, weight, bias)


class _PerSite:
    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        factor: float,
        repeat: int,
        shape: tuple[int, ...],
        center: Tensor | None,
        rscale: Tensor | None,
        recurrence: Recurrence,
        layout: Layout,
        family: int,
    ) -> None:
        self.factor, self.repeat, self.shape, self.recurrence = factor, repeat, shape, recurrence
        self.center, self.rscale, self.layout, self.family = center, rscale, layout, family
        self.count, self.dtype = len(weight), weight.dtype
        with torch.no_grad():
            wide = self._rows(weight.to(torch.float32), bias.to(torch.float32))  # first, so that the factor is not rounded to a half type
            self.coef = raw.rows_table(wide, shape, layout)
            self.by = [None if t is None else raw.rows_table(t[:, None], shape, layout) for t in (center, rscale)]

    def _rows(self, weight: Tensor, bias: Tensor) -> Tensor:
        c = torch.cat([bias[:, None], weight], 1) * self.factor
        return c.repeat_interleave(self.repeat, 0) if self.repeat > 1 else c

    def forward(self, x: Tensor) -> Tensor:
        return raw.series_forward(x, self.layout, self.family, self.coef, *self.by)

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        center, rscale = self.by
        gx, sums, _ = raw.series_backward(x, g, self.layout, self.family, self.coef, center, rscale, need_x)
        assert sums is not None
        sums = raw.by_site(sums, self.shape, self.layout)
        if len(sums) != self.count:
            sums = sums.reshape(self.count, -1, sums.shape[1]).sum(1)
        sums = sums.to(self.dtype) if self.factor == 1 else sums.mul_(self.factor).to(self.dtype)
        return gx, sums[:, 1:], sums[:, 0]

    def defined(self, x: Tensor, *parameters: Tensor) -> Tensor:
        weight, bias = parameters
        c = self._rows(weight.to(torch.float64), bias.to(torch.float64))
        center, rscale = (None if t is None else t.reshape(self.shape) for t in (self.center, self.rscale))
        return series(x, c.T.reshape(c.shape[1], *(self.shape if len(c) > 1 else (1,) * len(self.shape))), center, rscale, self.recurrence)
