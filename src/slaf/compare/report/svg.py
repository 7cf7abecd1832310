"""Charts as SVG inside the page: scales with plain ticks, axes, paths. Classes and CSS variables paint them, so light and dark both fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .markup import text

__all__ = ["Plot", "Scale", "area", "fit", "number", "path", "steps"]

Point = tuple[float, float]
WIDE = 20
"""Positive values that span more than this factor get a logarithmic axis."""
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Scale:
    """Numbers from ``low`` to ``high`` to places from ``start`` to ``end``, linearly or by their logarithms."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of ``value``; NaN if it has none."""
        if not math.isfinite(value) or (self.log and value <= 0):
            return math.nan
        low, high, at = (math.log10(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def ticks(self, most: int = 6, whole: bool = False) -> list[float]:
        """At most about ``most`` round numbers; ``whole``: integers only."""
        if self.log:
            return self._decades(most)
        step = _step((self.high - self.low) / most, whole)
        first = math.ceil(self.low / step - 1e-9)
        return [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _decades(self, most: int) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for factors, every in (((1, 2, 5), 1), ((1, 3), 1), *(((1,), n) for n in range(1, last - first + 1))):
            found = [f * 10.0**k for k in range(first, last + 1) if k % every == 0 for f in factors]
            inside = [v for v in found if self.low * 0.999 <= v <= self.high * 1.001]
            if len(inside) <= most:
                return inside
        return [10.0**first]


def fit(values: Iterable[float], start: float, end: float, margin: float = 0.05, linear: bool = False) -> Scale:
    """The scale that shows ``values`` with a margin, a share of their span, at both ends; from -1 to 1 if there are none."""
    finite = [v for v in values if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (-1.0, 1.0)
    if not linear and low > 0 and high / low > WIDE:
        factor = (high / low) ** margin
        return Scale(low / factor, high * factor, start, end, log=True)
    extra = margin * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(low - extra, high + extra, start, end)


def _step(raw: float, whole: bool) -> float:
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * f for f in (1, 2, 2.5, 5, 10) if unit * f >= raw * (1 - 1e-9) and not (whole and f == 2.5))
    return max(1.0, step) if whole else step


def number(value: float, step: float = 0.0) -> str:
    """A tick's text; ``step``, the distance of a linear axis's ticks, says how many decimals."""
    if value == 0 or abs(value) < 1e-9 * step:
        return "0"
    plain = step >= 1e-4 and abs(value) < 1e7 if step else 1e-3 <= abs(value) < 1e5
    if not plain:
        digits, power = f"{value:.2e}".split("e")
        digits = digits.rstrip("0").rstrip(".")
        raised = "10" + str(int(power)).translate(_RAISED)
        return raised if digits == "1" else f"{digits}·{raised}".replace("-", "−")
    decimals = next((d for d in range(6) if abs(step * 10**d - round(step * 10**d)) < 1e-6), 6)
    return (f"{value:,.{decimals}f}" if step else f"{value:g}").replace("-", "−")


@dataclass(frozen=True)
class Plot:
    """A frame of axes: the place of the plot in a chart ``width`` wide and ``height`` high, and its two scales."""

    x: Scale
    y: Scale
    width: float
    height: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the plot."""
        return self.x.start, self.y.end, self.x.end - self.x.start, self.y.start - self.y.end

    def axes(self, across: str, up: str, *, whole: bool = False, percent: bool = False) -> str:
        """The two axes with their ticks, grid and labels; ``up`` is empty where the rows name themselves."""
        left, top, width, height = self.box
        bottom, right = top + height, left + width
        parts = [f'<path class="axis" d="M{left:g} {bottom:g}h{width:g}"/>']
        for tick, label in _labelled(self.x, 6, whole, percent):
            grid = f'<path class="grid" d="M{tick} {top:g}v{height:g}"/>' if not up else f'<path class="axis" d="M{tick} {bottom:g}v4"/>'
            parts.append(f'{grid}<text x="{tick}" y="{bottom + 17:g}" text-anchor="middle">{label}</text>')
        for tick, label in _labelled(self.y, 6, False, False) if up else ():
            grid = f'<path class="grid" d="M{left:g} {tick}h{width:g}"/>'
            parts.append(f'{grid}<text x="{left - 7:g}" y="{tick}" dy=".35em" text-anchor="end">{label}</text>')
        parts.append(f'<text class="label" x="{right:g}" y="{bottom + 34:g}" text-anchor="end">{text(across)}</text>')
        parts += [f'<text class="label" x="{left:g}" y="{top - 9:g}">{text(up)}</text>'] if up else []
        return "".join(parts)

    def within(self, drawn: str) -> str:
        """What is drawn in the plot's own coordinates, from its top left, cut at its frame."""
        left, top, width, height = self.box
        return f'<svg x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}">{drawn}</svg>'

    def place(self, x: float, y: float) -> Point:
        """The place of a value in the plot's own coordinates, at most a plot's height outside of it."""
        left, top, _, height = self.box
        return self.x(x) - left, min(max(self.y(y) - top, -height), 2 * height)

    def chart(self, drawn: str, name: str) -> str:
        """The whole chart; ``name`` says in words what it shows."""
        return f'<svg class="chart" role="img" aria-label="{text(name)}" viewBox="0 0 {self.width:g} {self.height:g}">{drawn}</svg>'

    def frame(self) -> dict[str, object]:
        """What the page's script needs to find a value from a place and back."""
        return {
            "box": [round(v, 1) for v in self.box],
            "x": [self.x.low, self.x.high, self.x.log],
            "y": [self.y.low, self.y.high, self.y.log],
        }


def _labelled(scale: Scale, most: int, whole: bool, percent: bool) -> list[tuple[str, str]]:
    ticks = scale.ticks(most, whole)
    step = 0.0 if scale.log or len(ticks) < 2 else ticks[1] - ticks[0]
    labels = [number(100 * t, 100 * step) + "\u202f%" if percent else number(t, step) for t in ticks]
    return [(f"{scale(t):.1f}", label) for t, label in zip(ticks, labels, strict=True)]


def path(points: Sequence[Point]) -> str:
    """A path's ``d`` through the points, to a tenth; a point without a place interrupts it, points on a straight line are left out."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if math.isfinite(point[0]) and math.isfinite(point[1]):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return "".join(_run(_thinned(run)) for run in runs if run)


def area(upper: Sequence[Point], lower: Sequence[Point]) -> str:
    """A path's ``d`` around the area between two lines over the same places; only where both have one."""
    both = [(a, b) for a, b in zip(upper, lower, strict=True) if math.isfinite(a[1]) and math.isfinite(b[1])]
    return path([a for a, _ in both] + [b for _, b in reversed(both)]) + "z" if both else ""


def steps(edges: Sequence[float], heights: Sequence[float], floor: float) -> str:
    """A path's ``d`` around a histogram that stands on ``floor``."""
    out, level = [f"M{edges[0]:.1f} {floor:.1f}"], floor
    for right, height in zip(edges[1:], heights, strict=True):
        out.append((f"V{height:.1f}" if f"{height:.1f}" != f"{level:.1f}" else "") + f"H{right:.1f}")
        level = height
    return "".join(out) + f"V{floor:.1f}z"


def _run(points: Sequence[Point]) -> str:
    tenths = [(round(10 * x), round(10 * y)) for x, y in points]
    (x, y), out = tenths[0], [f"M{tenths[0][0] / 10:g} {tenths[0][1] / 10:g}"]
    if len(tenths) == 1:
        return out[0] + "h0"  # a dot, by its round cap
    for u, v in tenths[1:]:
        out.append(f"l{(u - x) / 10:g} {(v - y) / 10:g}")
        x, y = u, v
    return "".join(out)


def _thinned(points: Sequence[Point], off: float = 0.15) -> list[Point]:
    """Ramer, Douglas and Peucker's simplification: no point of the old line is farther than ``off`` from the new one."""
    keep = {0, len(points) - 1}
    parts = [(0, len(points) - 1)]
    while parts:
        first, last = parts.pop()
        (ax, ay), (bx, by) = points[first], points[last]
        length = math.hypot(bx - ax, by - ay) or 1.0
        far, index = off, None
        for i in range(first + 1, last):
            distance = abs((bx - ax) * (ay - points[i][1]) - (ax - points[i][0]) * (by - ay)) / length
            if (bx, by) == (ax, ay):
                distance = math.hypot(points[i][0] - ax, points[i][1] - ay)
            if distance > far:
                far, index = distance, i
        if index is not None:
            keep.add(index)
            parts += [(first, index), (index, last)]
    return [points[i] for i in sorted(keep)]
