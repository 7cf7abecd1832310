"""``run_trial``: one training run from its description to a plain record that can be stored as one line of JSON."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

import slaf
from slaf.core import ContractError

from .build import Built, build_model
from .learned import describe_sites, rounded
from .plan import Trial, find_study
from .study import Data

__all__ = ["run_trial"]

OnEpoch = Callable[[int, int, float], None]


def run_trial(trial: Trial, on_epoch: OnEpoch | None = None) -> dict[str, Any]:
    """Run one trial. What goes wrong inside is recorded, never raised: a comparison must not lose its failures.

    Returns:
        ``status`` is ``"ok"``, ``"non-finite"`` (a loss, a parameter or a metric), ``"n/a"`` (the activation cannot fill the study's slot)
        or ``"failed"`` (any other exception); ``metrics`` holds only what ``trial.key`` determines, times and sizes are in ``cost``.
    """
    record: dict[str, Any] = {
        "study": trial.study,
        "activation": trial.activation,
        "seed": trial.seed,
        "budget": trial.budget,
        "options": {"settings": dict(trial.settings), "variance_match": trial.variance_match},
        "key": trial.key,
        "status": "ok",
        "error": None,
        "metrics": {},
        "cost": {"threads": trial.threads},
        "variance_matched": None,
        "history": {},
        "learned": [],
        "versions": {"slaf": slaf.__version__, "torch": torch.__version__},
    }
    started = time.perf_counter()
    with _threads(trial.threads):
        try:
            _run(trial, record, on_epoch or (lambda _done, _total, _loss: None))
        except ContractError as error:
            record |= {"status": "n/a", "error": str(error)}
        except Exception as error:
            record |= {"status": "failed", "error": _one_line(error), "traceback": traceback.format_exc(limit=-6)}
    record["cost"]["seconds"] = round(time.perf_counter() - started, 4)
    return record


def _run(trial: Trial, record: dict[str, Any], on_epoch: OnEpoch) -> None:
    study = find_study(trial.study)
    data = study.data(trial.seed, trial.settings)
    built = build_model(study, trial.activation, data, trial.seed, trial.variance_match)
    record["variance_matched"] = built.variance_matched
    record["cost"] |= {"params": built.params, "activation_params": built.activation_params}
    started = time.perf_counter()
    trace = study.train(built.model, data, trial.settings, trial.seed, on_epoch)
    record["cost"] |= {"train_seconds": round(time.perf_counter() - started, 4), "steps": trace.steps}
    record["history"] = {name: [rounded(v) for v in values] for name, values in trace.history.items()}
    built.model.eval()
    metrics = {name: float(value) for name, value in study.metrics(built.model, data).items()}
    record["metrics"] = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
    if not trace.finite or not all(math.isfinite(v) for v in metrics.values()):
        record |= {"status": "non-finite", "error": _what_is_not_finite(trace.finite, metrics)}
        return
    record["learned"] = _learned(built, data)


def _learned(built: Built, data: Data) -> list[dict[str, Any]]:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return describe_sites(built, data.test[0])


def _what_is_not_finite(finite: bool, metrics: dict[str, float]) -> str:
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    return "the loss or a parameter became infinite or NaN in training" if not finite else f"not finite: {', '.join(bad)}"


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
