"""The two charts of all activations: every seed's result, and learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slaf.compare.learned import rounded
from slaf.compare.table import Comparison, Row
from slaf.compare.words import SHARES, exact, quantity

from .markup import data, text
from .svg import Plot, Scale, area, fit, path

__all__ = ["Tone", "learning", "seeds", "short", "swatch", "tones"]

TONES = 8
DASHES = ("", "7 3", "2 3", "9 3 2 3")
MAX_DOTS, MAX_EPOCHS, MAX_NUMBERS = 1500, 400, 20_000
"""What a chart may hold, so that the page stays small: dots of seeds; epochs of a learning curve; losses of all curves together."""


@dataclass(frozen=True)
class Tone:
    """How an activation is painted: a colour variable of the style sheet, and a dash pattern where colours repeat."""

    color: str
    dash: str = ""

    @property
    def style(self) -> str:
        """As an attribute's content."""
        return f"--c:var({self.color})" + (f";stroke-dasharray:{self.dash}" if self.dash else "")


def tones(activations: Sequence[str]) -> dict[str, Tone]:
    """A tone for each activation, the same in every chart: ``identity`` is grey, the others follow the palette in the order given."""
    others = [a for a in activations if a != "identity"]
    found = {a: Tone(f"--c{i % TONES + 1}", DASHES[i // TONES % len(DASHES)]) for i, a in enumerate(others)}
    return found | {"identity": Tone("--c0")}


def swatch(tone: Tone) -> str:
    """A short piece of the activation's line."""
    return f'<svg class="swatch" viewBox="0 0 22 8" aria-hidden="true"><path class="line" style="{tone.style}" d="M1 4h20"/></svg>'


def short(name: str, limit: int = 46) -> str:
    """A name that fits a chart."""
    return name if len(name) <= limit else name[: limit - 1] + "…"


def seeds(comparison: Comparison, tone: Mapping[str, Tone]) -> str:
    """Every seed's result as a dot, their mean as a bar with its 95 % bootstrap interval; empty without results."""
    rows = [r for r in comparison.rows if r.mean is not None]
    if not rows:
        return ""
    metric, share = comparison.metric, comparison.metric in SHARES
    height, shown = 38, max(1, MAX_DOTS // len(rows))
    x = fit([v for r in rows for v in r.values.values()], 10, 430, linear=share)
    plot = Plot(x, Scale(0, len(rows), 8 + height * len(rows), 8), 440, 8 + height * len(rows) + 42)
    better = "more" if comparison.direction == "max" else "less"
    drawn, points = [plot.axes(f"{metric} ({better} is better)", "", percent=share)], []
    for number, row in enumerate(rows):
        top = 8 + height * number
        some = list(row.values.items())[:shown]
        dots = [(x(v), top + 26 + (0 if len(some) == 1 else 9 * (i / (len(some) - 1) - 0.5)), s, v) for i, (s, v) in enumerate(some)]
        drawn.append(_row(row, metric, tone[row.activation], x, top, dots))
        points += [[round(px, 1), round(py, 1), tone[row.activation].color, _told(row, metric, s, v)] for px, py, s, v in dots]
    told = ", ".join(f"{r.activation} {quantity(metric, r.mean)}" for r in rows)
    most = max(len(r.values) for r in rows)
    left_out = f" Of {most} seeds the first {shown} are drawn." if most > shown else ""
    caption = f"A dot is one seed, the bar their mean, the shade its 95 % bootstrap interval.{left_out}"
    return (
        f'<figure data-chart="points">{plot.chart("".join(drawn), f"Every seed’s {metric}; means: {told}")}'
        f'<p class="readout"><span class="live fine">Point at a dot to read it.</span></p>'
        f"<figcaption>{text(caption)}</figcaption>{data({'points': points})}</figure>"
    )


def _told(row: Row, metric: str, seed: int, value: float) -> str:
    return f"{row.activation}, seed {seed}: {exact(metric, value)}"


def _row(row: Row, metric: str, tone: Tone, x: Scale, top: float, dots: Sequence[tuple[float, float, int, float]]) -> str:
    parts = [f'<text class="name" x="{x.start:g}" y="{top + 12}">{text(short(row.activation))}</text>']
    if row.low is not None and row.high is not None:
        low, high = x(row.low), x(row.high)
        parts.append(f'<rect class="shade" x="{low:.1f}" y="{top + 21}" width="{max(high - low, 1):.1f}" height="10" rx="2"/>')
    parts.append(f'<path class="mean" d="M{x(row.mean or 0.0):.1f} {top + 18}v16"/>')
    for px, py, seed, value in dots:
        name = text(_told(row, metric, seed, value))
        parts.append(f'<circle class="dot" cx="{px:.1f}" cy="{py:.1f}" r="3.6"><title>{name}</title></circle>')
    return f'<g style="--c:var({tone.color})">{"".join(parts)}</g>'


def learning(records: Sequence[Mapping[str, Any]], tone: Mapping[str, Tone]) -> str:
    """Training loss by epoch: a line for the mean over seeds in a band from the lowest to the highest; empty without histories."""
    groups: dict[str, list[list[float]]] = {}
    for record in records:
        losses = [math.nan if v is None else float(v) for v in record["history"].get("loss", [])]
        if losses:
            groups.setdefault(record["activation"], []).append(losses)
    if not groups:
        return ""
    lines = {name: _summary(curves) for name, curves in groups.items()}
    longest = max(len(mean) for mean, _, _ in lines.values())
    every = math.ceil(longest / max(2, min(MAX_EPOCHS, MAX_NUMBERS // len(lines))))
    at = sorted({*range(0, longest, every), longest - 1})
    y = fit([v for line in lines.values() for v in (*line[1], *line[2])], 252, 26)
    plot = Plot(Scale(1, max(longest, 2), 46, 430), y, 440, 290)
    order = sorted(lines, key=lambda name: -_last(lines[name][0]))
    bands, strokes, series = [], [], []
    for name in order:
        mean, low, high = ([line[i] if i < len(line) else math.nan for i in at] for line in lines[name])
        middle, bottom, top = ([plot.place(i + 1, v) for i, v in zip(at, values, strict=True)] for values in (mean, low, high))
        if len(groups[name]) > 1:
            bands.append(f'<path class="band" style="--c:var({tone[name].color})" d="{area(top, bottom)}"/>')
        strokes.append(f'<path class="line" style="{tone[name].style}" d="{path(middle)}"/>')
        series.append([rounded(v) for v in mean])
    drawn = plot.axes("epoch", "training loss", whole=True) + plot.within("".join(bands + strokes))
    told = ", ".join(f"{name} {_loss(lines[name][0])}" for name in order)
    legend = "".join(
        f'<li>{swatch(tone[name])}<code>{text(name)}</code> <span class="value">{_loss(lines[name][0])}</span></li>' for name in order
    )
    stored = {
        **plot.frame(),
        "unit": "epoch",
        "at": [i + 1 for i in at],
        "names": order,
        "colors": [tone[name].color for name in order],
        "sets": [[0, *series]],
    }
    skipped = f" Every {every}th epoch is drawn." if every > 1 else ""
    return (
        f'<figure data-chart="lines">{plot.chart(drawn, f"Training loss by epoch; at the end: {told}")}'
        f'<p class="readout">epoch <span class="at">{longest}</span></p><ul class="legend">{legend}</ul>'
        f"<figcaption>The line is the mean over seeds, the band goes from the lowest to the highest seed.{skipped}</figcaption>"
        f"{data(stored)}</figure>"
    )


def _summary(curves: Sequence[Sequence[float]]) -> tuple[list[float], list[float], list[float]]:
    """Mean, lowest and highest over seeds, as far as every seed came; a number that is not finite counts where it is the only seed's."""
    columns = list(zip(*curves, strict=False))
    finite = [[v for v in column if math.isfinite(v)] for column in columns]
    mean = [sum(column) / len(column) for column in columns]
    return mean, [min(f, default=math.nan) for f in finite], [max(f, default=math.nan) for f in finite]


def _last(line: Sequence[float]) -> float:
    return next((v for v in reversed(line) if math.isfinite(v)), -math.inf)


def _loss(line: Sequence[float]) -> str:
    return f"{line[-1]:.3g}" if math.isfinite(line[-1]) else "—"
