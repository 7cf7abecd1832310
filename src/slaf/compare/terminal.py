"""The comparison as text for a terminal."""

from __future__ import annotations

from typing import Any

from .plan import Plan
from .table import Comparison, Row
from .words import evidence, headline, points, quantity

__all__ = ["rich_table", "show"]


def show(comparison: Comparison, title: str) -> None:
    """Print the table and what it says to standard output."""
    from rich.console import Console

    console = Console()
    console.print(rich_table(comparison))
    for sentence in (headline(comparison, title), evidence(comparison), *comparison.notes):
        if sentence:
            console.print(sentence, markup=False, highlight=False)


def rich_table(comparison: Comparison, plan: Plan | None = None) -> Any:
    """The comparison as a table for the terminal; activations of ``plan`` without a result yet are listed last."""
    from rich.markup import escape
    from rich.table import Table

    most = max((r.runs for r in comparison.rows), default=0)
    title = f"{comparison.metric} over {most} seed{'s' if most != 1 else ''}, differences to {comparison.reference} with 95 % intervals"
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0), title=escape(title), title_justify="left")
    table.add_column("activation", overflow="fold", min_width=10)
    for heading in ("mean", "worst", "difference", "interval", "", "params", "act.", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in comparison.rows:
        table.add_row(*_cells(comparison.metric, row))
    for name in plan.activations if plan else ():
        if comparison.row(name) is None:
            table.add_row(f"[dim]{escape(name)} …[/]")
    return table


def _cells(metric: str, row: Row) -> list[str]:
    from rich.markup import escape

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
        "" if row.params is None else f"{row.params:,}",
        "" if row.activation_params is None else f"{row.activation_params:,}",
        "" if row.seconds is None else f"{row.seconds:.1f}",
    ]
