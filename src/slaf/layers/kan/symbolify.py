"""``symbolify``: which function every edge is, one edge after the other or the whole network by how well it then fits."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import SlafError

from .expression import expressions
from .linear import KANLinear
from .network import Edges, layers_of, network_of, signals
from .symbolic.edges import Fit, fit_edges
from .symbolic.functions import Function, find_all
from .symbolic.layer import SymbolicKANLinear
from .symbolic.tune import tune

__all__ = ["Symbolified", "snap", "suggest", "symbolify"]

SAMPLES = 256
"""At most so many rows of x are used to fit edges and to compare formulas."""
Where = tuple[int, int, int]
"""Layer, input, output."""


@dataclass(frozen=True)
class Symbolified:
    """A network of formulas, and how well it fits.

    Attributes:
        model: an ``nn.Sequential`` of symbolic layers, float64; it trains and exports as any module.
        edges: the fit of the function that every edge became, before all were tuned together.
        nmse: the mean square error over the variance of y, on all of x.
        criterion: what :func:`symbolify` minimises, to be compared with that of other networks on the same data.
        r2: the least R² of an edge's fit.
    """

    model: nn.Sequential
    edges: dict[Where, Fit]
    nmse: float
    criterion: float

    @property
    def r2(self) -> float:
        return min((fit.r2 for fit in self.edges.values()), default=1.0)

    def expressions(self, inputs: Sequence[str] | None = None, digits: int | None = 4) -> list[Any]:
        """The outputs in sympy: :func:`slaf.layers.kan.expressions` of ``model``."""
        return expressions(self.model, inputs, digits)

    def __str__(self) -> str:
        shown = "; ".join(f"{k}:{i}→{o} {fit.function.name} (R² {fit.r2:.4f})" for (k, i, o), fit in self.edges.items())
        return f"{shown}; nmse {self.nmse:.2g}"


def suggest(model: nn.Module, x: Tensor, edge: Where, functions: Sequence[str] | None = None, *, simplicity: float = 1.0) -> list[Fit]:
    """What an edge (layer, input, output) may be, best first: fits of y ≈ a·f(b·x + c) + d to what it gives on x.

    Fits are ranked by log₂(1 - R²) + simplicity·complexity.

    Args:
        model: a :class:`KANLinear`, or an ``nn.Sequential`` of such and of symbolic layers.
        x: inputs of the model, (n, in_features).
        functions: names of :data:`slaf.layers.kan.symbolic.LIBRARY` and of activations with a closed form; the library without.

    Raises:
        SlafError: another module, inputs that do not fit, no such edge, or an unknown function.

    Source: Liu et al. (2024), KAN, arXiv:2404.19756, section 2.5 [from memory]; the search here is our own.
    """
    layers = layers_of(model)
    if len(edge) != 3 or not 0 <= edge[0] < len(layers) or not any((i, o) == tuple(edge[1:]) for i, o in _present(layers[edge[0]])):
        raise SlafError(f"edge must be (layer, input, output) of an edge that is there; got {edge!r}")
    before = signals(model, x)[edge[0]]
    return _fits(layers[edge[0]], before, [tuple(edge[1:])], find_all(functions), simplicity)[0]  # type: ignore[list-item]


def snap(model: nn.Module, x: Tensor, edge: Where, function: str | None = None, *, simplicity: float = 1.0) -> nn.Sequential:
    """A copy of the network in which one edge (layer, input, output) is a function: that named, or the best of :func:`suggest`.

    The other edges of its layer stay as they are, as the layer's ``rest``. Arguments and errors as of :func:`suggest`.
    """
    fits = suggest(model, x, edge, None if function is None else [function], simplicity=simplicity)
    if not fits:
        raise SlafError(f"function {function!r} is not defined on what edge {edge} gets, whatever its affine map")
    layers = copy.deepcopy(layers_of(model))
    number, i, o = edge
    layers[number] = _replaced(layers[number], (i, o), fits[0])
    return network_of(layers)


@torch.no_grad()
def _replaced(layer: Edges, edge: tuple[int, int], fit: Fit) -> SymbolicKANLinear:
    """The layer with one edge as that function."""
    others = layer.present()
    others[edge] = False
    every = [torch.arange(n, device=others.device) for n in others.shape]
    old = layer.restricted(others, *every)
    names = [["0"] * layer.out_features for _ in range(layer.in_features)]
    known = dict.fromkeys([edge], (fit.scale, fit.rate, fit.shift))
    names[edge[0]][edge[1]] = fit.function.name
    rest: KANLinear | None
    bias: Tensor | None = old.bias
    if isinstance(old, SymbolicKANLinear):
        rest = old.rest
        for k, (i, o, name) in enumerate(old.functions):
            names[i][o], known[i, o] = name, (float(old.scale[k]), float(old.rate[k]), float(old.shift[k]))
    else:
        rest, old.bias = old, None
    if rest is not None and not bool(rest.present().any()):
        rest = None
    new = SymbolicKANLinear(names, rest, device=layer.present().device, dtype=next(layer.parameters()).dtype)
    _fill(new, known)
    if bias is not None:
        new.bias.copy_(bias)
    new.bias[edge[1]] += fit.offset
    return new


def _fill(layer: SymbolicKANLinear, known: dict[tuple[int, int], tuple[float, float, float]]) -> None:
    for k, (i, o, _) in enumerate(layer.functions):
        for parameter, value in zip((layer.scale, layer.rate, layer.shift), known[i, o], strict=True):
            parameter[k] = value


def _present(layer: Edges) -> list[tuple[int, int]]:
    return [(int(i), int(o)) for i, o in torch.nonzero(layer.present())]


@torch.no_grad()
def _fits(layer: Edges, x: Tensor, edges: list[tuple[int, int]], functions: list[Function], simplicity: float) -> list[list[Fit]]:
    """The fits of some edges of a layer, each best first."""
    x = x[:: max(1, len(x) // SAMPLES)]
    given, wanted = x.double(), layer.edges(x).double()
    inputs, outputs = ([e[k] for e in edges] for k in (0, 1))
    found = fit_edges(given[:, inputs], wanted[:, inputs, outputs], functions)
    return [sorted(fits, key=lambda fit: fit.cost(simplicity)) for fits in found]


def symbolify(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    functions: Sequence[str] | None = None,
    *,
    simplicity: float = 1.0,
    candidates: int = 5,
    trials: int = 200,
    steps: int = 100,
) -> Symbolified:
    """The whole network as formulas: every edge a function with an affine map before and after it, all maps then tuned together.

    Tried are the formulas of which every edge is the simplest function with an R² of 0.9, 0.95, … 0.9999, and the best of :func:`suggest`.
    From the best of these one edge after the other tries no function, its first, its second, … candidate. The best has the least
    n·ln(nmse + 1e-12) + ln(n)·simplicity·Σ complexity, all affine maps tuned on (x, y). Prune first: the fewer edges, the better.

    Args:
        model: a :class:`KANLinear`, or an ``nn.Sequential`` of such and of symbolic layers; it is not changed.
        x: inputs of the model, (n, in_features).
        y: what the formula is to give, (n, out_features); what the model gives without.
        functions: as in :func:`suggest`.
        simplicity: the weight of complexity.
        candidates: how many functions every edge tries.
        trials: at most so many formulas are tried.
        steps: of the last fine-tuning.

    Raises:
        SlafError: another module, tensors that do not fit, or an unknown function.
    """
    model = network_of(copy.deepcopy(layers_of(model))).double()
    x = x.double()
    found = signals(model, x)
    if y is None:
        y = found[-1]
    if y.shape != found[-1].shape:
        raise SlafError(f"y must be of shape {tuple(found[-1].shape)}, as the outputs of model(x); got {tuple(y.shape)}")
    if not bool(torch.isfinite(y).all()):
        raise SlafError("y must be finite; it has infinities or NaN")
    y = y.double()
    ranked: dict[Where, list[Fit]] = {}
    for number, layer in enumerate(layers_of(model)):
        present = _present(layer)
        fits = _fits(layer, found[number], present, find_all(functions), simplicity) if present else []
        ranked |= {(number, i, o): fit for (i, o), fit in zip(present, fits, strict=True)}
    search = _Search(model, ranked, x, y, simplicity, candidates, trials)
    search.run()
    best = search.built(search.choice)
    nmse = tune(best, x, y, steps).nmse
    chosen = {where: fit for where, fit in search.choice.items() if fit is not None}
    return Symbolified(best, chosen, nmse, search.value(nmse, search.choice))


def _simplest(fits: list[Fit], enough: float) -> Fit | None:
    """The simplest fit with that R², the best of equally simple ones; without one the best of all."""
    near = [fit for fit in fits if fit.r2 >= enough]
    if not near:
        return max(fits, key=lambda fit: fit.r2, default=None)
    return min(near, key=lambda fit: (fit.function.complexity, -fit.r2))


class _Search:
    """Coordinate descent over the functions of the edges."""

    TRIAL = 25
    """Steps of the fine-tuning of a trial."""
    EXACT = 1e-12
    PATH = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999)
    """Every edge the simplest function of at least that R²: from formulas that are hardly near to those that are hardly simple."""

    def __init__(
        self, model: nn.Sequential, ranked: dict[Where, list[Fit]], x: Tensor, y: Tensor, simplicity: float, candidates: int, trials: int
    ) -> None:
        every = max(1, len(x) // SAMPLES)
        self.layers, self.ranked = layers_of(model), ranked
        self.x, self.y = x[::every], y[::every]
        self.simplicity, self.candidates, self.trials = simplicity, candidates, trials
        self.choice: dict[Where, Fit | None] = {where: fits[0] if fits else None for where, fits in ranked.items()}
        self.best = math.inf
        self.tried: set[tuple[str, ...]] = set()

    def run(self) -> None:
        for enough in self.PATH:
            self.consider({where: _simplest(fits, enough) for where, fits in self.ranked.items()})
        self.consider({where: fits[0] if fits else None for where, fits in self.ranked.items()})
        improved = True
        while improved:
            improved = False
            for rank in range(-1, self.candidates):  # -1: no function
                for where, fits in self.ranked.items():
                    if rank < len(fits) and len(self.tried) < self.trials:
                        improved |= self.consider(self.choice | {where: fits[rank] if rank >= 0 else None})

    def consider(self, choice: dict[Where, Fit | None]) -> bool:
        """Take a choice if it is better than the best so far; what would not be, were it exact, is not tried."""
        key = tuple("0" if fit is None else fit.function.name for fit in choice.values())
        if key in self.tried or self.value(0.0, choice) >= self.best:
            return False
        self.tried.add(key)
        try:
            nmse = tune(self.built(choice), self.x, self.y, self.TRIAL, enough=self.EXACT / 100).nmse
        except SlafError:  # not defined on the data
            return False
        value = self.value(nmse, choice)
        if value >= self.best:
            return False
        self.best, self.choice = value, choice
        return True

    def value(self, nmse: float, choice: dict[Where, Fit | None]) -> float:
        """What is minimised."""
        complexity = sum(fit.function.complexity for fit in choice.values() if fit is not None)
        n = self.y.numel()
        return n * math.log(nmse + self.EXACT) + math.log(n) * self.simplicity * complexity

    @torch.no_grad()
    def built(self, choice: dict[Where, Fit | None]) -> nn.Sequential:
        """The network of a choice, before it is tuned."""
        layers = []
        for number, old in enumerate(self.layers):
            names = [["0"] * old.out_features for _ in range(old.in_features)]
            known, offsets = {}, torch.zeros(old.out_features, dtype=torch.float64, device=self.x.device)
            for (k, i, o), fit in choice.items():
                if k == number and fit is not None:
                    names[i][o], known[i, o] = fit.function.name, (fit.scale, fit.rate, fit.shift)
                    offsets[o] += fit.offset
            new = SymbolicKANLinear(names, device=self.x.device, dtype=torch.float64)
            _fill(new, known)
            new.bias.copy_(offsets if old.bias is None else offsets + old.bias)
            layers.append(new)
        return network_of(layers)
