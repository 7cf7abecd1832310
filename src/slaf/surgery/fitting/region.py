"""Where an activation is fitted to the one it replaces: the target, the measured inputs, the interval and the lines beyond it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from slaf.core import Activation, SlafError
from slaf.fit import Density
from slaf.fit.target import as_function, kinks_of

__all__ = ["Inputs", "Region", "Weighted", "region_of"]

MARGIN = 0.05
"""Of the measured width, on either side."""
TAILS = ((5e-4, 5e-4), (5e-3, 2e-3), (2e-2, 5e-3), (5e-2, 5e-3), (0.1, 5e-3))
"""Shares of the inputs on either side that are left to a straight line, and how near the target must be to it there, in standard deviations
of its output; the narrower intervals are for what is not near enough on a wider one.
"""
ASYMPTOTIC = 0.1
"""How much the slope at an end may differ from that far away, to be taken for it."""
FLOOR = 0.1
"""The share of a fit's weight that is spread evenly over the interval, so that a function is tame where few inputs were seen."""
NODES = 256


class Inputs(Protocol):
    """What is known of a site's inputs, such as :class:`slaf.surgery.sketch.Sketch`."""

    @property
    def min(self) -> float: ...
    @property
    def max(self) -> float: ...
    def density(self) -> Density: ...


@dataclass(frozen=True)
class Weighted:
    """Points and weights that sum to 1, with a center and scale of their own."""

    x: Tensor
    weight: Tensor
    mean: float
    std: float

    def nodes(self) -> tuple[Tensor, Tensor]:
        return self.x, self.weight


@dataclass(frozen=True)
class Region:
    """What one fit needs.

    Attributes:
        target: (n,) → (n,) in float64.
        kinks: of the target.
        seen: the least and the largest input, with a margin.
        measured: the density of the inputs as it is.
        low, high: the interval of the fit: where the inputs are and the target is curved.
        left_slope, right_slope: of the straight lines beyond it.
        spread: the standard deviation of the target's output, what errors are relative to.
        narrower: other intervals, for what is not near enough on this one.
    """

    target: Callable[[Tensor], Tensor]
    kinks: tuple[float, ...]
    seen: tuple[float, float]
    measured: Weighted
    low: float
    high: float
    left_slope: float
    right_slope: float
    spread: float
    narrower: tuple[tuple[float, float], ...] = ()

    def on(self, low: float | None = None, high: float | None = None) -> Region:
        """The same on another interval; the slopes are those of the target there."""
        low, high = (self.low if low is None else float(low)), (self.high if high is None else float(high))
        if (low, high) == (self.low, self.high):
            return self
        slopes = _slopes(self.target, low, high, self.seen)
        return replace(self, low=low, high=high, left_slope=slopes[0], right_slope=slopes[1])

    def points(self, even: Tensor | None = None) -> Weighted:
        """What a fit on the interval is weighted by: the measured inputs there, by quantiles, and the floor on ``even`` points."""
        if even is None:
            even = self.low + (self.high - self.low) * (torch.arange(NODES, dtype=torch.float64) + 0.5) / NODES
        floor = torch.full_like(even, 1 / len(even))
        x, weight = self.measured.nodes()
        inside = (x >= self.low) & (x <= self.high)
        if bool(inside.any()) and float(weight[inside].sum()) > 0:
            quantiles = _quantiles(x[inside], weight[inside], (torch.arange(NODES, dtype=torch.float64) + 0.5) / NODES)
            even, floor = torch.cat([even, quantiles]), torch.cat([FLOOR * floor, torch.full_like(quantiles, (1 - FLOOR) / NODES)])
        order = even.argsort()
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return Weighted(even[order], floor[order], middle, half)


def region_of(target: Any, inputs: Inputs, kinks: Iterable[float] = (), width: bool = True) -> Region:
    """The region of a fit to ``target`` on ``inputs``, which must have a width unless ``width`` is false.

    Raises:
        SlafError: the target is not elementwise or not finite on the inputs, or the inputs are all one number.
    """
    x, weight = inputs.density().nodes()
    least, most = float(inputs.min), float(inputs.max)
    if not (math.isfinite(least) and math.isfinite(most)):
        raise SlafError(f"inputs must have a finite least and largest value; got {least!r} and {most!r}")
    if not most > least and width:
        raise SlafError(f"inputs are all {least:g}, so a function of them cannot be fitted; pass an example whose inputs differ")
    function = _elementwise(target, x)
    y = function(x)
    if not bool(torch.isfinite(y).all()):
        raise SlafError(f"target is not finite on the inputs, [{least:g}, {most:g}]")
    mean = float((weight * y).sum())
    spread = float((weight * (y - mean).square()).sum().sqrt()) or max(float(y.abs().max()), 1.0)
    margin = MARGIN * ((most - least) or max(abs(most), 1.0))
    seen = (least - margin, most + margin)
    known = tuple(sorted({float(k) for k in kinks} | set(kinks_of(target) if isinstance(target, (str, Activation)) else ())))
    center = float((weight * x).sum())
    measured = Weighted(x, weight, center, float((weight * (x - center).square()).sum().sqrt()))
    (low, high), *narrower = _intervals(function, measured, seen, spread)
    slopes = _slopes(function, low, high, seen)
    return Region(function, known, seen, measured, low, high, *slopes, spread, tuple(narrower))


# -- the target ---------------------------------------------------------------------------------------------------------------


