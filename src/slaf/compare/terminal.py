"""The comparison as text for a terminal."""

from __future__ import annotations

from typing import Any

from .plan import Plan
from .table import Comparison, Row
from .words import evidence, headline, points, quantity

__all__ = ["as_text", "rich_table", "show"]


def as_text(comparison: Comparison) -> str:
    """The table in plain text, for a prompt and for logs."""
    cells = [["activation", *_headings(comparison)], *([_plain(c) for c in _cells(comparison, row)] for row in comparison.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))) for row in cells]
    return "\n".join([_title(comparison), *(line.rstrip() for line in lines), *comparison.notes])


def _plain(cell: str) -> str:
    from rich.text import Text

    return Text.from_markup(cell).plain


def _headings(comparison: Comparison) -> list[str]:
    rates = ["× lr"] if _swept(comparison) else []
    return ["mean", "worst", "difference", "interval", "", *rates, "params", "act.", "s"]


def _swept(comparison: Comparison) -> bool:
    return len({r.get("lr_factor", 1.0) for r in comparison.records}) > 1


def _title(comparison: Comparison) -> str:
    most = max((r.runs for r in comparison.rows), default=0)
    return f"{comparison.metric} over {most} seed{'s' if most != 1 else ''}, differences to {comparison.reference} with 95 % intervals"


def show(comparison: Comparison) -> None:
    """Print the table and what it says to standard output."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a file or a pipe has no width of its own, and the table needs more than the 80 assumed
    console.print(rich_table(comparison))
    for sentence in (headline(comparison, comparison.title), evidence(comparison), *comparison.notes):
        if sentence:
            console.print(sentence, markup=False, highlight=False)


def rich_table(comparison: Comparison, plan: Plan | None = None) -> Any:
    """The comparison as a table for the terminal; activations of ``plan`` without a result yet are listed last."""
    from rich.markup import escape
    from rich.table import Table

    title = escape(_title(comparison))
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left")
    table.add_column("activation", overflow="fold", min_width=10)
    for heading in _headings(comparison):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in comparison.rows:
        table.add_row(*_cells(comparison, row))
    for name in plan.activations if plan else ():
        if comparison.row(name) is None:
            table.add_row(f"[dim]{escape(name)} …[/]")
    return table


def _cells(comparison: Comparison, row: Row) -> list[str]:
    from rich.markup import escape

    metric = comparison.metric
    bad = row.non_finite + row.failed
    broken = f" [red]({bad} of {row.runs} broken)[/]" if bad else " (n/a)" if row.not_applicable else ""
    interval = f"{points(metric, row.difference_low)} … {points(metric, row.difference_high)}" if row.difference_low is not None else ""
    verdict = {"better": "[green]better[/]", "worse": "[red]worse[/]", "no data": ""}.get(row.verdict, row.verdict)
    return [
        escape(row.activation) + broken,
        quantity(metric, row.mean),
        quantity(metric, row.worst),
        points(metric, row.difference),
        interval,
        verdict,
        *([f"{row.lr_factor:.2g}"] if _swept(comparison) else []),
        "" if row.params is None else f"{row.params:,}",
        "" if row.activation_params is None else f"{row.activation_params:,}",
        "" if row.seconds is None else f"{row.seconds:.1f}",
    ]
