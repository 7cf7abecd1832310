"""The table of results, and the runs that gave none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slaf.compare.table import Comparison, Row
from slaf.compare.words import SHARES, points, quantity

from .charts import Tone, short, swatch
from .markup import text

__all__ = ["failures", "results"]

WORDS = ' class="text"'
MARKS = {"better": "▲\u00a0", "worse": "▼\u00a0"}
"""Beside the verdict's colour and word; up is better whatever the metric."""


def results(comparison: Comparison, tone: Mapping[str, Tone]) -> str:
    """The table, with what a fair reader needs to know beside it. The page's script makes its headings sort it."""
    metric = comparison.metric
    best_first = "descending" if comparison.direction == "max" else "ascending"
    unit = ", points" if metric in SHARES else ""
    headings = (
        ("activation", "ascending"),
        (f"mean {metric}", best_first),
        ("worst seed", best_first),
        (f"− {short(comparison.reference, 24)}{unit}", best_first),
        ("interval", None),
        ("verdict", "ascending"),
        *((("×\u00a0learning rate", "ascending"),) if _swept(comparison) else ()),
        ("parameters", "ascending"),
        ("of them in activations", "ascending"),
        ("training, s", "ascending"),
        *((("broken runs", "descending"),) if _broken(comparison) else ()),
    )
    head = "".join(_heading(label, first, label == f"mean {metric}") for label, first in headings)
    span = _span(comparison.rows)
    rows = "\n".join(_table_row(comparison, row, tone, span) for row in comparison.rows)
    notes = "".join(f"<p>{text(n)}</p>" for n in comparison.notes)
    notice = f'<div class="notice">{notes}</div>' if notes else ""
    return (
        '<section aria-labelledby="results"><h2 id="results">Results</h2>'
        f'<p class="lead">Differences are to <code>{text(comparison.reference)}</code>, taken seed by seed, with their 95 % intervals; '
        f"the small pictures show them around zero.</p>{notice}"
        '<div class="scroll" role="region" aria-label="Table of results, may scroll sideways" tabindex="0">'
        f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div></section>'
    )


def _swept(comparison: Comparison) -> bool:
    return len({r.get("lr_factor", 1.0) for r in comparison.records}) > 1


def _broken(comparison: Comparison) -> bool:
    return any(r.non_finite + r.failed for r in comparison.rows)


def _heading(label: str, first: str | None, sorted_by: bool) -> str:
    """``first`` is the order that a first click gives; the rows come sorted by their mean."""
    order = f' data-first="{first}"' if first else ""
    return f'<th scope="col"{order}{f" aria-sort={first}" if sorted_by else ""}>{text(label)}</th>'


def _table_row(comparison: Comparison, row: Row, tone: Mapping[str, Tone], span: float) -> str:
    metric = comparison.metric
    broken = row.non_finite + row.failed
    why = ",<br>".join(f"{n} {what}" for n, what in ((row.non_finite, "not finite"), (row.failed, "failed")) if n)
    verdict = "n/a" if row.not_applicable == row.runs else row.verdict
    cells: list[tuple[Any, str]] = [
        (row.mean, text(quantity(metric, row.mean))),
        (row.worst, text(quantity(metric, row.worst))),
        (row.difference, text(points(metric, row.difference)) + _range(metric, row)),
        (None, _interval(row, span)),
        (verdict, f'<span class="{_class(verdict)}">{MARKS.get(verdict, "")}{text(verdict)}</span>'),
        *(((row.lr_factor, f"{row.lr_factor:.2g}"),) if _swept(comparison) else ()),
        (row.params, "—" if row.params is None else f"{row.params:,}"),
        (row.activation_params, "—" if row.activation_params is None else f"{row.activation_params:,}"),
        (row.seconds, "—" if row.seconds is None else f"{row.seconds:.1f}"),
    ]
    if _broken(comparison):
        cells.append((broken, f"{broken} of {row.runs}" + (f'<span class="range">{why}</span>' if broken else "")))
    inner = "".join(f'<td data-value="{"" if value is None else text(value)}">{shown}</td>' for value, shown in cells)
    name = f'<span class="name">{swatch(tone[row.activation])}<code>{_breakable(row.activation)}</code></span>'
    return f'<tr><th scope="row" data-value="{text(row.activation)}">{name}</th>{inner}</tr>'


def _breakable(name: str) -> str:
    """A name that breaks where a reader would break it."""
    return re.sub(r"([(,=])", r"\1<wbr>", text(name))


def _class(verdict: str) -> str:
    return verdict if verdict in ("better", "worse", "reference") else "unclear"


def _range(metric: str, row: Row) -> str:
    if row.difference_low is None:
        return ""
    return f' <span class="range">[{text(points(metric, row.difference_low))}, {text(points(metric, row.difference_high))}]</span>'


def _span(rows: Sequence[Row]) -> float:
    """Half the width of the small interval pictures: the farthest end of those within ten times the median of all."""
    ends = sorted(
        max(abs(r.difference_low or 0.0), abs(r.difference_high or 0.0), abs(r.difference or 0.0)) for r in rows if r.difference is not None
    )
    if not ends:
        return 0.0
    middle = ends[len(ends) // 2]
    return max((e for e in ends if e <= 10 * middle), default=ends[-1])


def _interval(row: Row, span: float) -> str:
    """The paired difference and its interval as a small picture around zero; what does not fit ends in the frame's edge."""
    if row.difference is None or span <= 0:
        return ""
    width, height = 76, 16

    def place(value: float) -> float:
        return round(width / 2 * (1 + min(max(value / span, -1.0), 1.0)), 1)

    middle, low = place(row.difference), place(row.difference if row.difference_low is None else row.difference_low)
    high = place(row.difference if row.difference_high is None else row.difference_high)
    return (
        f'<svg class="interval {_class(row.verdict)}" width="{width}" height="{height}" viewBox="0 0 {width} {height}" aria-hidden="true">'
        f'<line x1="{width / 2}" x2="{width / 2}" y1="0" y2="{height}" stroke="currentColor" opacity=".5"/>'
        f'<line x1="{low}" x2="{high}" y1="{height / 2}" y2="{height / 2}" stroke="currentColor" stroke-width="2"/>'
        f'<circle cx="{middle}" cy="{height / 2}" r="3.4" fill="currentColor"/></svg>'
    )


def failures(records: Iterable[Mapping[str, Any]]) -> str:
    """The runs that gave no result, and why; empty if all did."""
    rows = [
        f'<tr><th scope="row"><code>{text(r["activation"])}</code></th><td>{text(r["seed"])}</td><td class="text">{text(r["status"])}</td>'
        f'<td class="text">{text(r.get("error") or "")}</td></tr>'
        for r in records
        if r["status"] != "ok"
    ]
    if not rows:
        return ""
    head = "".join(
        f'<th scope="col"{kind}>{name}</th>' for name, kind in (("activation", ""), ("seed", ""), ("what", WORDS), ("why", WORDS))
    )
    lead = "Kept in the results and counted in the table; they are not run again unless their line in results.jsonl is removed."
    return (
        f'<section aria-labelledby="failed"><h2 id="failed">Runs without a result</h2><p class="lead">{lead}</p>'
        '<div class="scroll" role="region" aria-label="Table of runs without a result, may scroll sideways" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )
