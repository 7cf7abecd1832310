"""Finished trials written for TensorBoard, beside the results that are kept anyway."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from slaf.train.tensorboard import TensorBoard

from .figures import colors, draw_learned
from .plan import Plan
from .progress import label
from .run import Event

__all__ = ["Board"]


class Board:
    """Listens to a run: one TensorBoard run for each trial, its history, its metrics beside its options, its learned curves."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.writer = TensorBoard(folder)
        self.color = colors(plan.activations)

    def __call__(self, event: Event) -> None:
        if event.kind != "done" or event.record is None:
            return
        record, run = event.record, label(event.trial)
        history: dict[str, list[Any]] = record["history"]
        for epoch in range(max(map(len, history.values()), default=0)):
            self.writer.log_epoch(run, epoch + 1, {name: values[epoch] for name, values in history.items() if epoch < len(values)})
        for site in record["learned"]:
            self.writer.log_image(run, f"learned/{site['site']}", draw_learned(site, self.color[record["activation"]]))
        chosen = {name: record[name] for name in ("activation", "seed", "budget", "lr_factor")}
        self.writer.log_result(run, chosen, {k: v for k, v in record["metrics"].items() if v is not None})

    def __enter__(self) -> Board:
        self.writer.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.writer.__exit__(kind, error, trace)
