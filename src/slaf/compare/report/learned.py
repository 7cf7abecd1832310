"""“What was learned”: each activation at each of its places, one channel large beside its neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slaf.compare.figures import limits, where_used

from .charts import Tone
from .markup import data, formula_html, text
from .svg import Plot, Scale, number, path, steps

__all__ = ["MAX_LEARNED", "learned"]

MAX_LEARNED = 2_000_000
"""Bytes that this part of the page may take, give or take one place. The rest is in the PNG files only, and the page says so."""
LEFT, RIGHT, TOP, BOTTOM, WIDTH, HEIGHT = 44, 430, 24, 240, 440, 278


def learned(records: Sequence[Mapping[str, Any]], tone: Mapping[str, Tone], several_rates: bool = False) -> str:
    """The first seed of every activation, then each other seed folded away; empty if nothing was learned.

    Args:
        records: in the order of the page; of each activation, the trials at one learning rate.
        several_rates: the records may differ in their learning rate, so that each says its own.
    """
    first: list[str] = []
    others: dict[int, list[str]] = {}
    used, left_out, count, seen = 0, 0, 0, set()  # bytes, places, places, activations
    for record in sorted((r for r in records if r.get("learned")), key=lambda r: r["seed"]):
        block = others.setdefault(record["seed"], []) if record["activation"] in seen else first
        seen.add(record["activation"])
        for place, site in enumerate(record["learned"]):
            if used > MAX_LEARNED:
                left_out += 1
                continue
            block.append(_article(record, site, place, tone[record["activation"]], f"s{count}", several_rates))
            used, count = used + len(block[-1].encode()), count + 1
    if not count:
        return ""
    folded = "".join(f"<details><summary>Seed {text(s)}</summary>{''.join(block)}</details>" for s, block in others.items() if block)
    what = "place is" if left_out == 1 else "places are"
    rest = f'<p class="fine">{left_out} more {what} in the PNG files beside this page, to keep it small.</p>' if left_out else ""
    lead = (
        "Each learned activation at each place in the network: before training (dashed) and after (bold), over the inputs that its channel "
        "really sees on test data (grey). Curves end where a channel’s inputs do; thin lines are other channels of the layer, on the same "
        'axes.<span class="live"> Choose one to enlarge it. Point at a chart, or focus it and use the arrow keys, to read values.</span>'
    )
    title = '<h2 id="learned">What was learned</h2>'
    return f'<section aria-labelledby="learned">{title}<p class="lead">{lead}</p>{"".join(first)}{folded}{rest}</section>'


def _article(record: Mapping[str, Any], site: Mapping[str, Any], place: int, tone: Tone, key: str, several_rates: bool) -> str:
    """One place: the large chart of its first channel, its formula, and the small charts that choose another."""
    curves = _curves(site)
    plot = _plot(site, curves)
    shown = site.get("shown") or list(range(len(curves)))
    name = f"{record['activation']}, layer {place + 1}"
    rate = f", {record.get('lr_factor', 1.0):.2g} × learning rate" if several_rates else ""
    count = site["channels"]
    kept = f"{len(shown)} of {count} channels" if len(shown) < count else f"{count} channels" if count > 1 else "one curve for all channels"
    names = [_name(name, record["seed"], channel, curve, count) for channel, curve in zip(shown, curves, strict=True)]
    formulas = [*(site.get("formulas") or [site.get("formula")]), *[None] * len(curves)][: len(curves)]
    captions = "".join(_caption(channel, f, count, i > 0) for i, (channel, f) in enumerate(zip(shown, formulas, strict=True)))
    large = (
        f'<figure data-chart="lines">{plot.chart(_large(plot, site, curves, key), names[0])}'
        f"{_keys(site)}<figcaption>{captions}</figcaption>"
        f"{data(_stored(plot, site, curves, tone))}</figure>"
    )
    small = "".join(_button(plot, key, i, channel, n) for i, (channel, n) in enumerate(zip(shown, names, strict=True)))
    neighbours = f'<ul class="channels" aria-label="Channels of {text(name)}">{small}</ul>' if len(curves) > 1 else ""
    return (
        f'<article class="learned" style="--c:var({tone.color})"><h3><code>{text(record["activation"])}</code>, layer {place + 1} '
        f'<span class="fine">module <code>{text(site["site"])}</code>, {kept}, seed\u00a0{text(record["seed"])}{rate}</span></h3>'
        f'<div class="stage">{large}{neighbours}</div></article>'
    )


def _key(line: str, d: str, name: str, value: str) -> str:
    drawn = f'<svg class="swatch" viewBox="0 0 22 8" aria-hidden="true"><path class="{line}" d="{d}"/></svg>'
    return f'<li>{drawn}{name} <span class="{value}"></span></li>'


def _keys(site: Mapping[str, Any]) -> str:
    """What the lines are, and where the script writes the values under the cursor."""
    inputs = "input" if site["histogram"].get("by_channel") or site["channels"] == 1 else "input of all"
    lines = _key("before", "M1 4h20", "before", "value") + _key("after", "M1 4h20", "after", "value")
    return f'<ul class="legend readout">{lines}{_key("seen", "M1 0h20v8h-20z", inputs, "at")}</ul>'


Curve = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of one channel: before and after, NaN outside its inputs, and the histogram of its inputs."""


