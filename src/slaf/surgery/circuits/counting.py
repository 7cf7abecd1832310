"""What an evaluation costs: the same steps on values that know only their depth."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from slaf.bases.paterson_stockmeyer import is_free

from .network import Product
from .schedule import Plans, Stored, perform

__all__ = ["Costs", "Counted", "count"]


@dataclass(frozen=True)
class Costs:
    """Levels of the whole, and by depth how many products of ciphertexts, products with numbers and rescalings there are."""

    levels: int
    products: Counter[int]
    scalings: Counter[int]
    rescalings: Counter[int]
    layers: tuple[tuple[str, str, int, int], ...]
    """(name, what, features, depth after it)"""


class Counted:
    """A value at a depth; it adds what is done to it to ``costs``."""

    def __init__(self, depth: int, costs: dict[str, Counter[int]]) -> None:
        self.depth, self.costs = depth, costs

    def __mul__(self, other: Counted) -> Counted:
        depth = max(self.depth, other.depth)
        self.costs["products"][depth] += 1
        self.costs["rescalings"][depth] += 1
        return Counted(depth + 1, self.costs)

    @staticmethod
    def linear_combination(terms: list[tuple[Counted, Any]], constant: Any) -> Counted:  # noqa: ARG004 - a ring's interface
        costs = terms[0][0].costs
        depth = max(v.depth + (not is_free(f)) for v, f in terms)
        scaled = sum(not is_free(f) or v.depth < depth for v, f in terms)
        if scaled:
            costs["scalings"][depth - 1] += scaled
            costs["rescalings"][depth - 1] += 1
        return Counted(depth, costs)


def count(steps: list[Stored], inputs: int) -> Costs:
    """Of all steps on ``inputs`` features."""
    costs: dict[str, Counter[int]] = {"products": Counter(), "scalings": Counter(), "rescalings": Counter()}
    layers: list[tuple[str, str, int, int]] = []
    values: dict[int, list[Any]] = {0: [Counted(0, costs)] * inputs}
    for number, step in enumerate(steps, 1):
        values[number] = list(perform(step, values, Counted.linear_combination))
        depth = max((v.depth for v in values[number] if isinstance(v, Counted)), default=0)
        layers.append((step.name, _what(step), len(values[number]), depth))
    levels = max((v.depth for some in values.values() for v in some if isinstance(v, Counted)), default=0)
    return Costs(levels, costs["products"], costs["scalings"], costs["rescalings"], tuple(layers))


def _what(step: Stored) -> str:
    if isinstance(step, Plans):
        return f"polynomial of degree {max(p.degree for p in step.plans)}"
    if isinstance(step, Product):
        return "products"
    if all(is_free(w) for w in step.weights.tolist()):
        return "sums"
    return f"affine, {len(step.weights)} weights"
