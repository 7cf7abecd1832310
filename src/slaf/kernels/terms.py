"""A series whose terms are standardised by the statistics of a training batch, in one call each way.

y = factor·(b + Σ_k a_k (φ_k(v) - mean_k)/sqrt(var_k + floor)) with mean and variance over the elements of a site and v = x, or the input
standardised as by :mod:`.standardised`. The moments of x give both, so the terms fold to one series, see native/fold.hpp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from . import raw_terms
from .dispatch import Layout, on_gpu, readable
from .fused import run
from .normalized import Fold, Measured, composed, own_map, polynomial
from .recurrence import Recurrence
from .series import native_place
from .standardised import Kept
from .tables import by_site

__all__ = ["KeptTerms", "normalised_terms"]


class KeptTerms(NamedTuple):
    """Running statistics of the terms, which are changed in place.

    Attributes:
        mean, var: (sites, degree), float32.
        batches: int64, how many were counted.
        momentum, warm_up: see :class:`.standardised.Kept`.
        eps: added to variances; ``None``: a floor relative to a term's second moment.
    """

    mean: Tensor
    var: Tensor
    batches: Tensor
    momentum: float
    warm_up: bool
    eps: float | None


class Call(NamedTuple):
    """What the kernels are told beside x and its parameters."""

    layout: Layout
    family: int
    factor: float
    terms: KeptTerms
    inputs: Kept | None
    unit: float


MakeFold = Callable[[Measured, tuple[Tensor, Tensor]], Fold]


def normalised_terms(
    x: Tensor, weight: Tensor, bias: Tensor, factor: float, shape: tuple[int, ...], terms: KeptTerms, inputs: Kept | None,
    unit: float, recurrence: Recurrence, fold: MakeFold,
) -> Tensor | None:  # fmt: skip
    """y; ``None``, with nothing changed, where the kernels cannot run.

    Args:
        weight, bias: (count, degree) and (count,); each of their rows serves sites / count sites in a run.
        shape: in which one entry per site broadcasts against x.
        inputs: running statistics of the input, if it is standardised first.
        unit: u over the standardised input.
        fold: of the definition, from where the batch was measured and center and rscale of the input map.
    """
    kept = [t for statistics in (terms, inputs) if statistics is not None for t in statistics[:3]]
    floats = [weight, bias, *kept[:2], *kept[3:5]]
    if on_gpu(x) or not all(map(readable, floats)):
        return None
    if any(t.is_inference() for t in kept) or not all(t.is_cpu and t.dtype is torch.int64 for t in kept[2::3]):
        return None
    found = native_place(x, weight.shape[1], recurrence, shape)
    if found is None or found[0].c != terms.mean.shape[0]:
        return None
    return run(_NormalisedTerms(weight, bias, shape, recurrence, Call(*found, factor, terms, inputs, unit), kept, fold), x, weight, bias)


class _NormalisedTerms:
    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        shape: tuple[int, ...],
        recurrence: Recurrence,
        call: Call,
        kept: list[Tensor],
        fold: MakeFold,
    ) -> None:
        self.parameters, self.degree = (weight, bias), weight.shape[1]
        self.shape, self.recurrence, self.call, self.kept, self.fold = shape, recurrence, call, kept, fold

    def forward(self, x: Tensor) -> Tensor:
        found = raw_terms.normalise(x, self.call, *self.parameters, None)
        if found is None:  # far from the running statistics
            about = torch.stack(own_map(x, self.shape), 1)
            found = raw_terms.normalise(x, self.call, *self.parameters, about)
        assert found is not None
        torch.autograd.graph.increment_version(self.kept)
        y, self.table, self.state = found
        return y

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        return raw_terms.normalised_backward(x, g, self.call, *self.parameters, self.table, self.state, need_x)

    def defined(self, x: Tensor, *parameters: Tensor) -> Tensor:
        layout, degree = self.call.layout, self.degree
        center, rscale, *by_map = by_site(self.state.reshape(layout.c, -1)[:, 3 * degree : 3 * degree + 4], self.shape, layout).T
        t = center.new_empty(len(center), 2 * degree)
        measured = Measured(t, center, rscale, self.shape, self.recurrence, layout, self.call.family)
        fold = self.fold(measured, (by_map[0], by_map[1]))
        return polynomial(x, measured, *composed(x, measured, fold, *parameters))
