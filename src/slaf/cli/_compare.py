"""What ``slaf compare`` prints: the result, the plan, the merged runs; for people or, with ``--json``, for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slaf.compare import Plan, comparison_of, load, processors, write_report
from slaf.compare.estimate import Estimate, estimate
from slaf.compare.merge import merge
from slaf.compare.store import check_folder
from slaf.compare.terminal import show
from slaf.core import SlafError

__all__ = ["finish", "join", "numbers", "show_plan"]


def finish(folder: Path, as_json: bool) -> None:
    """Write the report and print the table."""
    report, comparison = write_report(folder), comparison_of(folder)
    if not as_json:
        show(comparison)
        print(f"report: {report}")
        return
    trials = [{name: r.get(name) for name in _TRIAL} for r in comparison.records]
    told = {name: getattr(comparison, name) for name in ("study", "title", "metric", "direction", "reference", "notes")}
    run, _ = load(folder)
    _print(told | {"options": run["fixed"], "rows": comparison.to_dicts(), "trials": trials, "folder": str(folder), "report": str(report)})


_TRIAL = ("activation", "seed", "lr_factor", "status", "error", "metrics", "cost", "key")


def _print(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def show_plan(plan: Plan, folder: Path, workers: int | None, as_json: bool) -> None:
    """Print what would be run and, from a few steps of each activation, about how long it would take."""
    check_folder(folder, plan.fixed())
    stored = {r["key"] for r in load(folder)[1]} if (folder / "run.json").exists() else set()
    trials = list(plan.trials())
    todo = [t for t in trials if t.key not in stored]
    found = list(estimate(plan))
    per_trial = {e.activation: e.seconds or 0.0 for e in found}
    processes = max(1, min(processors() if workers is None else workers, len(todo)))
    seconds = sum(per_trial[t.activation] for t in todo) / processes
    if as_json:
        document = {"options": plan.fixed(), "seeds": plan.seeds, "lr_factors": plan.lr_factors, "activations": [asdict(e) for e in found]}
        _print(document | {"trials": len(trials), "stored": len(trials) - len(todo), "seconds": seconds, "folder": str(folder)})
        return
    _show_table(found)
    rates = f" × {len(plan.lr_factors)} learning rates" if len(plan.lr_factors) > 1 else ""
    print(f"{plan.study}, budget {plan.budget}: {len(found)} activations × {len(plan.seeds)} seeds{rates} = {len(trials)} trials")
    if len(todo) < len(trials):
        print(f"{len(trials) - len(todo)} of them are stored already")
    print(f"about {_time(seconds)} with {processes} process{'es' if processes > 1 else ''}, results in {folder}")


def _show_table(found: Sequence[Estimate]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("activation", "params", "act.", "steps", "about"):
        table.add_column(heading, justify="left" if heading == "activation" else "right")
    for e in found:
        if e.seconds is None:
            table.add_row(escape(e.activation), "n/a", "", "", "")
        else:
            table.add_row(escape(e.activation), f"{e.params:,}", f"{e.activation_params:,}", f"{e.steps:,}", _time(e.seconds))
    Console().print(table)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def join(folders: list[Path], out: Path | None, as_json: bool) -> None:
    """Merge run folders and report."""
    if out is None:
        raise SlafError("--merge needs --out, the folder to put the joined runs into")
    merge(folders, out)
    finish(out, as_json)


def numbers(words: Sequence[str]) -> dict[str, float]:
    """``["GPU=1"]`` to ``{"GPU": 1.0}``."""
    found = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            name = ""
        if not name.strip():
            raise SlafError(f"--resources must be NAME=N, such as GPU=1; got {word!r}")
    return found
