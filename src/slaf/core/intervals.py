"""Interval arithmetic over sympy expressions: enclosures that surely contain every value, whole tensors of intervals at a time.

float64, rounded outwards after every operation, so that what is computed bounds what is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .errors import SlafError

__all__ = ["Interval", "enclose"]

Interval = tuple[Tensor, Tensor]
EPS = torch.finfo(torch.float64).eps
TINY = torch.finfo(torch.float64).smallest_normal * EPS


def enclose(expression: Any, lower: Tensor, upper: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Interval:
    """Bounds of ``expression`` on each interval [lower, upper] of ``x``, all in float64.

    Natural interval extension: sound always, and tight on narrow intervals; where it is undefined or unbounded an end is infinite.

    Args:
        expression: a sympy expression in the real symbol ``x`` and the parameters' names.
        lower, upper: shape (n,).
        parameters: the numbers of each interval, shape (n,).

    Raises:
        SlafError: a function that is not known here, or a free symbol without a number.
    """
    given = {name: (t.to(torch.float64),) * 2 for name, t in (parameters or {}).items()}
    strange = [s.name for s in expression.free_symbols if s.name != "x" and s.name not in given]
    if strange:
        raise SlafError(f"an enclosure needs numbers for all parameters; {strange[0]!r} has none")
    low, high = _Evaluator(lower.to(torch.float64), upper.to(torch.float64), given).value(expression)
    return _whole(low, high, lower)


def _whole(low: Tensor, high: Tensor, like: Tensor) -> Interval:
    low, high = torch.broadcast_tensors(low, high)
    return _no_nan(low.expand(like.shape), -math.inf), _no_nan(high.expand(like.shape), math.inf)


def _no_nan(t: Tensor, value: float) -> Tensor:
    return t.nan_to_num(nan=value, posinf=math.inf, neginf=-math.inf)


def outward(low: Tensor, high: Tensor, ulps: float = 1.0) -> Interval:
    """Widen by ``ulps`` units in the last place; NaN becomes infinite."""
    low = torch.add(low - ulps * TINY, low.abs(), alpha=-ulps * EPS)
    high = torch.add(high + ulps * TINY, high.abs(), alpha=ulps * EPS)
    return _no_nan(low, -math.inf), _no_nan(high, math.inf)


def hull(a: Interval, b: Interval) -> Interval:
    """The smallest interval that contains both."""
    return torch.minimum(a[0], b[0]), torch.maximum(a[1], b[1])


class _Evaluator:
    """Evaluates expressions for x in [low, high]; one part that occurs twice is computed once."""

    def __init__(self, low: Tensor, high: Tensor, parameters: Mapping[str, Interval]) -> None:
        import sympy

        self.sympy, self.low, self.high, self.parameters = sympy, low, high, parameters
        self.known: dict[Any, Interval] = {}

    def value(self, e: Any) -> Interval:
        if e not in self.known:
            self.known[e] = self.compute(e)
        return self.known[e]

    def compute(self, e: Any) -> Interval:
        s = self.sympy
        if e.is_Symbol:
            return (self.low, self.high) if e.name == "x" else self.parameters[e.name]
        if e.is_number:
            return self.number(e)
        if e.is_Add:
            return _fold(add, [self.value(a) for a in e.args])
        if e.is_Mul:
            return _fold(multiply, [self.value(a) for a in e.args])
        if e.is_Pow:
            return self.power(e.base, e.exp)
        if isinstance(e, s.Piecewise):
            return self.piecewise(e)
        if isinstance(e, (s.Max, s.Min)):
            pick = torch.maximum if isinstance(e, s.Max) else torch.minimum
            return _fold(lambda a, b: (pick(a[0], b[0]), pick(a[1], b[1])), [self.value(a) for a in e.args])
        rule = _FUNCTIONS.get(type(e).__name__)
        if rule is None or len(e.args) != 1:
            raise SlafError(f"no interval rule for the function {type(e).__name__} in {e}")
        return rule(*self.value(e.args[0]))

    def number(self, e: Any) -> Interval:
        low, high = _number(e)
        return torch.full_like(self.low, low), torch.full_like(self.high, high)

    def power(self, base: Any, exponent: Any) -> Interval:
        b = self.value(base)
        if exponent.is_Integer:
            return integer_power(b, int(exponent))
        if not exponent.is_number:
            return _increasing(torch.exp)(*multiply(self.value(exponent), _log(*b)))
        p = self.number(exponent)
        positive = b[0].clamp(min=0), b[1].clamp(min=0)  # a real power of a negative number is no real number
        corners = torch.stack([x.pow(q) for x in positive for q in p])
        return outward(corners.amin(0), corners.amax(0), 4)

    def piecewise(self, e: Any) -> Interval:
        nothing = torch.zeros_like(self.low, dtype=torch.bool)
        result = (torch.full_like(self.low, math.inf), torch.full_like(self.high, -math.inf))
        open_ = ~nothing  # where no condition is certainly true yet
        for part, condition in e.args:
            surely, maybe, (low, high) = self.condition(condition)
            reached = open_ & maybe
            if bool(reached.any()):
                same = torch.equal(low, self.low) and torch.equal(high, self.high)
                value = self.value(part) if same else _Evaluator(low, high, self.parameters).value(part)
                value = _whole(*value, self.low)
                result = (
                    torch.where(reached, torch.minimum(result[0], value[0]), result[0]),
                    torch.where(reached, torch.maximum(result[1], value[1]), result[1]),
                )
            open_ = open_ & ~surely
        never = result[0] > result[1]
        return result[0].masked_fill(never, -math.inf), result[1].masked_fill(never, math.inf)

    def condition(self, c: Any) -> tuple[Tensor, Tensor, Interval]:
        """Where it holds surely, where perhaps, and the part of x's interval on which it may hold."""
        s, whole = self.sympy, (self.low, self.high)
        always = torch.ones_like(self.low, dtype=torch.bool)
        if c in (True, s.true):
            return always, always, whole
        if c in (False, s.false):
            return ~always, ~always, whole
        if isinstance(c, s.Not):
            surely, maybe, _ = self.condition(c.args[0])
            return ~maybe, ~surely, whole
        if isinstance(c, (s.And, s.Or)):
            parts = [self.condition(a)[:2] for a in c.args]
            join = torch.logical_and if isinstance(c, s.And) else torch.logical_or
            surely, maybe = parts[0]
            for more_surely, more_maybe in parts[1:]:
                surely, maybe = join(surely, more_surely), join(maybe, more_maybe)
            return surely, maybe, whole
        return self.relation(c)

    def relation(self, c: Any) -> tuple[Tensor, Tensor, Interval]:
        s = self.sympy
        if not isinstance(c, (s.StrictGreaterThan, s.GreaterThan, s.StrictLessThan, s.LessThan)):
            always = torch.ones_like(self.low, dtype=torch.bool)
            return ~always, always, (self.low, self.high)  # (in)equality: may hold anywhere
        greater, less = (c.lhs, c.rhs) if isinstance(c, (s.StrictGreaterThan, s.GreaterThan)) else (c.rhs, c.lhs)
        big, small = self.value(greater), self.value(less)
        strict = isinstance(c, (s.StrictGreaterThan, s.StrictLessThan))
        surely = big[0] > small[1] if strict else big[0] >= small[1]
        maybe = big[1] > small[0] if strict else big[1] >= small[0]
        low, high = self.low, self.high
        x = s.Symbol("x", real=True)
        if greater == x and not less.has(x):
            low = torch.minimum(torch.maximum(low, small[0]), high)
        elif less == x and not greater.has(x):
            high = torch.maximum(torch.minimum(high, big[1]), low)
        return surely, maybe, (low, high)


