"""A series whose coefficients are parameters as a module holds them: the lean way that a small tensor needs."""

from __future__ import annotations

import torch
from torch import Tensor

from . import raw
from .dispatch import MAX_DEGREE, Layout, place, readable
from .fused import run
from .recurrence import Recurrence
from .series import series

__all__ = ["series_of_sites"]


def series_of_sites(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    factor: float,
    shape: tuple[int, ...],
    center: Tensor | None,
    rscale: Tensor | None,
    recurrence: Recurrence,
) -> Tensor | None:
    """factor·(b + Σ_j a_j φ_j((x - center)·rscale)) by the kernels; ``None`` where the definition must run.

    Args:
        weight, bias: (count, degree) and (count,); each of their rows serves sites / count sites in a run.
        shape: in which one entry per site broadcasts against x.
        center, rscale: (sites,) float32 constants, or ``None``.
    """
    if weight.dtype is not torch.float32:
        weight, bias = weight.float(), bias.float()
    family = recurrence.code
    layout = None if family is None or not 1 <= weight.shape[1] <= MAX_DEGREE else place(x, shape)
    if family is None or layout is None or not (readable(weight) and readable(bias) and readable(center) and readable(rscale)):
        return None
    return run(_OfSites(weight, bias, factor, shape, center, rscale, recurrence, layout, family), x, weight, bias)


class _OfSites:
    __slots__ = ("bias", "by", "head", "recurrence", "shape", "table", "weight")

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        factor: float,
        shape: tuple[int, ...],
        center: Tensor | None,
        rscale: Tensor | None,
        recurrence: Recurrence,
        layout: Layout,
        family: int,
    ) -> None:
        self.weight, self.bias, self.by, self.shape, self.recurrence = weight, bias, (center, rscale), shape, recurrence
        self.head = layout, family, factor

    def forward(self, x: Tensor) -> Tensor:
        y, self.table = raw.sites_series_forward(x, *self.head, self.weight, self.bias, *self.by)
        return y

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        return raw.sites_series_backward(x, g, *self.head, self.weight, self.bias, self.table, need_x)

    def defined(self, x: Tensor, *parameters: Tensor) -> Tensor:
        weight, bias = (p.to(torch.float64) for p in parameters)
        layout, _, factor = self.head
        c = factor * torch.cat([bias[:, None], weight], 1).repeat_interleave(layout.c // len(bias), 0)
        center, rscale = (None if t is None else t.reshape(self.shape) for t in self.by)
        return series(x, c.T.reshape(-1, *self.shape), center, rscale, self.recurrence)
