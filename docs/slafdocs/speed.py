"""docs/speed.json as tables and a picture: what activations cost, and which goals are missed."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable
from typing import Any

from .contract import load

__all__ = ["makers", "picture", "table"]

LABELS = {
    "relu": "× ReLU",
    "gelu": "× GELU",
    "bn_relu": "× BN + ReLU",
    "bn_gelu": "× BN + GELU",
    "float32": "× float32",
    "overhead": "× ReLU without kernels",
    "prelu_torch": "× nn.PReLU",
    "saved": "saved",
    "error": "error × GELU's",
}
_HALVES = ("bf16", "bf16_2d", "bf16_channels_last")
COLUMNS = {"normalised": ("bn_relu", "bn_gelu"), "small": ("relu", "overhead")} | dict.fromkeys(_HALVES, ("float32", "gelu"))
_SLAF = re.compile(r"slaf\(basis=(?P<basis>\w+), degree=(?P<k>\d), share=channel, normalize=(?P<norm>\w+)(?P<identity>, input=identity)?\)")
_NOT_RUN = "<p>Not run yet: <code>python benchmarks/speed.py --json docs/speed.json</code></p>"


def makers() -> dict[str, Callable[[], str]]:
    """What ``<!-- slaf: speed_… -->`` can ask for."""
    found = load("speed.json")
    names = ("4d", "2d", "channels_last", "small", "normalised", *_HALVES, "large", "peers")
    own: dict[str, Callable[[], str]] = {f"speed_{n}": lambda n=n: table(found, n) for n in names}  # type: ignore[misc]
    other: dict[str, Callable[[dict[str, Any]], str]] = {
        "speed_about": about,
        "speed_missed": missed,
        "speed_network": network,
        "speed_picture": picture,
    }
    return own | {name: lambda make=make: make(found) if found else _NOT_RUN for name, make in other.items()}  # type: ignore[misc]


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _chosen(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return sorted((t for t in found.get("tables", ()) if t["name"] == name), key=lambda t: t["threads"])


def _goals(row: dict[str, Any]) -> list[tuple[str, float, float]]:
    """(what it is compared with, the goal, what was measured)."""
    measured = {key: values[0] for key, values in row.get("ratio", {}).items()} | {k: row[k] for k in ("saved", "error") if k in row}
    return [(key, limit, measured[key]) for key, limit in row.get("goals", {}).items() if key in measured]


def _met(key: str, limit: float, value: float) -> bool:
    return value <= (1.01 if key in ("saved", "error") else 1) * limit


def _threads(table: dict[str, Any]) -> str:
    return f"{table['threads']} thread{'s' if table['threads'] > 1 else ''}"


def table(found: dict[str, Any], name: str) -> str:
    """One line an activation: milliseconds, ratios by number of threads with their intervals, bytes kept for backward, goals."""
    chosen = _chosen(found, name)
    if not chosen:
        return _NOT_RUN
    keys = COLUMNS.get(name, ("relu", "gelu"))
    heads = ["", "ms", *(f"{LABELS[k]}, {_threads(t)}" for k in keys for t in chosen), "saved"]
    heads += ["error"] if name in _HALVES else []
    allocators = {row.get("allocator", "warm") for row in chosen[0]["rows"]}
    heads[1:1] = ["allocator"] if len(allocators) > 1 else []
    lines = []
    for place, row in enumerate(chosen[0]["rows"]):
        every = [t["rows"][place] for t in chosen]
        first = f"<th><code>{html.escape(row['title'])}</code></th>" if _ours(row) else f"<th>{html.escape(row['title'])}</th>"
        if "note" in row:
            lines.append(f'{first}<td colspan="{len(heads) - 1}">{html.escape(row["note"])}</td>')
            continue
        cells = [row["allocator"]] if len(allocators) > 1 else []
        cells.append(_number(row["milliseconds"][0]))
        cells += [_ratio(r, key) for key in keys for r in every]
        cells.append(_mark(row, "saved", _number(row["saved"])) if "saved" in row else "")
        cells += [_mark(row, "error", f"{row['relative_error']:.4f}")] if name in _HALVES else []
        lines.append(first + "".join(f'<td style="white-space: nowrap">{cell}</td>' for cell in cells))
    shape = "×".join(map(str, chosen[0]["shape"]))
    caption = f"{chosen[0]['title']}: {shape}{', channels-last' if chosen[0]['channels_last'] else ''}"
    head = "".join(f"<th>{h}</th>" for h in heads)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="slaf-wide"><table><caption>{caption}</caption>\n<tr>{head}</tr>\n{body}\n</table></div>'


def _ours(row: dict[str, Any]) -> bool:
    return not row["title"].startswith(("nn.", "copy", "BatchNorm", "Σ")) and ":" not in row["title"]


def _ratio(row: dict[str, Any], key: str) -> str:
    if key not in row.get("ratio", {}):
        return ""
    middle, low, high = row["ratio"][key]
    return f'<span title="95 % interval: {_number(low)} to {_number(high)}">{_mark(row, key, _number(middle))}</span>'


def _mark(row: dict[str, Any], key: str, text: str) -> str:
    """With the goal beside it, where there is one."""
    for own, limit, value in _goals(row):
        if own == key:
            return f"{text} ({'✓' if _met(key, limit, value) else '✗'} ≤ {limit:g})"
    return text


def about(found: dict[str, Any]) -> str:
    """Machine, date, versions, what ran."""
    words = (
        f"Measured on {found['date']} on {found['machine']} ({found['cores']} cores), torch {found['torch']}, Python {found['python']}, "
        f"slaf {found['slaf']} at commit {found['commit'] or 'unknown'}, by <code>{html.escape(found['command'])}</code>."
    )
    return f"<p>{words} What ran: {html.escape(found['backend'])}.</p>"


def network(found: dict[str, Any]) -> str:
    """The sentences about training a network."""
    lines = []
    for n in found.get("network", ()):
        middle, low, high = n["ratio"]
        lines.append(
            f"<li>{_threads(n)}, {n['images']:,} images ({n['data']}): {n['seconds'][0]:.1f} s and {n['seconds'][1]:.1f} s an epoch, "
            f"{_number(middle)} × a batch ({_number(low)} to {_number(high)}; the goal is 1).</li>"
        )
    return f"<ul>{''.join(lines)}</ul>" if lines else _NOT_RUN


def missed(found: dict[str, Any]) -> str:
    """Every goal that was missed, and how many were met."""
    lines, count = [], 0
    for t in found["tables"]:
        for row in t["rows"]:
            goals = _goals(row)
            count += len(goals)
            over = [f"{LABELS[key]} {_number(v)}, goal {limit:g}" for key, limit, v in goals if not _met(key, limit, v)]
            if over:
                words = f"{t['title'].partition(':')[0]}, {_threads(t)}: <code>{html.escape(row['title'])}</code>: {'; '.join(over)}"
                lines.append((len(over), f"<li>{words}</li>"))
    over = sum(n for n, _ in lines)
    if not lines:
        return f"<p>All {count} goals are met.</p>"
    return (
        f"<p>{count - over} of {count} goals are met.</p>\n<details><summary>The {over} that are missed</summary><ul>"
        + "\n".join(text for _, text in lines)
        + "</ul></details>"
    )


# -- the picture -----------------------------------------------------------------------------------------------------------------


def _short(row: dict[str, Any]) -> str:
    match = _SLAF.fullmatch(row["title"])
    if match is None:
        return row["title"]
    after = "" if match["identity"] else ", standardised"
    return f"slaf: {match['basis']}, degree {match['k']}{after}"


def picture(found: dict[str, Any], name: str = "4d") -> str:
    """Ratios to ReLU on a logarithmic axis, a dot with its interval for each number of threads."""
    chosen = _chosen(found, name)
    if not chosen:
        return _NOT_RUN
    rows = [[t["rows"][n] for t in chosen] for n in range(len(chosen[0]["rows"]))]
    values = [v for r in rows for one in r for v in one["ratio"]["relu"]]
    low, high = min(0.5, *values), max(2.0, *values)
    left, width, step = 230, 700, 18
    bottom = 30 + step * len(rows)

    def across(value: float) -> float:
        return left + (width - left - 10) * math.log(value / low) / math.log(high / low)

    parts = []
    for tick in (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        if low <= tick <= high:
            color = "var(--slaf-ink)" if tick == 1 else "var(--slaf-line)"
            parts.append(f'<path d="M{across(tick):.1f} 22V{bottom}" stroke="{color}" stroke-width="1"/>')
            parts.append(f'<text x="{across(tick):.1f}" y="14" text-anchor="middle">{tick:g}</text>')
    for place, every in enumerate(rows):
        y = 30 + step * (place + 0.5)
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{html.escape(_short(every[0]))}</text>')
        limit = every[0].get("goals", {}).get("relu")
        if limit is not None:
            x = across(limit)
            parts.append(f'<path d="M{x:.1f} {y - 7:.1f}v14" stroke="var(--slaf-good)" stroke-width="3"/>')
        for n, one in enumerate(every):
            middle, first, last = one["ratio"]["relu"]
            color, at = ("var(--slaf-f)", "var(--slaf-f1)")[n % 2], y + (3 if n else -3) * (len(every) > 1)
            words = f"{_threads(chosen[n])}: {_number(middle)} ({_number(first)} to {_number(last)})"
            parts.append(f'<path d="M{across(first):.1f} {at:.1f}H{across(last):.1f}" stroke="{color}" stroke-width="2"/>')
            parts.append(f'<circle cx="{across(middle):.1f}" cy="{at:.1f}" r="3.5" fill="{color}"><title>{words}</title></circle>')
    label = "Time of forward and backward over nn.ReLU's, logarithmic"
    style = 'style="font-size: 11px; fill: var(--slaf-ink)"'
    inside = "".join(parts)
    key = "Blue: one thread; orange: two threads; green bar: the goal. " if len(chosen) > 1 else "Green bar: the goal. "
    svg = f'<svg class="slaf-plot" role="img" aria-label="{label}" viewBox="0 0 {width} {bottom + 4}" {style}>{inside}</svg>'
    return f'<figure style="width: 100%">{svg}<figcaption>{label}. {key}The numbers are in the table below.</figcaption></figure>'
