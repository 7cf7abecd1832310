"""The report's parts as HTML. Every string that came from outside goes through ``text``."""

from __future__ import annotations

import base64
import html
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .table import Comparison, Row
from .words import SHARES, points, quantity

__all__ = ["command", "failures", "figure", "formula_html", "how", "table", "text"]


WORDS = ' class="text"'
VERDICT = "“better” or “worse” is said only if the interval of the paired difference excludes 0 and, with up to 3 seeds, all seeds agree"


def text(value: object) -> str:
    """``value`` as HTML text, safe in attributes too."""
    return html.escape(str(value), quote=True)


def figure(png: bytes, alt: str, caption: str = "") -> str:
    """An image inside the page. ``alt`` is plain text, ``caption`` is HTML."""
    data = base64.b64encode(png).decode()
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><img src="data:image/png;base64,{data}" alt="{text(alt)}" loading="lazy">{below}</figure>'


def formula_html(formula: str) -> str:
    """``0.5*x + 0.2*x**2`` with raised exponents and without stars."""
    out = text(formula.replace(">=", "≥").replace("<=", "≤"))
    out = re.sub(r"\*\*(\d+(?:\.\d+)?)", r"<sup>\1</sup>", out)
    out = re.sub(r"\*\*\((-[\d./]+)\)", r"<sup>\1</sup>", out)
    out = re.sub(r"(\d)e([+-]?)0*(\d+)", r"\1·10<sup>\2\3</sup>", out).replace("<sup>+", "<sup>")
    out = out.replace("*", "\u202f").replace("- ", "− ").replace("<sup>-", "<sup>−")
    out = re.sub(r"^-", "−", out)
    return re.sub(r"(?<![A-Za-z_#])x(?![A-Za-z_])", "<i>x</i>", out)


def table(comparison: Comparison, color: Mapping[str, str]) -> str:
    """The sortable table."""
    metric = comparison.metric
    best_first = "descending" if comparison.direction == "max" else "ascending"
    unit = ", points" if metric in SHARES else ""
    headings = (
        ("activation", "ascending"),
        (f"mean {metric}", best_first),
        ("worst seed", best_first),
        (f"− {comparison.reference}{unit}", best_first),
        ("", None),
        ("verdict", "ascending"),
        ("parameters", "ascending"),
        ("of them in activations", "ascending"),
        ("training, s", "ascending"),
    )
    broken = any(r.non_finite + r.failed for r in comparison.rows)
    head = "".join(_heading(*h) for h in headings) + (_heading("broken runs", "descending") if broken else "")
    span = _span(comparison.rows)
    rows = "\n".join(_table_row(comparison, row, color, span, broken) for row in comparison.rows)
    return f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'


def _heading(label: str, first: str | None) -> str:
    return f'<th scope="col" data-first="{first}"><button type="button">{text(label)}</button></th>' if first else '<th scope="col"></th>'


def _table_row(comparison: Comparison, row: Row, color: Mapping[str, str], span: float, with_broken: bool) -> str:
    metric = comparison.metric
    broken = row.non_finite + row.failed
    why = ", ".join(f"{n} {what}" for n, what in ((row.non_finite, "not finite"), (row.failed, "failed")) if n)
    verdict = "n/a" if row.not_applicable == row.runs else row.verdict
    cells: list[tuple[Any, str]] = [
        (row.activation, _name(row.activation, color[row.activation])),
        (row.mean, text(quantity(metric, row.mean))),
        (row.worst, text(quantity(metric, row.worst))),
        (row.difference, text(points(metric, row.difference)) + _range(metric, row)),
        (None, _interval(row, span)),
        (verdict, f'<span class="{text(verdict.split("/")[0].split(" ")[0])}">{text(verdict)}</span>'),
        (row.params, "—" if row.params is None else f"{row.params:,}"),
        (row.activation_params, "—" if row.activation_params is None else f"{row.activation_params:,}"),
        (row.seconds, "—" if row.seconds is None else f"{row.seconds:.1f}"),
    ]
    if with_broken:
        cells.append((broken, f"{broken} of {row.runs} ({why})" if broken else f"0 of {row.runs}"))
    inner = "".join(f'<td data-value="{"" if value is None else text(value)}">{shown}</td>' for value, shown in cells)
    return f"<tr>{inner}</tr>"


