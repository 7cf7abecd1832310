"""What a plan will cost, by training each activation for a few steps."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch

from slaf.core import ContractError

from .build import build_model
from .plan import Plan, find_study
from .worker import warm_up

__all__ = ["Estimate", "estimate"]

STEPS = 6


@dataclass(frozen=True)
class Estimate:
    """One activation: parameters, optimiser steps of one trial, and about how many seconds it trains on a processor that is free."""

    activation: str
    params: int | None
    activation_params: int | None
    steps: int
    seconds: float | None


def estimate(plan: Plan) -> Iterable[Estimate]:
    """Time a few steps of every activation in the study's real model, on this machine; yields as it goes."""
    trial = plan.common
    study = find_study(trial.study, trial.given)
    data = study.data(trial.seed, trial.settings)
    recipe = study.recipe(trial.settings, data)
    size = recipe.batch_size
    per_epoch = len(data.train[0]) // size if recipe.drop_last else -(-len(data.train[0]) // size)
    steps = recipe.epochs * max(1, per_epoch)
    few = replace(data, train=(data.train[0][: STEPS * size], data.train[1][: STEPS * size])).to(trial.device)
    before = torch.get_num_threads()
    torch.set_num_threads(trial.threads)
    warm_up()
    try:
        for activation in plan.activations:
            try:
                built = build_model(study, activation, data, trial.seed, trial.variance_match, trial.model)
            except ContractError:
                yield Estimate(activation, None, None, steps, None)
                continue
            built.model.to(trial.device)
            seconds = min(_time(study, built.model, few, replace(recipe, epochs=1), trial.seed) for _ in range(2))
            taken = max(1, -(-len(few.train[0]) // size))
            yield Estimate(activation, built.params, built.activation_params, steps, seconds / taken * steps)
    finally:
        torch.set_num_threads(before)


def _time(study: Any, model: torch.nn.Module, data: Any, recipe: Any, seed: int) -> float:
    from slaf.train import train

    started = time.perf_counter()
    train(model, data.train, study.loss, recipe, seed=seed)
    return time.perf_counter() - started
