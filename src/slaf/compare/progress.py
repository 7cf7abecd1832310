"""What a person sees while a comparison runs: a bar with the time left, the trials at work, and a table that fills."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import IO, Any

from slaf.core import SlafError

from .plan import Plan, Trial, find_study
from .run import Event
from .table import Comparison, tabulate
from .words import points, quantity

__all__ = ["Lines", "Live", "watch"]


def watch(plan: Plan, total: int, stream: IO[str] | None = None) -> Lines:
    """A progress display for ``plan``: live on a terminal, plain lines elsewhere. Use it as a context manager and as ``on_event``."""
    try:
        from rich.console import Console
    except ImportError:
        raise SlafError('progress is shown with rich, which is not installed: pip install "slaf[compare]"') from None
    console = Console(file=stream or sys.stderr)
    return Live(plan, total, console) if console.is_terminal else Lines(plan, total, stream or sys.stderr)


class Lines:
    """One plain line per finished trial, for logs and pipes."""

    def __init__(self, plan: Plan, total: int, stream: IO[str]) -> None:
        study = find_study(plan.study)
        self.plan, self.total, self.stream = plan, total, stream
        self.metric, self.direction = study.primary, study.direction
        self.records: list[dict[str, Any]] = []
        self.stored = 0
        self.started = time.monotonic()

    def __call__(self, event: Event) -> None:
        if event.record is None:
            return
        self.records.append(event.record)
        if event.kind == "stored":
            self.stored += 1
            return
        width = len(str(self.total))
        seconds = event.record["cost"]["seconds"]
        line = f"[{len(self.records):>{width}}/{self.total}] {event.trial.activation} seed {event.trial.seed}: {self.outcome(event.record)}"
        print(f"{line} ({seconds:.1f} s)", file=self.stream, flush=True)

    def outcome(self, record: dict[str, Any]) -> str:
        """One trial's result in a few words."""
        value = record["metrics"].get(self.metric)
        if record["status"] == "ok" and value is not None:
            return f"{self.metric} {quantity(self.metric, value)}"
        return f"{record['status']}: {record['error']}"

    def table(self) -> Comparison:
        """The comparison as far as it goes."""
        return tabulate(self.records, self.metric, self.direction, self.plan.reference)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


class Live(Lines):
    """The same on a terminal, drawn by rich several times a second."""

    def __init__(self, plan: Plan, total: int, console: Any) -> None:
        from rich.live import Live as RichLive
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        super().__init__(plan, total, console.file)
        self.console = console
        self.overall = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )
        self.whole = self.overall.add_task(f"{plan.study} · {plan.budget}", total=total)
        self.trials = Progress(
            TextColumn("  {task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[note]}"), console=console
        )
        self.tasks: dict[str, Any] = {}
        self.live = RichLive(console=console, get_renderable=self.draw, refresh_per_second=5, transient=True)

    def __enter__(self) -> Live:
        self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.live.stop()

    def __call__(self, event: Event) -> None:
        if event.record is not None:
            self.records.append(event.record)
            self.overall.advance(self.whole)
            self.forget(event.trial)
            if event.kind == "done" and event.record["status"] != "ok":
                from rich.markup import escape

                self.live.console.print(escape(f"{event.trial.activation} seed {event.trial.seed}: {self.outcome(event.record)}"))
            return
        task = self.tasks.get(event.trial.key)
        if task is None:
            from rich.markup import escape

            label = escape(f"{event.trial.activation} seed {event.trial.seed}")
            task = self.tasks[event.trial.key] = self.trials.add_task(label, total=None, note="")
        if event.total:
            note = f"epoch {event.done}/{event.total}" + (f"  loss {event.loss:.3g}" if event.loss is not None else "")
            self.trials.update(task, completed=event.done, total=event.total, note=note)

    def forget(self, trial: Trial) -> None:
        task = self.tasks.pop(trial.key, None)
        if task is not None:
            self.trials.remove_task(task)

    def draw(self) -> Any:
        """Everything, from top to bottom."""
        from rich.console import Group

        return Group(self.overall, self.trials, rich_table(self.table(), self.plan) if self.records else "")


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
