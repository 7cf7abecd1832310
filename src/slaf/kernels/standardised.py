"""A series at the standardised input of a training batch: what :mod:`.normalized` does for its commonest case, in one call each way.

mean and var of every site's elements move the running statistics; u = (x - center)·rscale with, under batch renormalisation, both made
of those, else of the batch's; y = factor·(b + Σ_j a_j φ_j(u)). Gradients run through the batch's mean and variance either way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from . import raw
from .dispatch import Layout, readable
from .fused import run
from .normalized import Fold, Measured, composed, polynomial
from .recurrence import Recurrence
from .series import native_place
from .tables import by_site

__all__ = ["Kept", "standardised"]


class Kept(NamedTuple):
    """Running statistics of the sites, which are changed in place.

    Attributes:
        mean, var: (sites,), float32.
        batches: int64, how many were counted.
        momentum, warm_up: the weight of the newest is max(1/batches if warm_up, momentum).
        renorm, eps: standardise by sqrt(var + eps) of the running statistics, or else of the batch's.
    """

    mean: Tensor
    var: Tensor
    batches: Tensor
    momentum: float
    warm_up: bool
    renorm: bool
    eps: float


def standardised(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    factor: float,
    shape: tuple[int, ...],
    kept: Kept,
    unit: float,
    recurrence: Recurrence,
    fold: Callable[[Measured], Fold],
) -> Tensor | None:
    """y; ``None``, with nothing changed, where the kernels cannot run or the moments would lose digits.

    Args:
        weight, bias: (count, degree) and (count,); each of their rows serves sites / count sites in a run.
        shape: in which one entry per site broadcasts against x.
        unit: u over (x - mean)/std.
        fold: of the definition, for what the kernels do not do, from where the batch was measured: under renormalisation by the
            running statistics that it was standardised by.
    """
    mean, var, batches = kept[:3]
    if weight.dtype in (torch.bfloat16, torch.float16):
        weight, bias = weight.float(), bias.float()
    if not x.is_cpu or not all(map(readable, (weight, bias, mean, var))) or not batches.is_cpu or batches.dtype is not torch.int64:
        return None
    found = native_place(x, weight.shape[1], recurrence, shape)
    if found is None or found[0].c != mean.shape[0] or mean.is_inference() or var.is_inference() or batches.is_inference():
        return None
    done = raw.standardise(x, *found, factor, weight, bias, kept, unit)
    if done is None:
        return None
    torch.autograd.graph.increment_version(kept[:3])
    return run(_Standardised(weight, bias, shape, factor, recurrence, found, done, fold), x, weight, bias)


class _Standardised:
    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        shape: tuple[int, ...],
        factor: float,
        recurrence: Recurrence,
        place: tuple[Layout, int],
        done: tuple[Tensor, bytearray, bytearray],
        fold: Callable[[Measured], Fold],
    ) -> None:
        self.parameters, self.degree = (weight, bias), weight.shape[1]
        self.shape, self.factor, self.recurrence, self.place = shape, factor, recurrence, place
        y, self.table, self.state = done
        self.y, self.fold = [y], fold

    def forward(self, x: Tensor) -> Tensor:  # noqa: ARG002 - it is there already
        return self.y.pop()  # and not kept: it leads here

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        return raw.standardised_backward(x, g, *self.place, self.factor, *self.parameters, self.table, self.state, need_x)

    def defined(self, x: Tensor, *parameters: Tensor) -> Tensor:
        layout, degree = self.place[0], self.degree
        center = torch.frombuffer(self.table, dtype=torch.float32)[layout.c * (degree + 1) : layout.c * (degree + 2)].double()
        rscale = torch.frombuffer(self.state, dtype=torch.float64).reshape(layout.c, -1)[:, 0]
        center, rscale = by_site(torch.stack([center, rscale], 1), self.shape, layout).T
        measured = Measured(center.new_empty(len(center), 2), center, rscale, self.shape, self.recurrence, *self.place)
        return polynomial(x, measured, *composed(x, measured, self.fold(measured), *parameters))
