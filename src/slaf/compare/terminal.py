"""The comparison as text for a terminal."""

from __future__ import annotations

from typing import Any

from .plan import Plan
from .table import Comparison
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

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("activation", overflow="fold")
    versus = f"− {comparison.reference}"
    for heading in ("runs", f"mean {comparison.metric}", "worst", versus, "95 % interval", "", "params", "of them act.", "s"):
        table.add_column(heading if heading != versus else escape(versus), justify="right", overflow="fold")
    for row in comparison.rows:
        bad = row.non_finite + row.failed
        table.add_row(
            escape(row.activation),
            f"{len(row.values)}" + (f" [red](+{bad} broken)[/]" if bad else " (n/a)" if row.not_applicable else ""),
            quantity(comparison.metric, row.mean),
            quantity(comparison.metric, row.worst),
            points(comparison.metric, row.difference),
            f"{points(comparison.metric, row.difference_low)} … {points(comparison.metric, row.difference_high)}"
            if row.difference_low is not None
            else "",
            {"better": "[green]better[/]", "worse": "[red]worse[/]"}.get(row.verdict, "" if row.verdict == "no data" else row.verdict),
            "" if row.params is None else f"{row.params:,}",
            "" if row.activation_params is None else f"{row.activation_params:,}",
            "" if row.seconds is None else f"{row.seconds:.1f}",
        )
    for name in plan.activations if plan else ():
        if comparison.row(name) is None:
            table.add_row(f"[dim]{escape(name)}[/]", "[dim]…[/]", *[""] * 8)
    return table
