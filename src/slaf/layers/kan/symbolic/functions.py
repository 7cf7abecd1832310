"""The functions of one variable that an edge may become, and which of a, b, c in a·f(b·x + c) + d each of them needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from slaf.core import Activation, SlafError, make, nearest

__all__ = ["DEFAULT", "LIBRARY", "Function", "find", "find_all"]

Starts = Sequence[tuple[float, float]]
"""Pairs (b, c) from which f(b·u + c), u in [-1, 1], is fitted."""


def _bounded(rates: Sequence[float], shifts: int) -> Starts:
    """Rates, and shifts so that the middle of f moves over the interval."""
    return [(b, -b * k / shifts) for b in rates for k in range(-shifts - 1, shifts + 2)]


_OFFSETS = (1e-3, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5, 4.0)
_MOVED = [(1.0, c / 8) for c in range(-24, 25)]
_POSITIVE = [(s, 1 + d) for s in (1.0, -1.0) for d in _OFFSETS]
_SINGLE = (False, True)
_WAVES = [(math.pi * k / 4, math.pi * p / 6) for k in range(1, 17) for p in range(6)]


@dataclass(frozen=True)
class Function:
    """One entry.

    Attributes:
        name: what reports call it.
        torch, sympy: t → f(t); the former can be pickled, for layers hold it.
        complexity: what it costs against a simpler one that fits as well.
        degree: n where f(k·t) = kⁿ·f(t) for k > 0, so that b is ±1; ``None`` where it is not homogeneous.
        starts: where fits begin.
        free: are b and c independent of a and d?
    """

    name: str
    torch: Callable[[Tensor], Tensor]
    sympy: Callable[[Any], Any]
    complexity: float
    starts: Starts
    degree: float | None = None
    free: tuple[bool, bool] = (True, True)

    def canonical(self, scale: float, rate: float, shift: float) -> tuple[float, float, float, float]:
        """(a, b, c) and what is added to d, so that what is not free is ±1 or 0: the same function."""
        if self.name == "x":
            return scale * rate, 1.0, 0.0, scale * shift
        if self.name == "exp":
            return scale * math.exp(min(shift, 700.0)), rate, 0.0, 0.0
        if self.name == "log":
            return scale, math.copysign(1.0, rate), shift / abs(rate), scale * math.log(abs(rate))
        if self.degree is None or rate == 0:
            return scale, rate, shift, 0.0
        return scale * abs(rate) ** self.degree, math.copysign(1.0, rate), shift / abs(rate), 0.0


def _s(name: str) -> Callable[[Any], Any]:
    def apply(t: Any) -> Any:
        import sympy

        return getattr(sympy, name)(t)

    return apply


def _power(n: int) -> Function:
    starts, free = ([(1.0, 0.0)], (False, False)) if n == 1 else (_MOVED, _SINGLE)
    name = "x" if n == 1 else f"x^{n}"
    return Function(name, partial(torch.pow, exponent=n), lambda t: t**n, min(n, 3), starts, n, free)


def _bell(t: Tensor) -> Tensor:
    return torch.exp(-t.square())


def _gauss(t: Any) -> Any:
    import sympy

    return sympy.exp(-(t**2))


_RATES = (0.5, 1.0, 2.0, 4.0, 8.0)
LIBRARY: dict[str, Function] = {
    f.name: f
    for f in (
        *(_power(n) for n in (1, 2, 3, 4)),
        Function("1/x", torch.reciprocal, lambda t: 1 / t, 3, [*_POSITIVE, *((s, -c) for s, c in _POSITIVE[: len(_OFFSETS)])], -1, _SINGLE),
        Function("sqrt", torch.sqrt, _s("sqrt"), 3, _POSITIVE, 0.5, _SINGLE),
        Function(
            "exp", torch.exp, _s("exp"), 3, [(b * s, 0.0) for b in (0.1, 0.25, 0.5, 1, 2, 3, 5, 8) for s in (1, -1)], None, (True, False)
        ),
        Function("log", torch.log, _s("log"), 3, _POSITIVE, None, _SINGLE),
        Function("abs", torch.abs, _s("Abs"), 3, _MOVED, 1, _SINGLE),
        Function("sin", torch.sin, _s("sin"), 3, _WAVES),
        Function("cos", torch.cos, _s("cos"), 3, _WAVES),
        Function("tanh", torch.tanh, _s("tanh"), 4, _bounded(_RATES, 4)),
        Function("gaussian", _bell, _gauss, 4, _bounded(_RATES, 4)),
        Function("arctanh", torch.atanh, _s("atanh"), 5, [(b, c) for b in (0.3, 0.6, 0.8, 0.9, 0.97) for c in (-0.02, 0.0, 0.02)]),
        Function("arctan", torch.atan, _s("atan"), 5, _bounded(_RATES, 4)),
    )
}
"""By name. ``sqrt`` and ``log`` of a negative number are NaN, as in the formula."""

DEFAULT = tuple(name for name in LIBRARY if name != "cos")
"""What edges are compared with: all, but for the cosine, which is a shifted sine."""


@lru_cache(maxsize=256)
def find(name: str) -> Function:
    """An entry, or an activation of slaf with a closed form and no parameters to learn as one.

    Raises:
        SlafError: there is none of that name, or it has no closed form.
    """
    if name in LIBRARY:
        return LIBRARY[name]
    try:
        module = make(name)
    except SlafError as problem:
        raise SlafError(
            f"functions hold {name!r}, which is none of {', '.join(LIBRARY)} and no activation{nearest(name, LIBRARY)}"
        ) from problem
    if not isinstance(module, Activation) or any(True for _ in module.parameters()):
        raise SlafError(f"functions hold {name!r}, which is no fixed function of one number")
    module.eval()
    expression = module.expression()

    def sympy_of(t: Any) -> Any:
        import sympy

        return expression.subs(sympy.Symbol("x", real=True), t).subs(sympy.Symbol("x"), t)

    return Function(name, module, sympy_of, 5, _bounded(_RATES, 4))


def find_all(names: Sequence[str] | None) -> list[Function]:
    """Entries by their names; without names the default ones."""
    if isinstance(names, str) or (names is not None and not names):
        raise SlafError(f"functions must be a sequence of names, one or more; got {names!r}")
    return [find(name) for name in (DEFAULT if names is None else names)]
