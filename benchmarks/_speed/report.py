"""The tables as text."""

from __future__ import annotations

from typing import Any

__all__ = ["goals_missed", "network_text", "table_text"]

LABELS = {
    "relu": "× ReLU",
    "gelu": "× GELU",
    "bn_relu": "× BN+ReLU",
    "bn_gelu": "× BN+GELU",
    "float32": "× float32",
    "overhead": "× ReLU without kernels",
    "prelu_torch": "× nn.PReLU",
    "saved": "saved",
    "error": "error × GELU's",
}


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def cell(values: list[float]) -> str:
    """A median and its interval."""
    middle, low, high = values
    return f"{number(middle)} ({number(low)}–{number(high)})"


def table_text(table: dict[str, Any], goals_too: bool = True) -> str:
    """A table: time, ratios with their intervals, bytes kept for backward; ✓ or ✗ where there is a goal."""
    keys = list(dict.fromkeys(k for row in table["rows"] for k in row.get("ratio", {}) if k != "prelu_torch"))
    shape = "×".join(map(str, table["shape"]))
    threads = f"{table['threads']} thread{'s' if table['threads'] > 1 else ''}"
    title = f"{table['title']} ({shape}{', channels-last' if table['channels_last'] else ''}), {threads}, {table['clock']} time"
    allocators = {row.get("allocator", "warm") for row in table["rows"]}
    halves = any("relative_error" in row for row in table["rows"])
    head = ["", "ms", *(LABELS[k] for k in keys), "saved", *(["error"] if halves else []), "goal" if goals_too else ""]
    lines = [head]
    for row in table["rows"]:
        name = row["title"] + (f" [{row['allocator']} allocator]" if len(allocators) > 1 else "")
        if "note" in row:
            lines.append([name, row["note"]])
            continue
        cells = [name, number(row["milliseconds"][0]), *(cell(row["ratio"][k]) if k in row["ratio"] else "" for k in keys)]
        cells.append(number(row["saved"]) if "saved" in row else "")
        if halves:
            cells.append(f"{row['relative_error']:.4f}")
        lines.append([*cells, goals_text(row) if goals_too else ""])
    widths = [max(len(line[n]) for line in lines if n < len(line) and (len(line) > 2 or n == 0)) for n in range(len(head))]
    texts = ["  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=False))]) for line in lines]
    return "\n".join([title, *(text.rstrip() for text in texts)])


def goals(row: dict[str, Any]) -> list[tuple[str, float, float]]:
    """(what it is compared with, the goal, what was measured) for a row that has goals."""
    found = {key: values[0] for key, values in row.get("ratio", {}).items()} | {k: row[k] for k in ("saved", "error") if k in row}
    return [(key, limit, found[key]) for key, limit in row["goals"].items() if key in found]


def met(key: str, limit: float, value: float) -> bool:
    """Ratios of times as measured; bytes and errors to 1 %: a few small tensors more are no tensor more."""
    return value <= (1.01 if key in ("saved", "error") else 1) * limit


def goals_text(row: dict[str, Any]) -> str:
    """Every goal of a row, and whether it is met."""
    words = []
    for key, limit, value in goals(row):
        words.append(f"{'✓' if met(key, limit, value) else '✗'} {LABELS[key]} ≤ {limit:g}")
    return ", ".join(words)


def goals_missed(tables: list[dict[str, Any]]) -> tuple[int, int]:
    """(goals missed, goals) over all tables."""
    every = [one for t in tables for row in t["rows"] for one in goals(row)]
    return sum(not met(*one) for one in every), len(every)


def network_text(found: dict[str, Any]) -> str:
    """The line about training a network."""
    own, other = found["seconds"]
    return (
        f"One epoch of a small convolutional network, {found['images']} images ({found['data']}), {found['threads']} thread(s): "
        f"{found['own']} {own:.1f} s, {found['other']} {other:.1f} s, a batch {cell(found['ratio'])} × (goal: ≤ 1); "
        f"accuracy while training {found['accuracy_while_training'][0]:.3f} and {found['accuracy_while_training'][1]:.3f}"
    )
