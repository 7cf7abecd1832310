"""Penalties that make the edges of a Kolmogorov–Arnold layer few and smooth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .layer import KANLayer

__all__ = ["edge_sizes", "entropy", "roughness"]

POINTS = 8
"""Per term, where functions are sampled."""


def edge_sizes(layer: KANLayer, x: Tensor | None = None) -> Tensor:
    """The mean of |f| of every edge over the samples of ``x``, or without x over its interval: (in_features, edges of an input)."""
    if x is None:
        return torch.einsum("mki,kie->mie", _on_interval(layer), layer.to_edges(layer.weight)).abs().mean(0)
    columns = layer.expand(layer.as_features(x)).flatten(0, -3)
    return torch.einsum("nki,kie->nie", columns, layer.to_edges(layer.weight)).abs().mean(0)


def entropy(sizes: Tensor) -> Tensor:
    """-Σ p log p of the edges' shares p of the sum of their sizes."""
    p = sizes / sizes.sum().clamp(min=torch.finfo(sizes.dtype).tiny)
    return torch.special.entr(p).sum()


def roughness(layer: KANLayer) -> Tensor:
    """The mean of f''² over the interval, of length 1, of all edges' terms: by second differences, so kinks count."""
    half, count = layer.basis.half_width, layer.num_terms
    u = torch.linspace(-half, half, POINTS * (count + 1) + 1, dtype=torch.float64, device=layer.weight.device)
    step = 1 / (len(u) - 1)
    curvature = layer.terms(u).diff(n=2, dim=0) / step**2
    gram = (curvature.mT @ curvature / len(curvature)).to(layer.weight.dtype)
    terms = layer.to_edges(layer.weight)[:count].flatten(1)
    return ((gram @ terms) * terms).sum() / terms.shape[1]


def _on_interval(layer: KANLayer) -> Tensor:
    """The columns at points spread evenly over every input's interval: (points, columns, in_features)."""
    t = torch.linspace(0, 1, POINTS * (layer.num_terms + 1) + 1, dtype=layer.low.dtype, device=layer.low.device)
    x = layer.low + t[:, None] * (layer.high - layer.low)
    return layer.expand(x.to(layer.weight.dtype))
