"""What is to be run: ``make_plan`` checks every word of it before anything is written, ``Plan.trials`` lists it, ``Trial.key`` names it."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import slaf
from slaf.core import SlafError, one_of
from slaf.core.spec import format_value

from .device import check_device
from .model import fingerprint
from .settings import reference_of, seeds_of, settings_of, whole
from .study import Study, studies
from .tryout import require_support, try_out

__all__ = ["Plan", "Trial", "find_study", "list_studies", "make_plan"]

STUDIES = "slaf.studies"
"""Where the built-in studies are. That room is above this one, so it is named, not imported, until a study is asked for."""
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")
SWEEP = (1.0, 1 / 3, 3.0)
"""Of the study's learning rate, with ``sweep_lr``."""


@dataclass(frozen=True)
class Trial:
    """One training run, and all that its metrics depend on.

    ``given`` is what the user gave to the study (``data``, ``target``), ``model`` a function that builds the network in the study's place.
    """

    study: str
    activation: str
    seed: int
    budget: str
    settings: Mapping[str, Any]
    threads: int = 1
    variance_match: bool = True
    data_hash: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    model_hash: str = ""
    lr_factor: float = 1.0
    device: str = "cpu"
    devices: int = 1
    strategy: str = "auto"
    version: str = slaf.__version__

    @property
    def key(self) -> str:
        """SHA-256 over every field but the place of the data, whose content counts: equal keys mean equal metrics."""
        text = json.dumps({**vars(self), "settings": dict(self.settings), "given": self.choices}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def choices(self) -> dict[str, str]:
        """What was given beside the data."""
        return {name: value for name, value in self.given.items() if name != "data"}


@dataclass(frozen=True)
class Plan:
    """A comparison: every activation with every seed (and learning rate), all else as in ``common``."""

    common: Trial
    activations: tuple[str, ...]
    seeds: tuple[int, ...]
    lr_factors: tuple[float, ...]
    changed: Mapping[str, Any]
    reference: str
    identity: bool
    modules: tuple[str, ...]

    @property
    def study(self) -> str:
        """The study's name."""
        return self.common.study

    @property
    def budget(self) -> str:
        """The budget's name."""
        return self.common.budget

    def trials(self) -> Iterator[Trial]:
        """Seeds outside, activations inside, so that a table of the first results is paired already."""
        for factor in self.lr_factors:
            for seed in self.seeds:
                for activation in self.activations:
                    yield replace(self.common, activation=activation, seed=seed, lr_factor=factor)

    def fixed(self) -> dict[str, Any]:
        """What all trials of one folder have in common; a folder made with anything else is refused."""
        varying = ("activation", "seed", "lr_factor", "given", "version")
        values = {name: value for name, value in vars(self.common).items() if name not in varying}
        values |= {"settings": dict(self.common.settings), **self.common.choices, "slaf": slaf.__version__}
        return json.loads(json.dumps(values, default=str))

    def view(self) -> dict[str, Any]:
        """How the results are to be looked at: what the report needs beside the results, and may differ from run to run."""
        study = find_study(self.study, self.common.given)
        primary, direction = study.ranked_by(self.common.settings)
        return {
            "activations": list(self.activations),
            "reference": self.reference,
            "identity": self.identity,
            "changed": dict(self.changed),
            "modules": list(self.modules),
            "given": dict(self.common.given),
            "primary": primary,
            "direction": direction,
            **{name: getattr(study, name) for name in ("title", "source", "claim")},
        }


def find_study(name: str, given: Mapping[str, str] | None = None) -> Study:
    """The study of that name, with what the user gives it; a hyphen may be typed for an underscore."""
    importlib.import_module(STUDIES)
    return studies[name.replace("-", "_")].with_inputs(given or {})


def list_studies() -> str:
    """Every study in a few lines of text: what it is, what is claimed, its budgets."""
    importlib.import_module(STUDIES)
    return "\n\n".join(_listed(studies[name]) for name in studies.names())


def _listed(study: Study) -> str:
    given = "".join(f" --{name} {name.upper()}" for name in study.inputs)
    entries = [{(k, format_value(v)) for k, v in budget.items()} for budget in study.budgets.values()]
    everywhere = set.intersection(*entries) if len(entries) > 1 else set()
    lines = [f"{study.name}{given}: {study.title}", f"    {study.claim}"]
    lines.append(f"    ranked by {study.ranking}; by default {study.seeds} seeds of {', '.join(study.activations)}")
    for budget, values in study.budgets.items():
        own = ", ".join(f"{k} {format_value(v)}" for k, v in values.items() if (k, format_value(v)) not in everywhere)
        lines.append(f"    {budget:<6} {own}".rstrip())
    shared = [f"{k} {format_value(v)}" for k, v in next(iter(study.budgets.values())).items() if (k, format_value(v)) in everywhere]
    return "\n".join(lines + ([f"    all    {', '.join(shared)}"] if shared else []))


def make_plan(
    study: str = "digits",
    activations: Sequence[str] | None = None,
    seeds: int | Sequence[int] | None = None,
    budget: str = "small",
    options: Mapping[str, Any] | None = None,
    *,
    given: Mapping[str, str] | None = None,
    model: str | None = None,
    threads: int = 1,
    device: str = "cpu",
    devices: int = 1,
    strategy: str = "auto",
    local: bool = True,
    identity: bool = True,
    reference: str | None = None,
    variance_match: bool = True,
    sweep_lr: bool = False,
    modules: Sequence[str] = (),
) -> Plan:
    """Check a comparison and return it as a plan; nothing is written, but each activation is built in the study's real model.

    Args:
        study: a registered study.
        activations: activation strings; the study's own choice if not given.
        seeds: how many (0, 1, …), or which.
        budget: one of the study's budgets.
        options: entries of the budget to change, as text or values.
        given: what the study needs of the user: ``data`` (a path or ``package:function``), ``target`` (a column).
        model: ``package:function``, a ``build(make)`` or ``build(make, data)`` that returns the network in the study's place.
        threads: torch threads of each trial; part of what a trial's metrics depend on.
        device: where each trial trains: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        devices: over how many devices one model is spread (Lightning Fabric); ``strategy``: how.
        local: the trials run on this machine, so the device must be here.
        identity: compare with ``identity`` as well, which shows whether the study needs an activation at all.
        reference: the activation that differences are taken to; ``relu`` if it is compared, else the first.
        variance_match: scale the weights that read an activation, so that all start with the same signal size.
        sweep_lr: repeat at a third and three times the learning rate; the table takes each activation's best.
        modules: importable modules that register activations or studies of the user's own; workers import them too.

    Raises:
        SlafError: anything unknown or out of range, in one sentence.
    """
    chosen = find_study(study, given)
    settings, changed = settings_of(chosen, budget, options or {})
    root_seeds = seeds_of(chosen.seeds if seeds is None else seeds)
    names = list(dict.fromkeys(chosen.canonical(a) for a in (chosen.activations if activations is None else activations)))
    if not names:
        raise SlafError("no activation to compare; name at least one, such as relu")
    if identity and "identity" not in names:
        names.append("identity")
    common = Trial(
        study=chosen.name.replace("-", "_"),
        activation=names[0],
        seed=root_seeds[0],
        budget=budget,
        settings=settings,
        threads=whole("threads", threads, 1, 1024),
        variance_match=bool(variance_match),
        data_hash=chosen.fingerprint(),
        given=dict(given or {}),
        model=model,
        model_hash=fingerprint(model) if model else "",
        device=check_device(device, here=local),
        devices=whole("devices", devices, 1, 1024),
        strategy=one_of("strategy", strategy, STRATEGIES),
    )
    plan = Plan(
        common=common,
        activations=tuple(names),
        seeds=root_seeds,
        lr_factors=SWEEP if sweep_lr else (1.0,),
        changed=changed,
        reference=reference_of(chosen, reference, names),
        identity=identity,
        modules=tuple(modules),
    )
    if sweep_lr:
        require_support(chosen, "--sweep-lr", "lr_factor")
    if devices > 1:
        require_support(chosen, "--devices", "fabric")
    try_out(chosen, common, plan.activations)
    return plan
