"""Exchanges that people ask for, as data: which activations become which, and how they are blended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from slaf.core import SlafError
from slaf.core.errors import nearest
from slaf.surgery.site import Site

from .anneal import anneal
from .annealing import Annealing

__all__ = ["EXCHANGES", "Exchange", "exchange"]


@dataclass(frozen=True)
class Exchange:
    """One exchange, from swap and anneal.

    Attributes:
        name, purpose: what it is called, and what it is for.
        old: the kinds (:attr:`slaf.surgery.Site.kind`) that it replaces, whichever of them the model has.
        new: the activation string of what replaces them.
        schedule, order, settle, distill, distance, range_penalty: as in :func:`slaf.anneal`.
    """

    name: str
    purpose: str
    old: tuple[str, ...]
    new: str
    schedule: str = "linear"
    order: str = "together"
    settle: float = 0.3
    distill: float = 1.0
    distance: str = "kl"
    range_penalty: float = 0.0

    def rules(self) -> Any:
        """For :func:`slaf.swap` and :func:`slaf.anneal`."""

        def means(site: Site) -> bool:
            return site.kind in self.old

        means.__name__ = f"exchange {self.name} ({' or '.join(self.old)})"
        return {means: self.new}

    def anneal(self, model: nn.Module, example: Any, **options: Any) -> Annealing:
        """:func:`slaf.anneal` with this exchange's settings; ``options`` change or add some.

        Raises:
            SlafError: as :func:`slaf.anneal`; the model has none of the old activations.
        """
        mine = ("schedule", "order", "settle", "distill", "distance", "range_penalty")
        return anneal(model, example=example, **({"rules": self.rules()} | {name: getattr(self, name) for name in mine} | options))


_ALL = (
    Exchange("relufication", "exact zeros, which inference can skip", ("gelu", "gelu_tanh", "silu"), "relu"),
    Exchange("mish_to_hard_mish", "no exp, log or tanh", ("mish",), "hard_mish"),
    Exchange("silu_to_hardswish", "no exp", ("silu",), "hardswish"),
    Exchange("gelu_to_piecewise_linear", "a table of 8 pieces", ("gelu", "gelu_tanh"), "piecewise_linear(knots=9,share=layer)"),
    Exchange("relu_to_slaf", "a learned polynomial of degree 5 for each layer", ("relu",), "slaf(degree=5,share=layer)"),
)
EXCHANGES = {e.name: e for e in _ALL}


def exchange(name: str) -> Exchange:
    """The exchange of this name, of ``EXCHANGES``.

    Raises:
        SlafError: there is none.
    """
    if name not in EXCHANGES:
        raise SlafError(f"there is no exchange {name!r}{nearest(name, EXCHANGES)}; there are {', '.join(EXCHANGES)}")
    return EXCHANGES[name]
