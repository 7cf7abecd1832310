"""Pruning: a smaller network without the nodes and edges that matter little on data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slaf.core import SlafError

from .layer import checked_size
from .network import Edges, layers_of, network_of, scores, signals

__all__ = ["Pruned", "prune"]


@dataclass(frozen=True)
class Pruned:
    """A smaller network, and what it cost.

    Attributes:
        model: the new network; it shares no parameters with the old one.
        nodes: for every layer boundary, the numbers of the old nodes that are left.
        edges: how many edges are left, and how many there were.
        change: the root mean square of the outputs' change over x, over their standard deviation.
        worst: the largest change of an output.
    """

    model: nn.Sequential
    nodes: tuple[tuple[int, ...], ...]
    edges: tuple[int, int]
    change: float
    worst: float

    def __str__(self) -> str:
        widths = " → ".join(str(len(n)) for n in self.nodes)
        changed = f"outputs changed by {self.change:.2g} of their spread, {self.worst:.2g} at most"
        return f"{widths}, {self.edges[0]} of {self.edges[1]} edges; {changed}"


@torch.no_grad()
def prune(model: nn.Module, x: Tensor, threshold: float = 0.01, *, hidden: Sequence[int] | None = None) -> Pruned:
    """Leave out the edges whose score on ``x`` is below ``threshold``, and hidden nodes that nothing then comes from or goes to.

    Scores are those of :func:`slaf.layers.kan.scores`: shares of the outputs' spread. What an edge that is left out gave on average goes
    to the bias of its node. Inputs and outputs stay, so that the network takes and gives what it did. The model is not changed.

    Args:
        model: a :class:`KANLinear`, or an ``nn.Sequential`` of such and of symbolic layers.
        x: inputs of the model, (n, in_features).
        threshold: from 0 on; with 0 only what gives a constant goes.
        hidden: the most nodes of every hidden layer, those with the greatest scores.

    Raises:
        SlafError: another module, inputs that do not fit, a threshold below 0, or a number of hidden layers that is not the model's.
    """
    layers = layers_of(model)
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not threshold >= 0:
        raise SlafError(f"threshold must be a number from 0 on; got {threshold!r}")
    if hidden is not None and len(hidden) != len(layers) - 1:
        raise SlafError(f"hidden must hold {len(layers) - 1} sizes, one for each hidden layer; got {hidden!r}")
    found, before = scores(model, x), signals(model, x)
    edges = [layer.present() & (score > threshold) for layer, score in zip(layers, found.edges, strict=True)]
    nodes = _nodes(edges, found.nodes, hidden)
    new = network_of([_smaller(*each) for each in zip(layers, before, edges, nodes, nodes[1:], strict=False)])
    after, wanted = signals(new, x)[-1], before[-1]
    missing = (after - wanted).double()
    spread = float(wanted.double().std(0).square().mean().sqrt())
    left = sum(int(layer.present().sum()) for layer in layers_of(new)), sum(int(layer.present().sum()) for layer in layers)
    change = float(missing.square().mean().sqrt()) / max(spread, 1e-300)
    return Pruned(new, tuple(tuple(n.tolist()) for n in nodes), left, change, float(missing.abs().max()))


def _nodes(edges: list[Tensor], importance: list[Tensor], hidden: Sequence[int] | None) -> list[Tensor]:
    """The numbers of the nodes that stay, at every boundary; edges at those that go are taken from ``edges``, until nothing changes."""
    alive = [torch.ones(len(e), dtype=torch.bool, device=e.device) for e in (*edges, edges[-1].T)]
    for k, most in enumerate(hidden or (), start=1):
        best = importance[k].argsort(descending=True)[: checked_size("hidden", most)]
        alive[k] = torch.zeros_like(alive[k]).index_fill(0, best, True)
    for _ in range(2 * len(edges)):  # what hangs loose may leave its neighbour loose
        for k in range(1, len(edges)):
            alive[k] = alive[k] & (edges[k - 1] & alive[k - 1][:, None]).any(0) & (edges[k] & alive[k + 1]).any(1)
        for k, kept in enumerate(edges):
            kept &= alive[k][:, None] & alive[k + 1]
    for k in range(1, len(edges)):
        if not bool(alive[k].any()):  # a constant network: one node that passes nothing on
            alive[k][importance[k].argmax()] = True
    return [torch.nonzero(a)[:, 0] for a in alive]


def _smaller(layer: Edges, x: Tensor, kept: Tensor, inputs: Tensor, outputs: Tensor) -> Edges:
    """The layer with those edges and nodes, the means of the others over x in its bias if it has one."""
    new = layer.restricted(kept, inputs, outputs)
    if new.bias is not None:
        gone = layer.present() & ~kept
        new.bias.add_((layer.edges(x).mean(0) * gone).sum(0)[outputs])
    return new
