"""A comparison in a notebook: its table and its pictures, as HTML without style or script."""

from __future__ import annotations

import base64
import html
import importlib.util

from .table import Comparison, Row
from .words import evidence, headline, points, quantity

__all__ = ["as_html"]


def as_html(comparison: Comparison) -> str:
    """Headline, table, every seed's result, and what was learned at each site of the first seed."""
    head = "".join(f"<th>{_text(h)}</th>" for h in ("activation", comparison.metric, "worst", _against(comparison), "", "parameters", "s"))
    body = "".join(_row(comparison, row) for row in comparison.rows)
    said = " ".join(s for s in (evidence(comparison), *comparison.notes) if s)
    pictures = "".join(_image(png, alt) for png, alt in _pictures(comparison))
    return (
        f"<p><b>{_text(headline(comparison, comparison.title))}</b> {_text(said)}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{pictures}"
    )


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)


def _against(comparison: Comparison) -> str:
    return f"− {comparison.reference}"


def _row(comparison: Comparison, row: Row) -> str:
    metric = comparison.metric
    interval = f" ({points(metric, row.difference_low)} … {points(metric, row.difference_high)})" if row.difference_low is not None else ""
    cells = (
        row.activation,
        quantity(metric, row.mean),
        quantity(metric, row.worst),
        points(metric, row.difference) + interval,
        row.verdict,
        "—" if row.params is None else f"{row.params:,}",
        "—" if row.seconds is None else f"{row.seconds:.1f}",
    )
    return "<tr>" + "".join(f"<td>{_text(c)}</td>" for c in cells) + "</tr>"


def _pictures(comparison: Comparison) -> list[tuple[bytes, str]]:
    if importlib.util.find_spec("matplotlib") is None:
        return []
    from .figures import colors, draw_learned, draw_metric

    color = colors(list(dict.fromkeys(r["activation"] for r in comparison.records)))
    dots = draw_metric(comparison, color)
    found = [(dots, f"{comparison.metric} of every seed")] if dots else []
    first = min((r["seed"] for r in comparison.records), default=0)
    for record in comparison.shown:
        if record["seed"] == first:
            found += [(draw_learned(s, color[record["activation"]]), f"{record['activation']} at {s['site']}") for s in record["learned"]]
    return found[:12]


def _image(png: bytes, alt: str) -> str:
    data = base64.b64encode(png).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{_text(alt)}" title="{_text(alt)}" style="max-width: 24em; background: white">'