def _name(activation: str, shade: str) -> str:
    return f'<span class="name"><span class="dot" style="background:{text(shade)}"></span><code>{text(activation)}</code></span>'


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
        f'<svg class="interval {text(row.verdict)}" width="{width}" height="{height}" viewBox="0 0 {width} {height}" aria-hidden="true">'
        f'<line x1="{width / 2}" x2="{width / 2}" y1="0" y2="{height}" stroke="currentColor" opacity=".3"/>'
        f'<line x1="{low}" x2="{high}" y1="{height / 2}" y2="{height / 2}" stroke="currentColor" stroke-width="2"/>'
        f'<circle cx="{middle}" cy="{height / 2}" r="3.4" fill="currentColor"/></svg>'
    )


def command(fixed: Mapping[str, Any], view: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    """The command line that gives these results."""
    activations = list(dict.fromkeys(r["activation"] for r in records if r["activation"] != "identity" or not view["identity"]))
    seeds = {r["seed"] for r in records}
    words = ["slaf", "compare", fixed["study"].replace("_", "-"), "-a", ",".join(activations), "--seeds", str(max(seeds, default=0) + 1)]
    words += ["--budget", fixed["budget"], "--threads", str(fixed["threads"]), "--reference", view["reference"]]
    words += [] if view["identity"] else ["--no-identity"]
    words += [] if fixed["variance_match"] else ["--no-variance-match"]
    for name in view["changed"]:
        words += ["-o", f"{name}={_option(fixed['settings'].get(name))}"]
    for module in view["modules"]:
        words += ["--import", module]
    return shlex.join(words)


def _option(value: Any) -> str:
    if isinstance(value, list):
        return "(" + ", ".join(map(_option, value)) + ("," if len(value) == 1 else "") + ")"
    return str(value).lower() if isinstance(value, bool) else str(value)


def how(fixed: Mapping[str, Any], view: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    """How it was run: everything a reader needs to run it again or to doubt it."""
    normalised = dict.fromkeys(r["activation"] for r in records if r.get("variance_matched") is False)
    versions = dict.fromkeys(f"{name} {v}" for r in records for name, v in r.get("versions", {}).items())
    seconds = sum(r["cost"].get("seconds", 0.0) for r in records)
    sizes = ", ".join(f"{name} {_option(value)}" for name, value in fixed["settings"].items())
    if not fixed["variance_match"]:
        matching = "switched off for all"
    else:
        matching = "the weights that read an activation are divided by √E f(z)², z ~ N(0, 1)"
        if normalised:
            names = ", ".join(f"<code>{text(n)}</code>" for n in normalised)
            matching += f"; not for {names}, which normalise by themselves or have no such number"
    entries = (
        ("Source", text(view["source"])),
        ("Command", f"<pre><code>{text(command(fixed, view, records))}</code></pre>"),
        ("Budget", f"{text(fixed['budget'])}: {text(sizes)}"),
        ("Seeds", text(", ".join(str(s) for s in sorted({r["seed"] for r in records})))),
        ("Pairing", "with one seed, all activations get the same data, the same linear weights before matching, and the same batches"),
        ("First weights", matching),
        ("Intervals", f"95 % bootstrap over seeds; {VERDICT}"),
        ("Threads per trial", text(fixed["threads"])),
        ("Time of all trials", f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"),
        ("Versions", text(", ".join(versions))),
    )  # fmt: skip
    return "<dl>" + "\n".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in entries) + "</dl>"


def failures(records: Iterable[Mapping[str, Any]]) -> str:
    """The runs that gave no result, and why; empty if all did."""
    rows = [
        f'<tr><td><code>{text(r["activation"])}</code></td><td>{text(r["seed"])}</td><td class="text">{text(r["status"])}</td>'
        f'<td class="text">{text(r.get("error") or "")}</td></tr>'
        for r in records
        if r["status"] != "ok"
    ]
    if not rows:
        return ""
    head = "".join(
        f'<th scope="col"{kind}>{name}</th>' for name, kind in (("activation", ""), ("seed", ""), ("what", WORDS), ("why", WORDS))
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
