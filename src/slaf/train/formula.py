"""From samples to a formula: a Kolmogorov–Arnold network is trained sparse, pruned, refined, and read as functions it may consist of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slaf.core import SlafError
from slaf.layers.kan import KANLinear, SymbolicKANLinear, Symbolified, prune, symbolify

__all__ = ["Regression", "symbolic_regression"]

SPARSE, REFINE = (40, 40, 40), (60, 40)
"""Steps of L-BFGS with and without penalties, after each of which the grids move to what the layers get."""
NEAR, WORSE = 1e-3, 3.0
"""A network of fewer nodes is good if its nmse is below the one, or below that many times the sparse network's."""
EXACT = 1e-10
"""An nmse below which a formula is taken to be the one, and no larger network is tried."""
FEW = 40
"""Formulas tried for every number of nodes."""
MARGIN = 0.02

_Read = tuple[Symbolified, nn.Sequential, float]
"""A formula, the network that it was read from, and the nmse of that."""


@dataclass(frozen=True)
class Regression:
    """A formula, and the network it was read from; both map x to y as they were given, in float64.

    Attributes:
        model: an ``nn.Sequential`` of symbolic layers.
        network: the pruned network of splines.
        nmse, network_nmse: their mean square errors over the variance of y.
        found: what :func:`slaf.layers.kan.symbolify` says of the edges, for y with mean 0 and variance 1.
    """

    model: nn.Sequential
    network: nn.Sequential
    nmse: float
    network_nmse: float
    found: Symbolified

    def expressions(self, inputs: Sequence[str] | None = None, digits: int | None = 4) -> list[Any]:
        """The outputs in sympy: :func:`slaf.layers.kan.expressions` of ``model``."""
        return self.found.expressions(inputs, digits)


def symbolic_regression(
    x: Any,
    y: Any,
    *,
    hidden: int = 5,
    grid: int = 5,
    penalty: float = 3e-3,
    smoothness: float = 0.01,
    functions: Sequence[str] | None = None,
    simplicity: float = 1.0,
    starts: int = 3,
    seed: int = 0,
) -> Regression:
    """A formula for y in terms of x: y_o = Σ_h g_oh(Σ_i f_hi(x_i)), each f and g a function with an affine map before and after it.

    A network of two layers of cubic B-splines is trained by L-BFGS on all samples with an L1, an entropy and a smoothness penalty; for one
    hidden node, two, … it is pruned to those that matter most, refined without penalties and read by
    :func:`slaf.layers.kan.symbolify`, until a formula is exact. If none is, all is done again from other first weights, and in the end more
    formulas are tried for the network of the best.

    Args:
        x, y: (n, features) and (n, outputs) or (n,), tensors or what numpy takes for arrays.
        hidden: the most hidden nodes.
        grid: intervals of the splines.
        penalty: the weight of all penalties, y having variance 1; ``smoothness`` is its part of the last.
        functions: names of functions that edges may be, see :func:`slaf.layers.kan.suggest`.
        simplicity: the weight of complexity.
        starts: how many first weights are tried, at most; of formulas that are not exact the best is taken, so noise takes all.
        seed: of the first weights; torch's global generator stays as it is.

    Raises:
        SlafError: arrays that do not fit each other, are not finite or too few, an output that is constant, or no start.

    Source: the steps are those of Liu et al. (2024), KAN, arXiv:2404.19756, section 2.5 [from memory].
    """
    x, y = _checked(x, y)
    mean, spread = y.mean(0), y.std(0, correction=0)
    z = (y - mean) / spread
    if starts < 1:
        raise SlafError(f"starts must be 1 or more; got {starts!r}")
    sizes = x.shape[1], hidden, z.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wholes = [nn.Sequential(*(KANLinear(a, b, grid=grid, dtype=torch.float64) for a, b in pairwise(sizes))) for _ in range(starts)]
    options: dict[str, Any] = {"functions": functions, "simplicity": simplicity}
    best: _Read | None = None
    for whole in wholes:
        reached = _descend(whole.to(x.device), x, z, SPARSE, penalty, smoothness)
        read = _read(whole, x, z, reached, options)
        best = read if best is None or read[0].criterion < best[0].criterion else best
        if best[0].nmse <= EXACT:
            break
    assert best is not None
    found, network, nmse = best
    if found.nmse > EXACT:
        again = symbolify(network, x, z, **options)
        found = min(found, again, key=lambda each: each.criterion)
    for model in (found.model, network):
        _rescale(model[-1], mean, spread)
    return Regression(found.model, network, found.nmse, nmse, found)


