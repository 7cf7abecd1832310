"""A network of Kolmogorov–Arnold layers as a graph: its layers in order, what every one of them gets, and how much every edge matters."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from slaf.core import SlafError

from .linear import KANLinear
from .symbolic.layer import SymbolicKANLinear

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Edges", "Scores", "layers_of", "network_of", "scores", "signals"]

Edges = KANLinear | SymbolicKANLinear
"""A layer that is a sum over edges: ``edges(x)`` of (…, in_features) → (…, in_features, out_features), ``bias``, and ``kept``."""


class Scores(NamedTuple):
    """How much nodes and edges matter for the outputs, on data.

    Attributes:
        edges: (in_features, out_features) for every layer.
        nodes: for every layer its inputs' (in_features,), and the outputs' at the end.
    """

    edges: list[Tensor]
    nodes: list[Tensor]


def layers_of(model: nn.Module) -> list[Edges]:
    """The layers of a layer, or of a sequence of them and nothing else.

    Raises:
        SlafError: it is neither, or its sizes do not follow each other.
    """
    members = list(model) if isinstance(model, (nn.Sequential, nn.ModuleList)) else [model]
    layers = [m for m in members if isinstance(m, Edges)]
    if not layers or len(layers) < len(members):
        other = next((type(m).__name__ for m in members if not isinstance(m, Edges)), "an empty one")
        raise SlafError(f"model must be a KANLinear or an nn.Sequential of KAN layers alone; got {other}")
    for before, after in itertools.pairwise(layers):
        if before.out_features != after.in_features:
            raise SlafError(f"model has a layer of {before.out_features} outputs before one of {after.in_features} inputs")
    return layers


def network_of(layers: Sequence[nn.Module]) -> nn.Sequential:
    """The layers one after the other."""
    return nn.Sequential(*layers)


@torch.no_grad()
def signals(model: nn.Module, x: Tensor) -> list[Tensor]:
    """What every layer gets, (n, in_features) each, and the outputs at the end; no running range is touched.

    Raises:
        SlafError: x is no finite (n, features) that fits the first layer, or has one sample only.
    """
    layers = layers_of(model)
    wanted = layers[0].in_features
    if not isinstance(x, Tensor) or x.dim() != 2 or x.shape[1] != wanted or len(x) < 2 or not bool(torch.isfinite(x).all()):
        got = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise SlafError(f"x must be two or more finite samples of {wanted} features, (n, {wanted}); got {got}")
    found = [x]
    for layer in layers:
        total = layer.edges(found[-1]).sum(-2)
        found.append(total if layer.bias is None else total + layer.bias)
    return found


@torch.no_grad()
def scores(model: nn.Module, x: Tensor) -> Scores:
    """Every edge's share of what its node passes on: score_io = score_o·std(f_io)/std(y_o), score_i = Σ_o score_io, 1 for outputs.

    Standard deviations are over x; a constant is in the bias, and counts nothing.

    Source: Liu et al. (2024), KAN 2.0, arXiv:2408.10205 [from memory], and pykan 0.2.8, ``MultKAN.attribute`` [read].
    """
    layers, found = layers_of(model), signals(model, x)
    nodes, edges = [torch.ones_like(found[-1][0])], []
    for layer, before, after in reversed(list(zip(layers, found, found[1:], strict=False))):
        spread = after.std(0)
        share = layer.edges(before).std(0) / spread.clamp(min=torch.finfo(spread.dtype).tiny) * (spread > 0)
        edges.append(share * nodes[-1])
        nodes.append(edges[-1].sum(1))
    return Scores(edges[::-1], nodes[::-1])
