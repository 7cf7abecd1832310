"""Facts: what is claimed of a scalar function, in a form the contract can check numerically."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

__all__ = ["Facts", "Paper", "Param"]

INF = math.inf


@dataclass(frozen=True)
class Paper:
    """Where a function comes from. ``status`` is ``"read"`` (a public copy was read) or ``"from memory"``."""

    title: str
    authors: str
    year: int
    id: str = ""
    status: str = "from memory"

    def __str__(self) -> str:
        where = f", {self.id}" if self.id else ""
        return f"{self.authors} ({self.year}), {self.title}{where} [{self.status}]"


@dataclass(frozen=True)
class Param:
    """One parameter of a family: its default, whether it is trained, and the open or closed interval it must lie in.

    ``low``/``high`` are inclusive bounds unless ``open`` is true; ``below`` names a parameter that must be larger than this one.
    """

    default: float
    learnable: bool = False
    low: float = -INF
    high: float = INF
    open: bool = False
    below: str | None = None
    doc: str = ""

    def allows(self, value: float) -> bool:
        """Whether ``value`` is a finite number inside the interval."""
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            return False
        return self.low < value < self.high if self.open else self.low <= value <= self.high

    @property
    def interval(self) -> str:
        """The allowed interval, e.g. ``(0, inf)``."""
        left = "(" if self.open or self.low == -INF else "["
        right = ")" if self.open or self.high == INF else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}"


Claim = Any  # a value, a function of the parameters that returns one, or None = not claimed


@dataclass(frozen=True)
class Facts:
    """Claims about y = f(x; θ). Every field but the name may be a value, a function of the parameters, or None (not claimed).

    Attributes:
        name: the registered name, and ``aliases`` that mean the same function.
        formula: the independent oracle, readable by :func:`slaf.core.formula.parse_formula`, in ``x`` and the parameters' names.
        paper: the source; ``None`` for folklore.
        params: the parameters by name, in the order of the function's signature.
        range: ``(inf f, sup f)`` over the reals, sharp: approached within 1e-3.
        monotone: ``"nondecreasing"``, ``"nonincreasing"`` or ``"neither"``.
        parity: ``"even"``, ``"odd"`` or ``"neither"``.
        smoothness: n for C^n (0 = continuous, -1 = not even that), ``inf`` for C^∞.
        lipschitz: sup |f'|, sharp; ``inf`` if unbounded.
        kinks: the points where f is not infinitely differentiable.
        critical_points: every isolated point where f' = 0 or changes sign, kinks apart; ``()`` if there is none.
        antiderivative: a formula of F with F' = f and F(0) = 0, written so that float64 evaluates it without overflow or cancellation.
        known_gaps: checks of the contract that are expected to fail, each with the reason; strict: one that passes is a failure.
        tags: free words to list by, such as ``"torch.nn"`` or ``"learnable"``.
    """

    name: str
    formula: Claim = None
    aliases: tuple[str, ...] = ()
    paper: Paper | None = None
    params: Mapping[str, Param] = field(default_factory=dict)
    range: Claim = None
    monotone: Claim = None
    parity: Claim = None
    smoothness: Claim = None
    lipschitz: Claim = None
    kinks: Claim = None
    critical_points: Claim = None
    antiderivative: Claim = None
    known_gaps: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    summary: str = ""

    def at(self, **params: float) -> Facts:
        """These facts with every function of the parameters evaluated at ``params`` (defaults for those not given)."""
        values = {name: p.default for name, p in self.params.items()} | params
        evaluated = {}
        for f in fields(self):
            claim = getattr(self, f.name)
            if isinstance(claim, Callable):  # type: ignore[arg-type]
                evaluated[f.name] = claim(**values)
        return replace(self, **evaluated)