def _read(whole: nn.Sequential, x: Tensor, z: Tensor, reached: float, options: dict[str, Any]) -> _Read:
    """The best formula of a sparse network whose nmse is ``reached``, pruned to one hidden node, two, … until one is exact."""
    tried: list[_Read] = []
    hidden: int = whole[0].out_features  # type: ignore[assignment]
    for count in range(1, hidden + 1):
        network = prune(whole, x, 0, hidden=(count,)).model
        nmse = _descend(network, x, z, REFINE)
        if count < hidden and nmse > max(NEAR, WORSE * reached):
            continue
        network = prune(network, x).model
        tried.append((symbolify(network, x, z, trials=FEW, **options), network, nmse))
        if tried[-1][0].nmse <= EXACT:
            break
    return min(tried, key=lambda each: each[0].criterion)


def _checked(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    x, y = (t.detach() if isinstance(t, Tensor) else torch.from_numpy(np.array(t, dtype=np.float64)) for t in (x, y))
    if y.dim() == 1:
        y = y[:, None]
    if x.dim() != 2 or y.dim() != 2 or len(x) != len(y) or len(x) < 10:
        raise SlafError(f"x and y must be (n, features) and (n, outputs) of 10 samples or more; got {tuple(x.shape)} and {tuple(y.shape)}")
    if not bool(torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise SlafError("x and y must be finite; they have infinities or NaN")
    if bool((y == y[0]).all(0).any()):
        raise SlafError("y must vary; an output is constant, which is its formula")
    return x.double(), y.double()


def _descend(net: nn.Sequential, x: Tensor, y: Tensor, rounds: Sequence[int], penalty: float = 0.0, smoothness: float = 0.0) -> float:
    """L-BFGS on the mean square error and the penalties of the edges' spread on x; returns the nmse."""
    _move_grids(net, x)
    for steps in rounds:
        optimizer = torch.optim.LBFGS(
            net.parameters(), max_iter=steps, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-10, tolerance_change=1e-12
        )

        def loss(optimizer: torch.optim.LBFGS = optimizer) -> Tensor:
            optimizer.zero_grad()
            total, h = x.new_zeros(()), x
            for layer in net:
                if penalty:
                    total = total + penalty * layer.regularization(h, smoothness=smoothness)  # type: ignore[operator]
                h = layer(h)
            total = total + (h - y).square().mean()
            total.backward()
            return total

        optimizer.step(loss)
        _move_grids(net, x)
    with torch.no_grad():
        return float((net(x) - y).square().mean())


def _move_grids(net: nn.Sequential, x: Tensor) -> None:
    with torch.no_grad():
        for layer in net:
            layer.refit(x, MARGIN)  # type: ignore[operator]
            x = layer(x)


@torch.no_grad()
def _rescale(layer: nn.Module, mean: Tensor, spread: Tensor) -> None:
    """The layer's outputs times ``spread`` plus ``mean``."""
    if isinstance(layer, SymbolicKANLinear):
        layer.scale.mul_(layer.to_outputs @ spread)
    else:
        layer.weight.mul_(spread)  # type: ignore[operator]
    layer.bias.mul_(spread).add_(mean)  # type: ignore[operator]