def _elementwise(target: Any, x: Tensor) -> Callable[[Tensor], Tensor]:
    """The target in float64, out of place; raises unless a number's image does not depend on the other numbers."""
    if isinstance(target, nn.Module):
        target = copy.deepcopy(target)
        for part in target.modules():
            if getattr(part, "inplace", False) is True:
                part.inplace = False
    bare = as_function(target)

    def function(values: Tensor) -> Tensor:
        try:
            return bare(values.clone())
        except RuntimeError:
            if isinstance(target, nn.Module):
                raise
            # a function that holds float32 tensors
            return bare(values.to(torch.float32)).to(torch.float64)

    try:
        whole, part = function(x), function(x[:: max(1, len(x) // 7)].flip(0))
    except (TypeError, RuntimeError, IndexError, ValueError) as problem:
        raise SlafError(f"target must be a function of one number, applied to every element; it failed with: {problem}") from None
    wanted = whole[:: max(1, len(x) // 7)].flip(0)
    if not torch.allclose(part, wanted, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise SlafError("target is not elementwise: a number's image depends on the other numbers")
    return function


# -- the interval -------------------------------------------------------------------------------------------------------------


def _intervals(f: Callable[[Tensor], Tensor], measured: Weighted, seen: tuple[float, float], spread: float) -> list[tuple[float, float]]:
    """Where all but the rarest inputs are, and where the target is no straight line; rounded outwards. One for each of TAILS."""
    room = 0.01 * (seen[1] - seen[0])
    out = []
    for share, near in TAILS:
        curved = _curved(f, seen, near * spread)
        left, right = _quantiles(*measured.nodes(), torch.tensor([share, 1 - share], dtype=torch.float64)).tolist()
        low = seen[0] if curved[0] is None else max(seen[0], min(left, curved[0]) - room)
        high = seen[1] if curved[1] is None else min(seen[1], max(right, curved[1]) + room)
        out.append(_rounded(low, high))
    return list(dict.fromkeys(out))


def _curved(f: Callable[[Tensor], Tensor], seen: tuple[float, float], near: float) -> list[float | None]:
    """Where the target begins to leave the line that it follows on the left, and on the right; None where it follows none."""
    grid = torch.linspace(*seen, 2049, dtype=torch.float64)
    y = f(grid)
    ends: list[float | None] = []
    for sign in (-1.0, 1.0):
        slope = _far_slope(f, sign, max(abs(seen[0]), abs(seen[1])))
        if slope is None or not bool(torch.isfinite(y).all()):
            ends.append(None)
            continue
        off, points = (y - slope * grid, grid) if sign < 0 else ((y - slope * grid).flip(0), grid.flip(0))
        straight = off.cummax(0).values - off.cummin(0).values <= near
        count = int(straight.sum())
        ends.append(None if count <= 1 else float(points[count - 1]))
    return ends


def _rounded(low: float, high: float) -> tuple[float, float]:
    """Outwards to about two digits of the width."""
    digits = 1 - math.floor(math.log10(high - low))
    step = 10.0**-digits
    return round(math.floor(low / step) * step, digits), round(math.ceil(high / step) * step, digits)


def _far_slope(f: Callable[[Tensor], Tensor], sign: float, reach: float) -> float | None:
    """The slope of the straight line that f approaches at sign·∞; None where it approaches none."""
    far = max(100.0, 4 * reach)
    x = sign * far * torch.tensor([1.0, 2.0, 3.0, 8.0], dtype=torch.float64)
    y = f(x)
    if not bool(torch.isfinite(y).all()):
        return None
    slopes = (y.diff() / x.diff()).tolist()
    if max(slopes) - min(slopes) > 1e-6 * max(1.0, abs(slopes[-1])):
        return None
    nearest = round(slopes[-1], 6)
    return nearest if abs(nearest - slopes[-1]) < 1e-6 else slopes[-1]


def _slopes(f: Callable[[Tensor], Tensor], low: float, high: float, seen: tuple[float, float]) -> tuple[float, float]:
    """Of the lines beyond the interval: the secant to the last input seen, or the tangent; where that is nearly it, that of f far away."""
    out = []
    reach, width = max(abs(v) for v in (low, high, *seen)), high - low
    for sign, end, last in ((-1.0, low, seen[0]), (1.0, high, seen[1])):
        beyond = sign * (last - end)
        other = last if beyond > 0.1 * width else end - sign * 1e-5 * width
        y = f(torch.tensor([end, other], dtype=torch.float64))
        slope = float((y[1] - y[0]) / (other - end))
        far = _far_slope(f, sign, reach)
        if far is not None and abs(far - slope) < ASYMPTOTIC:
            slope = far
        out.append(float(f"{slope:.7g}") + 0.0 if math.isfinite(slope) else 0.0)
    return out[0], out[1]


def _quantiles(x: Tensor, weight: Tensor, q: Tensor) -> Tensor:
    """Of sorted points with weights, linear between the middles of their shares."""
    total = weight.cumsum(0)
    middles = (total - weight / 2) / total[-1]
    at = torch.searchsorted(middles, q).clamp(1, max(len(x) - 1, 1))
    if len(x) == 1:
        return x.expand(len(q)).clone()
    below, above = middles[at - 1], middles[at]
    part = ((q - below) / (above - below).clamp(min=1e-300)).clamp(0, 1)
    return x[at - 1] + part * (x[at] - x[at - 1])
