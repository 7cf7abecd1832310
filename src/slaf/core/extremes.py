"""The range of an expression on boxes, by branch and bound over interval arithmetic: sound, and as tight as is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .intervals import Interval, enclose, hull

__all__ = ["derivative_of", "is_continuous", "range_on"]

SPLIT = 4


@lru_cache(maxsize=512)
def derivative_of(expression: Any, order: int = 1) -> Any:
    """The derivative wherever it exists, piecewise; what kinks contribute is left out."""
    import sympy

    x = sympy.Symbol("x", real=True)
    out = expression.rewrite(sympy.Piecewise)
    for _ in range(order):
        out = out.diff(x)
    return out.replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))


@lru_cache(maxsize=512)
def is_continuous(expression: Any) -> bool:
    """Whether nothing in ``expression`` can jump: then its slopes bound its differences."""
    import sympy

    return not expression.has(sympy.Piecewise, sympy.floor, sympy.sign, sympy.Heaviside, sympy.tan)


def range_on(
    expression: Any,
    lower: Tensor,
    upper: Tensor,
    parameters: Mapping[str, Tensor] | None = None,
    continuous: bool | None = None,
    tolerance: float = 1e-9,
    rounds: int = 24,
    within: tuple[float, float] = (-math.inf, math.inf),
    steepest: float = math.inf,
) -> Interval:
    """Bounds of ``expression`` on each box [lower, upper], float64: nothing inside leaves them.

    Args:
        expression: a sympy expression in the real symbol ``x`` and the parameters' names.
        parameters: the numbers of each box, shaped like ``lower``.
        continuous: whether it is known to be; then the derivative's enclosure tightens the bounds. ``None``: seen from its form.
        within, steepest: a range and a Lipschitz constant that are known anyway, which help where the form of the expression does not.
        tolerance: boxes are split until the excess is below it, relative to the size of the values, or ``rounds`` are over.
    """
    continuous = is_continuous(expression) if continuous is None else continuous
    slope = derivative_of(expression) if continuous else None
    flat = {name: t.reshape(-1) for name, t in (parameters or {}).items()}
    search = _Search(
        (expression, slope), (within, steepest), flat, lower.to(torch.float64).reshape(-1), upper.to(torch.float64).reshape(-1)
    )
    for _ in range(rounds):
        if not search.step(tolerance):
            break
    low, high = search.result()
    return low.reshape(lower.shape), high.reshape(upper.shape)


class _Search:
    """Cells [a, b] of the boxes that may still hold an extreme; ``box`` says whose they are."""

    def __init__(
        self,
        expressions: tuple[Any, Any],
        known: tuple[tuple[float, float], float],
        parameters: Mapping[str, Tensor],
        lower: Tensor,
        upper: Tensor,
    ) -> None:
        (self.expression, self.slope), (self.within, self.steepest), self.parameters = expressions, known, parameters
        self.box, self.a, self.b = torch.arange(len(lower)), lower, upper
        self.parent = torch.full_like(lower, math.inf)  # the width of the enclosure that a cell was split from
        infinite = torch.full((len(lower),), math.inf, dtype=torch.float64)
        # an extreme is at least as far as any value seen, and at most as far as any cell's enclosure
        self.seen_low, self.seen_high = infinite.clone(), -infinite
        self.sure_low, self.sure_high = infinite.clone(), -infinite
        for end in (lower, upper):
            self._see(self.box, self._value(end, end))
        self._cell_bounds()

    def _value(self, a: Tensor, b: Tensor) -> Interval:
        low, high = self._enclose(self.expression, a, b)
        return low.clamp(*self.within), high.clamp(*self.within)

    def _enclose(self, expression: Any, a: Tensor, b: Tensor) -> Interval:
        return enclose(expression, a, b, {name: t[self.box] for name, t in self.parameters.items()})

    def _see(self, box: Tensor, value: Interval) -> None:
        """Values that are attained: the extremes reach at least that far."""
        self.seen_low.scatter_reduce_(0, box, value[1], "amin")
        self.seen_high.scatter_reduce_(0, box, value[0], "amax")
        self.sure_low.scatter_reduce_(0, box, value[0], "amin")
        self.sure_high.scatter_reduce_(0, box, value[1], "amax")

    def _cell_bounds(self) -> None:
        a, b = self.a, self.b
        low, high = self._value(a, b)
        middle = a + (b - a) / 2
        at = self._value(middle, middle)
        self._see(self.box, at)
        if self.slope is not None:
            d = self._enclose(self.slope, a, b)
            reach = (b - a) / 2 * (1 + 1e-15)
            steep = torch.maximum(d[0].abs(), d[1].abs()).clamp(max=self.steepest) * reach
            spread = torch.where(reach == 0, torch.zeros_like(steep), steep)
            low, high = torch.maximum(low, at[0] - spread), torch.minimum(high, at[1] + spread)
            # where f is monotone, the cell's ends say all
            monotone = (d[0] >= 0) | (d[1] <= 0)
            least, most = hull(self._value(a, a), self._value(b, b))
            low, high = torch.where(monotone, least, low), torch.where(monotone, most, high)
        self.low, self.high = low, high

    def step(self, tolerance: float) -> bool:
        """Settle the cells that are tight or cannot matter, split the others; false when none is left."""
        seen_low, seen_high = self.seen_low[self.box], self.seen_high[self.box]
        slack = tolerance * torch.maximum(seen_low.abs(), seen_high.abs()).nan_to_num(nan=1.0, posinf=1.0, neginf=1.0).clamp(min=1e-3)
        open_ = (self.low < seen_low - slack) | (self.high > seen_high + slack)
        # where, on a short cell, splitting did not help, rounding alone is left of the excess
        short = (self.b - self.a) < 1e-3 * torch.maximum(self.a.abs(), self.b.abs()).clamp(min=1)
        stuck = short & torch.isfinite(self.parent) & (self.high - self.low > 0.7 * self.parent)
        narrow = (self.b - self.a) <= 8 * torch.finfo(torch.float64).eps * torch.maximum(self.a.abs(), self.b.abs()).clamp(min=1e-300)
        self._settle(~open_ | narrow | stuck)
        if not len(self.box) or len(self.box) > 250_000 + 16 * len(self.seen_low):
            return False
        steps = torch.linspace(0, 1, SPLIT + 1, dtype=torch.float64)
        edges = self.a[:, None] + (self.b - self.a)[:, None] * steps
        edges[:, -1] = self.b
        self.box = self.box.repeat_interleave(SPLIT)
        self.parent = (self.high - self.low).repeat_interleave(SPLIT)
        self.a, self.b = edges[:, :-1].reshape(-1), edges[:, 1:].reshape(-1)
        self._cell_bounds()
        return True

    def _settle(self, done: Tensor) -> None:
        box = self.box[done]
        self.sure_low.scatter_reduce_(0, box, self.low[done], "amin")
        self.sure_high.scatter_reduce_(0, box, self.high[done], "amax")
        keep = ~done
        self.box, self.a, self.b, self.low, self.high, self.parent = (
            t[keep] for t in (self.box, self.a, self.b, self.low, self.high, self.parent)
        )

    def result(self) -> Interval:
        self._settle(torch.ones_like(self.box, dtype=torch.bool))
        return self.sure_low, self.sure_high
