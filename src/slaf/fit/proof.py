"""A proven bound of |f - p| on an interval: interval arithmetic on ever finer cells.

On a cell [a, b] of width h without kinks inside, |e| <= max(|e(a)|, |e(b)|) + h²/8·max|e''| for e = f - p; where that is not
known to hold, or is worse, |e| <= |e(m)| + h/2·max|e'| or simply the difference of the two ranges. Cells whose bound is well above the
largest error seen are split. Two claims of the facts are trusted: that f is continuous, and its Lipschitz constant where the expression
is singular but the function is not (sin(x)/x at 0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slaf.core import Activation, SlafError
from slaf.core.extremes import derivative_of, is_continuous
from slaf.core.intervals import Interval, enclose

from .enclosures import FoldedForm

__all__ = ["Proof", "Target", "prove"]

NEAR = 1e-7
RELATIVE, ABSOLUTE, ROUNDS, MOST_CELLS = 0.01, 1e-12, 40, 1 << 21


@dataclass(frozen=True)
class Proof:
    """What :func:`prove` found about f - p on an interval.

    Attributes:
        bound: |f - p| is nowhere larger, with p evaluated in float32.
        observed: the largest |f - p| met at the ends of cells, in exact arithmetic over the stored numbers.
        rounding: what of the bound is the rounding of float32, where the bound is reached.
        where: the cell in which the bound is reached.
        cells: how many cells the proof needed.
    """

    bound: float
    observed: float
    rounding: float
    where: tuple[float, float]
    cells: int


class Target:
    """f with enclosures on intervals: by its expression where it has one that can be enclosed, by its ``bounds`` otherwise.

    Raises:
        SlafError: it has neither, so nothing can be proved.
    """

    def __init__(self, module: Activation, site: int | None = None) -> None:
        self.module, self.site = module, site
        facts = module.facts
        self.lipschitz = facts.lipschitz if facts.smoothness is not None and facts.smoothness >= 0 else None
        self.expression = _expression(module, site or 0)
        self.slope = self.curvature = None
        kinks = {float(k) for k in module.facts.kinks or ()}
        probe = torch.tensor([0.5], dtype=torch.float64)
        if self.expression is not None:
            try:
                enclose(self.expression, probe, probe)
                self._differentiate(kinks)
            except SlafError:
                self.expression = None
        if self.expression is None:
            self._bounds(probe, probe)  # raises where the module has none
        self.kinks = sorted(kinks)

    def _differentiate(self, kinks: set[float]) -> None:
        found = _kinks(self.expression)
        kinks |= found or set()
        claimed = self.module.facts.smoothness
        continuous = is_continuous(self.expression) or (claimed is not None and claimed >= 0)
        probe = torch.tensor([0.5], dtype=torch.float64)
        try:
            if continuous or found is not None:
                self.slope = derivative_of(self.expression)
                enclose(self.slope, probe, probe)
            if found is not None:  # every kink is an end of a cell
                self.curvature = derivative_of(self.expression, 2)
                enclose(self.curvature, probe, probe)
        except SlafError:
            self.curvature = None

    def _bounds(self, a: Tensor, b: Tensor) -> Interval:
        try:
            low, high = self.module.bounds(self.module._spread(a), self.module._spread(b))
        except (SlafError, NotImplementedError) as error:
            raise SlafError(
                f"no proof for {self.module.name}: it has neither an expression that can be enclosed nor bounds ({error})"
            ) from None
        return tuple(t.reshape(len(a), -1)[:, self.site or 0] for t in (low, high))  # type: ignore[return-value]

    def range(self, a: Tensor, b: Tensor) -> Interval:
        """f on [a, b]."""
        if self.expression is None:
            return self._bounds(a, b)
        low, high = enclose(self.expression, a, b)
        if self.lipschitz is None or not math.isfinite(self.lipschitz):
            return low, high
        # where the expression says too little, from points a little aside
        aside = NEAR * torch.maximum(a.abs(), b.abs()).clamp(min=1)
        reach = self.lipschitz * (b - a + aside) * (1 + 1e-12)
        vague = ~(high - low <= 8 * reach)
        if bool(vague.any()):
            for point in ((a - aside)[vague], (b + aside)[vague]):
                least, most = enclose(self.expression, point, point)
                low[vague] = torch.maximum(low[vague], least - reach[vague])
                high[vague] = torch.minimum(high[vague], most + reach[vague])
        return low, high

    def derivative(self, a: Tensor, b: Tensor, order: int) -> Interval | None:
        """f' or f'' on [a, b], where no kink is inside; None where it is not known."""
        expression = (self.slope, self.curvature)[order - 1]
        return None if expression is None else enclose(expression, a, b)


def _expression(module: Activation, site: int) -> Any:
    try:
        expression = module.expression(site)
    except (SlafError, NotImplementedError):
        return None
    return expression if {s.name for s in expression.free_symbols} <= {"x"} else None


def _kinks(expression: Any) -> set[float] | None:
    """Where the conditions of an expression change, if all of them compare x with a number or with a straight line; else None."""
    import sympy

    x = sympy.Symbol("x", real=True)
    pieces = expression.rewrite(sympy.Piecewise)
    if pieces.has(sympy.floor, sympy.Heaviside, sympy.sign, sympy.Abs, sympy.Max, sympy.Min):
        return None
    out: set[float] = set()
    for relation in pieces.atoms(sympy.core.relational.Relational):
        line = sympy.expand(relation.lhs - relation.rhs)
        if not line.is_polynomial(x) or sympy.degree(line, x) > 1:
            return None
        if line.has(x):
            out.add(float(-line.coeff(x, 0) / line.coeff(x, 1)))
    return out