def _curves(site: Mapping[str, Any]) -> list[Curve]:
    x, counts = _array(site["x"]), site["histogram"].get("by_channel")
    pooled = site["histogram"]["counts"]
    both = zip(site["before"], site["after"], site["ranges"], counts or [pooled] * len(site["after"]), strict=True)
    return [(where_used(_array(b), x, r), where_used(_array(a), x, r), np.asarray(n, dtype=float)) for b, a, r, n in both]


def _plot(site: Mapping[str, Any], curves: Sequence[Curve]) -> Plot:
    """One pair of axes for all channels of a place, so that they can be compared."""
    x, edges = _array(site["x"]), _array(site["histogram"]["edges"])
    counts = np.asarray(site["histogram"]["counts"], dtype=float)
    low, high = limits([curves[0][0], curves[0][1]], [after for _, after, _ in curves[1:]], counts, edges, x)
    return Plot(Scale(float(x[0]), float(x[-1]), LEFT, RIGHT), Scale(low, high, BOTTOM, TOP), WIDTH, HEIGHT)


def _large(plot: Plot, site: Mapping[str, Any], curves: Sequence[Curve], key: str) -> str:
    """Every channel's lines are written here once; the small charts and the bold lines refer to them."""
    x, edges = _array(site["x"]), _array(site["histogram"]["edges"])
    width, floor = plot.box[2], plot.box[3]
    lines = []
    for i, (before, after, counts) in enumerate(curves):
        heights = floor * (1 - 0.78 * counts / max(float(counts.max()), 1.0))
        ways = {
            "seen": steps([plot.x(e) - LEFT for e in edges], heights.tolist(), floor),
            "before": path([plot.place(u, v) for u, v in zip(x, before, strict=True)]),
            "after": path([plot.place(u, v) for u, v in zip(x, after, strict=True)]),
        }
        lines += [f'<path id="{key}-{what}-{i}" d="{d}"/>' for what, d in ways.items()]
    zero = f'<path class="zero" d="M0 {plot.y(0.0) - TOP:.1f}h{width:g}"/>'
    thin = "".join(f'<use class="other" href="#{key}-after-{i}"/>' for i in range(len(curves)))
    bold = [f'<use class="{what}" href="#{key}-{what}-0"/>' for what in ("seen", "before", "after")]
    return plot.axes("input", "output") + plot.within(f"<defs>{''.join(lines)}</defs>{bold[0]}{zero}{thin}{bold[1]}{bold[2]}")


def _button(plot: Plot, key: str, index: int, channel: int, name: str) -> str:
    _, _, width, height = plot.box
    zero = f'<path class="zero" d="M0 {plot.y(0.0) - TOP:.1f}h{width:g}"/>'
    seen, before, after = (f'<use class="{what}" href="#{key}-{what}-{index}"/>' for what in ("seen", "before", "after"))
    return (
        f'<li><button type="button" aria-pressed="{"false" if index else "true"}" aria-label="{text(name)}">'
        f'<svg viewBox="0 0 {width:g} {height:g}" preserveAspectRatio="none" aria-hidden="true">{seen}{zero}{before}{after}</svg>'
        f"<span>channel {text(channel)}</span></button></li>"
    )


def _name(name: str, seed: int, channel: int, curve: Curve, count: int) -> str:
    """In words what a channel's chart shows."""
    after = curve[1][np.isfinite(curve[1])]
    spans = f", output from {number(_round(after.min()))} to {number(_round(after.max()))} after training" if len(after) else ""
    which = f", channel {channel}" if count > 1 else ""
    return f"{name}{which}, seed {seed}: before and after training, over its inputs{spans}"


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def _caption(channel: int, formula: str | None, count: int, hidden: bool) -> str:
    which = f'<span class="fine">channel {text(channel)}</span> ' if count > 1 else ""
    said = f"<i>y</i> = {formula_html(formula)}" if formula else '<span class="fine">no formula is known</span>'
    return f'<p class="formula"{" hidden" if hidden else ""}>{which}{said}</p>'


def _stored(plot: Plot, site: Mapping[str, Any], curves: Sequence[Curve], tone: Tone) -> dict[str, Any]:
    """The stored numbers, each channel's from its first input on."""
    sets = []
    for before, after, _ in curves:
        used = np.flatnonzero(np.isfinite(before) | np.isfinite(after))
        first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
        sets.append([first, *([None if math.isnan(v) else v for v in line[first:last].tolist()] for line in (before, after))])
    return {
        **plot.frame(),
        "unit": "input",
        "at": site["x"],
        "names": ["before", "after"],
        "colors": ["--ink", tone.color],
        "sets": sets,
    }


def _array(numbers: Sequence[float | None]) -> np.ndarray:
    return np.asarray([math.nan if v is None else v for v in numbers], dtype=float)
