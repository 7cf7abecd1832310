"""Which constant goes where: an evaluation of a network that costs as few levels as can be had by moving factors between its steps.

Every tensor is kept as stored = factor·value, one factor per feature. A step of additions alone costs no level, so the 1/k of an average
goes into the factor; a polynomial leaves its leading coefficient there, and asks for its inputs mapped to [-1, 1] already. The next, or
the previous, general affine map takes them all into its weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from slaf.bases.paterson_stockmeyer import EvaluationPlan, evaluation_plan, least_levels
from slaf.bases.polynomial import CHEBYSHEV, substitute, times_u

from .network import Affine, Network, Polynomial, Product

__all__ = ["Plans", "Stored", "execute", "perform", "schedule"]

Array = NDArray[Any]
LARGEST_RATIO = 2.0**12
"""Of a coefficient to the leading one: beyond, the level is paid rather than precision lost."""
SUBSTITUTED_UP_TO = 8
"""Degree up to which an affine input map is multiplied out where no neighbour takes it."""


@dataclass(frozen=True)
class Plans:
    """Per-feature polynomials of stored inputs: u_i = stored_i + shift_i, out_i = plans[index_i](u_i)."""

    name: str
    source: int
    shift: Array
    plans: tuple[EvaluationPlan, ...]
    index: Array

    @property
    def sources(self) -> tuple[int]:
        """As the other steps have them."""
        return (self.source,)


Stored = Affine | Plans | Product
"""A step on stored values."""


def schedule(network: Network) -> list[Stored]:
    """The steps on stored values; the input is stored as it is, the output too."""
    demands = _demands(network)
    sizes = network.features
    factors: list[Array] = [np.ones(sizes[0])]
    places = [0]  # where each tensor of the network is among those of the schedule
    out: list[Stored] = []

    def add(step: Stored) -> int:
        out.append(step)
        return len(out)

    for number, step in enumerate(network.steps):
        demand = demands[number + 1]
        if isinstance(step, Affine):
            given = np.concatenate([factors[s] for s in step.sources])
            factor = demand if demand is not None else _natural(step, given)
            new = _restated(step, tuple(places[s] for s in step.sources), given, factor)
            place = add(new)
        elif isinstance(step, Product):
            place = add(Product(step.name, (places[step.sources[0]], places[step.sources[1]]), step.size))
            factor = factors[step.sources[0]] * factors[step.sources[1]]
            if demand is not None and np.any(factor != demand):
                place, factor = add(_scaling(f"{step.name}.scale", place, demand / factor)), demand
        else:
            source, given = places[step.source], factors[step.source]
            place, factor = _add_polynomials(step, source, given, demand, add)
        factors.append(factor)
        places.append(place)
    return out


def _demands(network: Network) -> list[Array | None]:
    """Of every tensor the factor that its readers ask for: those that can only add first, then polynomials."""
    sizes = network.features
    hard: list[Array | None] = [None] * len(sizes)
    soft: list[Array | None] = [None] * len(sizes)
    hard[-1] = np.ones(sizes[-1])
    for number in range(len(network.steps), 0, -1):
        step = network.steps[number - 1]
        if isinstance(step, Polynomial):
            asked = step.rscale[step.index]
            if soft[step.source] is None and np.all(asked > 0):
                soft[step.source] = asked
            continue
        if isinstance(step, Product):
            product = hard[number]
            if product is not None and step.sources[0] != step.sources[1]:
                for source, factor in zip(step.sources, (product, np.ones(step.size)), strict=True):
                    hard[source] = factor if hard[source] is None else hard[source]
            continue
        wanted = hard[number] if hard[number] is not None else soft[number]
        if wanted is None and len(step.sources) > 1:
            wanted = np.ones(sizes[number])
        if wanted is None or not step.is_sum():
            continue
        _pass_on(step, wanted, sizes, hard)
    return [s if h is None else h for h, s in zip(hard, soft, strict=True)]


def _pass_on(step: Affine, wanted: Array, sizes: list[int], hard: list[Array | None]) -> None:
    """What a sum must be given, so that it gives ``wanted`` by additions alone."""
    asked = np.ones(sum(sizes[s] for s in step.sources))
    asked[step.columns] = (wanted * step.row_sizes())[step.rows]
    start = 0
    for source in step.sources:
        if hard[source] is None:
            hard[source] = asked[start : start + sizes[source]]
        start += sizes[source]


def _natural(step: Affine, given: Array) -> Array:
    """The factor that a sum has if it only adds; 1 for any other map."""
    if not step.is_sum() or len(step.sources) > 1:
        return np.ones(len(step.bias))
    first = np.minimum(step.starts[:-1], max(len(step.columns) - 1, 0))
    empty = np.diff(step.starts) == 0
    if not len(step.columns):
        return np.ones(len(step.bias))
    return np.where(empty, 1.0, given[step.columns[first]] / np.abs(step.weights[first]))


def _restated(step: Affine, sources: tuple[int, ...], given: Array, factor: Array) -> Affine:
    weights = step.weights * factor[step.rows] / given[step.columns]
    whole = np.round(weights)
    weights = np.where(np.abs(weights - whole) < 1e-12 * np.abs(weights), whole, weights)
    return Affine(step.name, sources, step.starts, step.columns, weights, step.bias * factor)


def _scaling(name: str, source: int, factor: Array) -> Affine:
    size = len(factor)
    return Affine(name, (source,), np.arange(size + 1), np.arange(size), factor, np.zeros(size))


def _add_polynomials(step: Polynomial, source: int, given: Array, demand: Array | None, add: Any) -> tuple[int, Array]:
    """The polynomials of stored values, perhaps behind a scaling; returns the place and the factor of the result."""
    rows, inverse = np.unique(
        np.column_stack([step.index, given, demand if demand is not None else 0 * given]), axis=0, return_inverse=True
    )
    inverse = inverse.reshape(-1)
    kinds, given_of = rows[:, 0].astype(int), rows[:, 1]
    scale = step.rscale[kinds] / given_of
    shift = -step.center[kinds] * step.rscale[kinds]
    c = step.coefficients[kinds] * (rows[:, 2:] if demand is not None else 1.0)
    if not np.all(scale == 1):
        moved = _substituted(c, shift, scale)
        if moved is not None:
            c, shift = moved, 0 * shift
        else:
            source = add(_scaling(f"{step.name}.map", source, scale[inverse]))
    fold = demand is None and _folds(c)
    plans = tuple(evaluation_plan(row.tolist(), "chebyshev", fold=fold) for row in c)
    factor = demand if demand is not None else np.array([1 / p.factor for p in plans])[inverse]
    return add(Plans(step.name, source, shift[inverse], plans, inverse)), factor


def _substituted(c: Array, shift: Array, scale: Array) -> Array | None:
    """Coefficients in T_j(stored) of Σ c_j T_j(scale·stored + shift); None where it costs precision."""
    degree = c.shape[1] - 1
    if degree > SUBSTITUTED_UP_TO:
        return None
    table = substitute(CHEBYSHEV, torch.from_numpy(shift), torch.from_numpy(scale), times_u(CHEBYSHEV, degree))
    moved = (torch.from_numpy(c)[:, None, :] @ table)[:, 0].numpy()
    if np.any(np.abs(moved).sum(1) > 64 * np.abs(c).sum(1)):
        return None
    return np.asarray(moved)


def _folds(c: Array) -> bool:
    """Whether leaving the leading coefficients out saves a level, at no loss of precision."""
    degrees = [int(np.flatnonzero(row)[-1]) if np.any(row) else 0 for row in c]
    top = max(degrees, default=0)
    if least_levels(top) == least_levels(top, monic=True):
        return False
    lead = np.array([abs(row[d]) for row, d in zip(c, degrees, strict=True)])
    return bool(np.all(np.abs(c).max(1) <= LARGEST_RATIO * lead))


def execute(steps: list[Stored], inputs: list[Any], combine: Any, done: Any = None, prepare: Any = None) -> list[Any]:
    """Run the steps on lists of ring elements, one per feature; numbers stand for features that do not depend on the input.

    ``combine(terms, constant)`` makes Σ factor·value + constant of terms (value, factor). ``done(1)`` is called after every feature,
    ``prepare(value, uses)`` before an affine map that reads a value so often. A tensor is dropped after its last reader.
    """
    last = {s: i for i, step in enumerate(steps) for s in step.sources}
    values: dict[int, list[Any]] = {0: inputs}
    for number, step in enumerate(steps):
        made: list[Any] = []
        for value in perform(step, values, combine, prepare):
            made.append(value)
            if done is not None:
                done(1)
        values[number + 1] = made
        for s in [s for s in values if last.get(s, -1) <= number and s != number + 1]:
            del values[s]
    return values[len(steps)]


def perform(step: Stored, values: Mapping[int, list[Any]], combine: Any, prepare: Any = None) -> Iterator[Any]:
    """The features that one step makes, one after the other, from those of its sources in ``values``."""
    if isinstance(step, Affine):
        pool = [v for s in step.sources for v in values[s]]
        if prepare is not None:
            for value, uses in zip(pool, np.bincount(step.columns, minlength=len(pool)).tolist(), strict=True):
                prepare(value, uses)
        for row, (start, stop) in enumerate(zip(step.starts[:-1], step.starts[1:], strict=True)):
            terms = [(pool[c], w) for c, w in zip(step.columns[start:stop].tolist(), step.weights[start:stop].tolist(), strict=True)]
            yield _affine(terms, float(step.bias[row]), combine)
    elif isinstance(step, Product):
        for left, right in zip(*(values[s] for s in step.sources), strict=True):
            yield _product(left, right, combine)
    else:
        for value, shift, index in zip(values[step.source], step.shift.tolist(), step.index.tolist(), strict=True):
            u = value if shift == 0 else _affine([(value, 1.0)], shift, combine)
            yield step.plans[index](u) if step.plans[index].degree else float(step.plans[index](0.0))


def _product(left: Any, right: Any, combine: Any) -> Any:
    """left·right, where either may be a number."""
    if isinstance(left, float) or isinstance(right, float):
        value, factor = (right, left) if isinstance(left, float) else (left, right)
        return _affine([(value, float(factor))], 0.0, combine) if factor else 0.0
    return left * right


def _affine(terms: list[tuple[Any, float]], constant: float, combine: Any) -> Any:
    """Σ factor·value + constant; a number if no value is left."""
    constant += sum(v * f for v, f in terms if isinstance(v, float))
    left = [(v, f) for v, f in terms if not isinstance(v, float)]
    if not left:
        return constant
    if len(left) == 1 and left[0][1] == 1 and constant == 0:
        return left[0][0]
    return combine(left, constant)