Cells = tuple[Tensor, Tensor, Tensor]
"""Left ends, right ends, and the piece of p that counts on each."""


def prove(f: Target, p: FoldedForm, cells: Cells | None = None) -> Proof:
    """Bound |f - p| on the interval of p, within 1 % of the largest error seen or 1e-12, plus the rounding of float32.

    ``cells`` replaces the interval, for pieces that overlap.
    """
    search = _Search(f, p, cells or _first_cells(f, p))
    for _ in range(ROUNDS):
        if not search.refine():
            break
    return search.proof()


def _first_cells(f: Target, p: FoldedForm) -> Cells:
    """Cells that end at breaks and at both float neighbours of every kink."""
    breaks = p.breaks
    edges = torch.cat([torch.linspace(float(breaks[0]), float(breaks[-1]), 129, dtype=torch.float64), breaks])
    edges = with_kinks(edges, f.kinks)
    a, b = edges[:-1], edges[1:]
    return a, b, torch.bucketize(a + (b - a) / 2, breaks[1:-1].contiguous(), right=True)


def with_kinks(edges: Tensor, kinks: list[float]) -> Tensor:
    """Sorted edges with both float neighbours of the kinks between them, so that no other cell holds a kink inside."""
    at = torch.tensor(kinks, dtype=torch.float64)
    around = torch.cat([torch.nextafter(at, at + s) for s in (-1, 1)])
    return torch.cat([edges, around[(around > edges.min()) & (around < edges.max())]]).unique()


class _Search:
    def __init__(self, f: Target, p: FoldedForm, cells: Cells) -> None:
        self.f, self.p = f, p
        self.a, self.b, self.piece = cells
        self.observed, self.count = 0.0, 0
        self.best = (-math.inf, 0.0, (float(self.a[0]), float(self.b[-1])))
        self._bound()

    def _bound(self) -> None:
        a, b, piece, f, p = self.a, self.b, self.piece, self.f, self.p
        self.count += len(a)
        h, middle = (b - a) * (1 + 1e-15), a + (b - a) / 2
        ends = [_size(subtract(f.range(x, x), p.value(piece, x))) for x in (a, b, middle)]
        self.observed = max(self.observed, *(float(least.max()) for least, _ in ends))
        bound = _size(subtract(f.range(a, b), p.derivative(piece, a, b, 0)))[1]
        tiny = self._tiny(a, b)
        for order in (1, 2):
            d = f.derivative(a, b, order)
            if d is None:
                continue
            steep = _size(subtract(d, p.derivative(piece, a, b, order)))[1]
            taylor = ends[2][1] + h / 2 * steep if order == 1 else torch.maximum(ends[0][1], ends[1][1]) + h * h / 8 * steep
            bound = torch.where(tiny, bound, torch.minimum(bound, taylor.nan_to_num(nan=math.inf)))
        self.bound, self.rounding = bound, p.rounding(piece, a, b)

    def _tiny(self, a: Tensor, b: Tensor) -> Tensor:
        """The cells around kinks: only ranges count there."""
        out = torch.zeros_like(a, dtype=torch.bool)
        for kink in self.f.kinks:
            out |= (a <= kink) & (kink <= b)
        return out

    def refine(self) -> bool:
        """Settle the cells that are near enough, split the others; false when none is left."""
        narrow = self.b - self.a <= 8 * torch.finfo(torch.float64).eps * torch.maximum(self.a.abs(), self.b.abs()).clamp(min=1e-300)
        done = (self.bound <= self.observed * (1 + RELATIVE) + ABSOLUTE) | narrow
        self._settle(done)
        if not len(self.a) or self.count > MOST_CELLS:
            return False
        steps = torch.linspace(0, 1, 5, dtype=torch.float64)
        edges = self.a[:, None] + (self.b - self.a)[:, None] * steps
        edges[:, -1] = self.b
        self.a, self.b, self.piece = edges[:, :-1].reshape(-1), edges[:, 1:].reshape(-1), self.piece.repeat_interleave(4)
        self._bound()
        return True

    def _settle(self, done: Tensor) -> None:
        if bool(done.any()):
            total = self.bound[done] + self.rounding[done]
            i = int(total.argmax())
            if float(total[i]) > self.best[0]:
                self.best = (float(total[i]), float(self.rounding[done][i]), (float(self.a[done][i]), float(self.b[done][i])))
        kept = (t[~done] for t in (self.a, self.b, self.piece, self.bound, self.rounding))
        self.a, self.b, self.piece, self.bound, self.rounding = kept

    def proof(self) -> Proof:
        self._settle(torch.ones_like(self.a, dtype=torch.bool))
        total, rounding, where = self.best
        return Proof(math.nextafter(total, math.inf), self.observed, rounding, where, self.count)


def subtract(a: Interval, b: Interval) -> Interval:
    """a - b, rounded outwards."""
    low, high = a[0] - b[1], a[1] - b[0]
    eps = torch.finfo(torch.float64).eps
    return low - eps * low.abs(), high + eps * high.abs()


def _size(e: Interval) -> tuple[Tensor, Tensor]:
    """The least and the largest |e| that an enclosure allows; unknown is 0 and infinite."""
    low, high = e[0].nan_to_num(nan=-math.inf), e[1].nan_to_num(nan=math.inf)
    least = torch.maximum(low, -high).clamp(min=0)
    return torch.where(torch.isfinite(least), least, torch.zeros_like(least)), torch.maximum(low.abs(), high.abs())
