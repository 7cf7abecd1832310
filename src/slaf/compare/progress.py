"""What a person sees while a comparison runs: a bar with the time left, the trials at work, and a table that fills."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import IO, Any

from slaf.core import SlafError

from .plan import Plan, Trial
from .run import Event
from .table import Comparison, tabulate
from .terminal import rich_table
from .words import quantity

__all__ = ["Lines", "Live", "watch"]


def watch(plan: Plan, stream: IO[str] | None = None) -> Lines:
    """A progress display for ``plan``: live on a terminal, plain lines elsewhere. Use it as a context manager and as ``on_event``."""
    try:
        from rich.console import Console
    except ImportError:
        raise SlafError('progress is shown with rich, which is not installed: pip install "slaf[compare]"') from None
    console = Console(file=stream or sys.stderr)
    return Live(plan, console) if console.is_terminal else Lines(plan, stream or sys.stderr)


def label(trial: Trial) -> str:
    """What tells a trial from the others of its comparison."""
    rate = f", {trial.lr_factor:.2g} × lr" if trial.lr_factor != 1 else ""
    return f"{trial.activation} seed {trial.seed}{rate}"


class Lines:
    """One plain line per finished trial, for logs and pipes."""

    def __init__(self, plan: Plan, stream: IO[str]) -> None:
        view = plan.view()
        self.plan, self.stream = plan, stream
        self.total = len(plan.seeds) * len(plan.activations) * len(plan.lr_factors)
        self.metric, self.direction = view["primary"], view["direction"]
        self.records: list[dict[str, Any]] = []
        self.begun = False

    def __call__(self, event: Event) -> None:
        if not self.begun:
            self.begun = True
            self.begin()
        if event.note:
            print(event.note, file=self.stream, flush=True)
        if event.record is None:
            return
        self.records.append(event.record)
        if event.kind == "stored":
            return
        width = len(str(self.total))
        seconds = event.record["cost"]["seconds"]
        line = f"[{len(self.records):>{width}}/{self.total}] {label(event.trial)}: {self.outcome(event.record)}"
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

    def begin(self) -> None:
        """Say what is to come: at the first event, for until then the folder may still be refused."""
        sizes = f"{len(self.plan.activations)} activations × {len(self.plan.seeds)} seeds"
        sizes += f" × {len(self.plan.lr_factors)} learning rates" if len(self.plan.lr_factors) > 1 else ""
        print(f"{self.plan.study}, budget {self.plan.budget}: {sizes} = {self.total} trials", file=self.stream, flush=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


class Live(Lines):
    """The same on a terminal, drawn by rich several times a second."""

    def __init__(self, plan: Plan, console: Any) -> None:
        from rich.live import Live as RichLive
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        super().__init__(plan, console.file)
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
        self.whole = self.overall.add_task(f"{plan.study} · {plan.budget}", total=self.total)
        self.trials = Progress(
            TextColumn("  {task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[note]}"), console=console
        )
        self.tasks: dict[str, Any] = {}
        self.drawn = 0
        self.shown: Any = ""
        self.live = RichLive(console=console, get_renderable=self.draw, refresh_per_second=5, transient=True)

    def __enter__(self) -> Live:
        self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.live.stop()

    def __call__(self, event: Event) -> None:
        if event.note:
            from rich.markup import escape

            self.live.console.print(escape(event.note))
            return
        if event.record is not None:
            self.records.append(event.record)
            self.overall.advance(self.whole)
            self.forget(event.trial)
            if event.kind == "done" and event.record["status"] != "ok":
                from rich.markup import escape

                self.live.console.print(escape(f"{label(event.trial)}: {self.outcome(event.record)}"))
            return
        task = self.tasks.get(event.trial.key)
        if task is None:
            from rich.markup import escape

            task = self.tasks[event.trial.key] = self.trials.add_task(escape(label(event.trial)), total=None, note="")
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

        if len(self.records) != self.drawn:  # a bootstrap several times a second would take a core from the trials
            self.drawn, self.shown = len(self.records), rich_table(self.table(), self.plan)
        return Group(self.overall, self.trials, self.shown)