@lru_cache(maxsize=4096)  # sympy takes longer over a number than torch over a thousand intervals
def _number(e: Any) -> tuple[float, float]:
    try:
        value = float(e)
    except (TypeError, OverflowError):
        raise SlafError(f"{e} is no real number") from None
    if e.is_Integer and abs(int(e)) < 2**53:
        return value, value
    return math.nextafter(value, -math.inf), math.nextafter(value, math.inf)


def _fold(operation: Callable[[Interval, Interval], Interval], values: list[Interval]) -> Interval:
    total = values[0]
    for value in values[1:]:
        total = operation(total, value)
    return total


def add(a: Interval, b: Interval) -> Interval:
    """a + b."""
    return outward(a[0] + b[0], a[1] + b[1])


def multiply(a: Interval, b: Interval) -> Interval:
    """a · b; nothing times the unbounded is nothing."""
    corners = torch.stack([(x * y).nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf) for x in a for y in b])
    return outward(corners.amin(0), corners.amax(0))


def integer_power(b: Interval, n: int) -> Interval:
    """b**n for an integer n."""
    if n < 0:
        return reciprocal(integer_power(b, -n))
    ends = torch.stack([b[0].pow(n), b[1].pow(n)])
    low, high = ends.amin(0), ends.amax(0)
    if n % 2 == 0:
        low = torch.where((b[0] <= 0) & (b[1] >= 0), torch.zeros_like(low), low)
        low, high = outward(low, high, 2 + n // 2)
        return low.clamp(min=0), high
    return outward(low, high, 2 + n // 2)


def reciprocal(b: Interval) -> Interval:
    """1 / b; unbounded where b contains 0 inside, one-sided where 0 is an end."""
    low, high = torch.where(b[1] == 0, -math.inf, 1 / b[1]), torch.where(b[0] == 0, math.inf, 1 / b[0])
    inside = (b[0] < 0) & (b[1] > 0)
    return outward(low.masked_fill(inside, -math.inf), high.masked_fill(inside, math.inf))


def _increasing(f: Callable[[Tensor], Tensor], least: float = -math.inf, most: float = math.inf) -> Callable[[Tensor, Tensor], Interval]:
    """An increasing function whose values lie in [least, most]."""

    def rule(low: Tensor, high: Tensor) -> Interval:
        low, high = outward(f(low), f(high), 4)
        return low.clamp(least, most), high.clamp(least, most)

    return rule


def _decreasing(f: Callable[[Tensor], Tensor], least: float = -math.inf, most: float = math.inf) -> Callable[[Tensor, Tensor], Interval]:
    return lambda low, high: _increasing(f, least, most)(high, low)


def _log(low: Tensor, high: Tensor) -> Interval:
    return _increasing(torch.log)(low.clamp(min=0), high.clamp(min=0))


def _within(f: Callable[[Tensor, Tensor], Interval], least: float, most: float) -> Callable[[Tensor, Tensor], Interval]:
    """A function defined on [least, most] only."""
    return lambda low, high: f(low.clamp(least, most), high.clamp(least, most))


def _absolute(low: Tensor, high: Tensor) -> Interval:
    ends = torch.stack([low.abs(), high.abs()])
    return torch.where((low <= 0) & (high >= 0), torch.zeros_like(low), ends.amin(0)), ends.amax(0)


def _cosh(low: Tensor, high: Tensor) -> Interval:
    return _increasing(torch.cosh, 1.0)(*_absolute(low, high))


def _cos(low: Tensor, high: Tensor) -> Interval:
    """Extremes k·π inside, found with room for the rounding of x/π; far from 0 nothing is known but [-1, 1]."""
    ends = torch.stack([torch.cos(low), torch.cos(high)])
    least, most = outward(ends.amin(0), ends.amax(0), 4)
    room = 4 * EPS * torch.maximum(low.abs(), high.abs()).clamp(min=1)

    def has(phase: float) -> Tensor:  # a point phase + 2πk inside
        k = torch.ceil((low - room - phase) / (2 * math.pi) - 1e-12)
        return phase + 2 * math.pi * k <= high + room + 1e-12

    far = torch.maximum(low.abs(), high.abs()) > 1e6
    most = torch.where(has(0.0) | far, torch.ones_like(most), most)
    least = torch.where(has(math.pi) | far, -torch.ones_like(least), least)
    return least.clamp(-1, 1), most.clamp(-1, 1)


def _sin(low: Tensor, high: Tensor) -> Interval:
    return _cos(*add((low, high), outward(torch.full_like(low, -math.pi / 2), torch.full_like(low, -math.pi / 2))))


def _tan(low: Tensor, high: Tensor) -> Interval:
    cosine = _cos(low, high)
    crosses = ((cosine[0] <= 0) & (cosine[1] >= 0)) | (high - low >= 3)
    value = outward(torch.tan(low), torch.tan(high), 4)
    return value[0].masked_fill(crosses, -math.inf), value[1].masked_fill(crosses, math.inf)


def _step(at_zero: float, below: float) -> Callable[[Tensor, Tensor], Interval]:
    """A jump at 0 from ``below`` to 1."""

    def rule(low: Tensor, high: Tensor) -> Interval:
        def at(t: Tensor) -> Tensor:
            return torch.where(t > 0, 1.0, torch.where(t < 0, below, at_zero)).to(t)

        return at(low), at(high)

    return rule


def _erfc(low: Tensor, high: Tensor) -> Interval:
    return outward(*_decreasing(torch.special.erfc, 0.0, 2.0)(low, high), 64)  # torch's tail is less accurate


_FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Interval]] = {
    "exp": _increasing(torch.exp, 0.0),
    "log": _log,
    "Abs": _absolute,
    "erf": _increasing(torch.erf, -1.0, 1.0),
    "erfc": _erfc,
    "sin": _sin,
    "cos": _cos,
    "tan": _tan,
    "asin": _within(_increasing(torch.asin), -1, 1),
    "acos": _within(_decreasing(torch.acos), -1, 1),
    "atan": _increasing(torch.atan),
    "sinh": _increasing(torch.sinh),
    "cosh": _cosh,
    "tanh": _increasing(torch.tanh, -1.0, 1.0),
    "asinh": _increasing(torch.asinh),
    "acosh": _within(_increasing(torch.acosh, 0.0), 1, math.inf),
    "atanh": _within(_increasing(torch.atanh), -1, 1),
    "floor": lambda low, high: (torch.floor(low), torch.floor(high)),
    "sign": _step(0.0, -1.0),
    "Heaviside": _step(0.5, 0.0),
}
