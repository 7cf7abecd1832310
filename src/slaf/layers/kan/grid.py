"""Moving and refining the grid of a Kolmogorov–Arnold layer, every edge's function kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from slaf.bases import Basis
from slaf.core import SlafError

from .terms import Terms, number_of_terms, terms_of

if TYPE_CHECKING:
    from .layer import KANLayer

__all__ = ["Refit", "refit"]

PER_TERM = 24
"""Points of the fit for every term."""
TOGETHER = 1 << 22


class Refit(NamedTuple):
    """What :meth:`KANLayer.refit` found.

    Attributes:
        error: the largest change of any edge's function on its new interval, at the points of the fit.
        scale: the largest value of any edge's function there.
    """

    error: float
    scale: float


def refit(layer: KANLayer, low: Tensor, high: Tensor, count: int) -> Refit:
    """Fit the edges on new intervals [low, high] and with ``count`` terms to what they were, by least squares in float64."""
    old_center, old_rscale = (t.double() for t in layer.maps())
    weight = layer.to_edges(layer.weight.detach()).double()
    terms, rest = weight[: layer.num_terms], weight[layer.num_terms :]
    half = layer.basis.half_width
    u = torch.linspace(-half, half, PER_TERM * max(count, layer.num_terms) + 1, dtype=torch.float64, device=weight.device)
    new_terms = terms_of(layer.basis, count, weight.device)
    design = _design(new_terms, u, layer.bias is not None)
    x = (low + high).double() / 2 + u[:, None] * (high - low).double() / (2 * half)
    wanted = layer.terms((x - old_center) * old_rscale)  # (points, inputs, K)
    flat = wanted.flatten(1)
    found = torch.linalg.lstsq(design, flat).solution
    missing = (flat - design @ found).unflatten(1, wanted.shape[1:])
    matrix = found.unflatten(1, wanted.shape[1:])  # (1 + count or count, inputs, K)
    error, scale = _largest(missing, terms), _largest(wanted, terms)
    moved = torch.einsum("mik,kie->mie", matrix, terms)
    with torch.no_grad():
        if layer.bias is not None:
            layer.bias.add_(layer.summed(moved[0]).to(layer.bias))
            moved = moved[1:]
        new = layer.from_edges(torch.cat([moved, rest])).to(layer.weight)
        if new.shape == layer.weight.shape:
            layer.weight.copy_(new)
        else:
            layer.weight = nn.Parameter(new, requires_grad=layer.weight.requires_grad)
        layer.terms = new_terms
        layer.low.copy_(low)
        layer.high.copy_(high)
    return Refit(error, scale)


def _design(terms: Terms, u: Tensor, constant: bool) -> Tensor:
    values = terms(u)
    return torch.cat([torch.ones_like(values[:, :1]), values], 1) if constant else values


def _largest(values: Tensor, terms: Tensor) -> float:
    """max |Σ_k values[m, i, k] terms[k, i, e]|, a few inputs at a time."""
    step = max(1, TOGETHER // (values.shape[0] * terms.shape[2]))
    parts = range(0, values.shape[1], step)
    return max(float(torch.einsum("mik,kie->mie", values[:, i : i + step], terms[:, i : i + step]).abs().max()) for i in parts)


def data_interval(layer: KANLayer, x: Tensor | None, margin: float) -> tuple[Tensor, Tensor]:
    """The range of every input in ``x``, or of those seen in training, ``margin`` of its length added at both ends."""
    if x is None:
        low, high = layer.seen_low, layer.seen_high
        if low is None or high is None:
            raise SlafError("refit needs x, inputs of this layer, or a layer with track_range=True")
        if not bool(torch.isfinite(low).all()):
            raise SlafError("refit without x needs a range, and none was seen: train with track_range=True first")
    else:
        flat = layer.as_features(x).reshape(-1, len(layer.low))
        if not len(flat) or not bool(torch.isfinite(flat).all()):
            raise SlafError(f"refit needs one finite sample or more; got x of shape {tuple(x.shape)}")
        low, high = torch.aminmax(flat.detach().to(layer.low), dim=0)
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0 <= margin <= 10:
        raise SlafError(f"margin must be a number from 0 to 10; got {margin!r}")
    center, half = (low + high) / 2, (high - low) / 2 * (1 + 2 * margin)
    # a constant input has no range of its own: it keeps the old one, moved only where it lies outside
    still = half <= 1e-6 * center.abs().clamp(min=1e-6)
    moved = (center - layer.high).clamp(min=0) + (center - layer.low).clamp(max=0)
    return torch.where(still, layer.low + moved, center - half), torch.where(still, layer.high + moved, center + half)


def refined_terms(basis: Basis, grid: int | None, terms: int | None, degree: int | None) -> int:
    """K of one of the three; raises if none is given."""
    if grid is None and terms is None and degree is None:
        raise SlafError("refine needs the new size: grid for piecewise bases, degree for polynomial ones, terms for others")
    return number_of_terms(basis, grid, terms, degree)
