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
from slaf.core import ContractError, SlafError

from .build import Built, build_model
from .device import check_device
from .learned import describe_sites, rounded
from .model import fingerprint
from .plan import Trial, find_study
from .study import Data, Study

__all__ = ["run_trial"]

OnEpoch = Callable[[int, int, float], None]


def run_trial(trial: Trial, on_epoch: OnEpoch | None = None) -> dict[str, Any]:
    """Run one trial. What goes wrong inside is recorded, never raised: a comparison must not lose its failures.

    Raises:
        SlafError: not the trial is wrong but the machine: it lacks the device, or its copy of the data or of the model is another.

    Returns:
        ``status`` is ``"ok"``, ``"non-finite"`` (a loss, a parameter or a metric), ``"n/a"`` (the activation cannot fill the study's slot)
        or ``"failed"`` (any other exception); ``metrics`` holds only what ``trial.key`` determines, times and sizes are in ``cost``.
    """
    study = _study(trial)
    if trial.devices == 1:
        return _recorded(study, trial, on_epoch, None)
    from slaf.train import launch

    accelerator = trial.device.partition(":")[0]
    return launch(_on_rank, trial, devices=trial.devices, strategy=trial.strategy, accelerator=accelerator)


def _on_rank(fabric: Any, trial: Trial) -> dict[str, Any]:
    return _recorded(_study(trial), trial, None, fabric)


def _study(trial: Trial) -> Study:
    study = find_study(trial.study, trial.given)
    for what, there, wanted in (
        ("data", study.fingerprint(), trial.data_hash),
        ("model", fingerprint(trial.model) if trial.model else "", trial.model_hash),
    ):
        if there != wanted:
            raise SlafError(f"the {what} of study {study.name} changed since the comparison was planned, or differs on this machine")
    check_device(trial.device)
    return study


def _recorded(study: Study, trial: Trial, on_epoch: OnEpoch | None, fabric: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "study": trial.study,
        "activation": trial.activation,
        "seed": trial.seed,
        "budget": trial.budget,
        "lr_factor": trial.lr_factor,
        "options": {"settings": dict(trial.settings), "variance_match": trial.variance_match, **trial.choices},
        "model": trial.model,
        "key": trial.key,
        "status": "ok",
        "error": None,
        "metrics": {},
        "cost": {"threads": trial.threads, "device": trial.device, "devices": trial.devices},
        "variance_matched": None,
        "notes": [],
        "history": {},
        "learned": [],
        "versions": {"slaf": slaf.__version__, "torch": torch.__version__},
    }
    started = time.perf_counter()
    with _threads(trial.threads):
        try:
            _run(study, trial, record, on_epoch or (lambda _done, _total, _loss: None), fabric)
        except ContractError as error:
            record |= {"status": "n/a", "error": str(error)}
        except Exception as error:
            record |= {"status": "failed", "error": _one_line(error), "traceback": traceback.format_exc(limit=-6)}
    record["cost"]["seconds"] = round(time.perf_counter() - started, 4)
    return record


def _run(study: Study, trial: Trial, record: dict[str, Any], on_epoch: OnEpoch, fabric: Any) -> None:
    data = study.data(trial.seed, trial.settings)
    record["notes"] = list(data.notes)
    built = build_model(study, trial.activation, data, trial.seed, trial.variance_match, trial.model)
    device = torch.device(trial.device) if fabric is None else fabric.device
    built.model.to(device)
    data = data.to(device)
    record["variance_matched"] = built.variance_matched
    record["cost"] |= {"params": built.params, "activation_params": built.activation_params}
    how: dict[str, Any] = {} if trial.lr_factor == 1 else {"lr_factor": trial.lr_factor}
    how |= {} if fabric is None else {"fabric": fabric}
    started = time.perf_counter()
    trace = study.train(built.model, data, trial.settings, trial.seed, on_epoch, **how)
    record["cost"] |= {"train_seconds": round(time.perf_counter() - started, 4), "steps": trace.steps}
    record["history"] = {name: [rounded(v) for v in values] for name, values in trace.history.items()}
    if fabric is not None and fabric.global_rank != 0:
        return
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
