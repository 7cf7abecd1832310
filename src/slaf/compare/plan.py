"""What is to be run: ``make_plan`` checks every word of it before anything is written, ``Plan.trials`` lists it, ``Trial.key`` names it."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import slaf
from slaf.core import ContractError, SlafError, canonical, nearest, parse
from slaf.core.spec import format_value

from .build import build_model
from .study import Data, Study, studies

__all__ = ["Plan", "Trial", "find_study", "list_studies", "make_plan", "options_of"]

MAX_SEEDS = 10_000
STUDIES = "slaf.studies"
"""Where the built-in studies are. That room is above this one, so it is named, not imported, until a study is asked for."""


@dataclass(frozen=True)
class Trial:
    """One training run, and all that its metrics depend on."""

    study: str
    activation: str
    seed: int
    budget: str
    settings: Mapping[str, Any]
    threads: int = 1
    variance_match: bool = True
    data_hash: str = ""
    version: str = slaf.__version__

    @property
    def key(self) -> str:
        """SHA-256 over every field: equal keys mean equal metrics."""
        text = json.dumps({**vars(self), "settings": dict(self.settings)}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Plan:
    """A comparison: every activation with every seed, all else equal."""

    study: str
    activations: tuple[str, ...]
    seeds: tuple[int, ...]
    budget: str
    settings: Mapping[str, Any]
    changed: Mapping[str, Any]
    threads: int
    variance_match: bool
    data_hash: str
    reference: str
    identity: bool
    modules: tuple[str, ...]

    def trials(self) -> Iterator[Trial]:
        """Seeds outside, activations inside, so that a table of the first results is paired already."""
        for seed in self.seeds:
            for activation in self.activations:
                yield Trial(
                    self.study, activation, seed, self.budget, self.settings, self.threads, self.variance_match, self.data_hash
                )  # fmt: skip

    def fixed(self) -> dict[str, Any]:
        """What all trials of one folder have in common; a folder made with anything else is refused."""
        return {
            "study": self.study,
            "budget": self.budget,
            "settings": json.loads(json.dumps(dict(self.settings), default=str)),
            "threads": self.threads,
            "variance_match": self.variance_match,
            "data_hash": self.data_hash,
            "slaf": slaf.__version__,
        }

    def view(self) -> dict[str, Any]:
        """How the results are to be looked at: what the report needs beside the results, and may differ from run to run."""
        study = find_study(self.study)
        return {
            "activations": list(self.activations),
            "reference": self.reference,
            "identity": self.identity,
            "changed": dict(self.changed),
            "modules": list(self.modules),
            **{name: getattr(study, name) for name in ("title", "source", "claim", "primary", "direction")},
        }


def find_study(name: str) -> Study:
    """The study of that name; a hyphen may be typed for an underscore."""
    importlib.import_module(STUDIES)
    return studies[name.replace("-", "_")]


def list_studies() -> str:
    """Every study in a few lines of text: what it is, what is claimed, its budgets."""
    importlib.import_module(STUDIES)
    blocks = []
    for name in studies.names():
        study = studies[name]
        sizes = [f"    {budget:<6} " + ", ".join(f"{k} {format_value(v)}" for k, v in b.items()) for budget, b in study.budgets.items()]
        better = "more" if study.direction == "max" else "less"
        facts = f"    ranked by {study.primary} ({better} is better); by default {study.seeds} seeds of {', '.join(study.activations)}"
        blocks.append("\n".join([f"{study.name}: {study.title}", f"    {study.claim}", facts, *sizes]))
    return "\n\n".join(blocks)


def options_of(words: Sequence[str]) -> dict[str, str]:
    """``["epochs=5"]`` to ``{"epochs": "5"}``.

    Raises:
        SlafError: a word is not of the form ``name=value``.
    """
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name.strip() and equals and value.strip()):
            raise SlafError(f"option must be NAME=VALUE, such as epochs=5; got {word!r}")
        options[name.strip()] = value.strip()
    return options


def make_plan(
    study: str = "digits",
    activations: Sequence[str] | None = None,
    seeds: int | Sequence[int] | None = None,
    budget: str = "small",
    options: Mapping[str, str] | None = None,
    *,
    threads: int = 1,
    identity: bool = True,
    reference: str | None = None,
    variance_match: bool = True,
    modules: Sequence[str] = (),
) -> Plan:
    """Check a comparison and return it as a plan; nothing is written, but each activation is built in the study's real model.

    Args:
        study: a registered study.
        activations: activation strings; the study's own choice if not given.
        seeds: how many (0, 1, …), or which.
        budget: one of the study's budgets.
        options: entries of the budget to change, as text.
        threads: torch threads of each trial; part of what a trial's metrics depend on.
        identity: compare with ``identity`` as well, which shows whether the study needs an activation at all.
        reference: the activation that differences are taken to; ``relu`` if it is compared, else the first.
        variance_match: scale the weights that read an activation, so that all start with the same signal size.
        modules: importable modules that register activations or studies of the user's own; workers import them too.

    Raises:
        SlafError: anything unknown or out of range, in one sentence.
    """
    chosen = find_study(study)
    settings, changed = _settings(chosen, budget, options or {})
    root_seeds = _seeds(chosen.seeds if seeds is None else seeds)
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 1024:
        raise SlafError(f"threads must be an integer from 1 to 1024; got {threads!r}")
    names = list(dict.fromkeys(canonical(a) for a in (chosen.activations if activations is None else activations)))
    if not names:
        raise SlafError("no activation to compare; name at least one, such as relu")
    if identity and "identity" not in names:
        names.append("identity")
    plan = Plan(
        study=chosen.name.replace("-", "_"),
        activations=tuple(names),
        seeds=root_seeds,
        budget=budget,
        settings=settings,
        changed=changed,
        threads=threads,
        variance_match=bool(variance_match),
        data_hash=_hash_files(chosen),
        reference=_reference(reference, names),
        identity=identity,
        modules=tuple(modules),
    )
    _try_out(chosen, plan)
    return plan


def _settings(study: Study, budget: str, options: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    if budget not in study.budgets:
        hint = nearest(budget, study.budgets)
        raise SlafError(f"study {study.name} has no budget {budget!r}{hint}; it has {', '.join(study.budgets)}")
    settings = dict(study.budgets[budget])
    changed = {}
    for name, text in options.items():
        if name not in settings:
            raise SlafError(f"study {study.name} has no option {name!r}{nearest(name, settings)}; it has {', '.join(settings) or 'none'}")
        settings[name] = changed[name] = _like(name, settings[name], text)
    return settings, changed


def _like(name: str, default: Any, text: Any) -> Any:
    """``text`` as a value of the default's type."""
    if isinstance(default, bool):
        if str(text).lower() not in ("true", "false"):
            raise SlafError(f"option {name} must be true or false; got {text!r}")
        return str(text).lower() == "true"
    if isinstance(default, (tuple, list)):
        try:
            value = parse(f"option(value={text})").kwargs["value"]
        except (SlafError, KeyError):
            value = None
        if not isinstance(value, tuple):
            raise SlafError(f"option {name} must be a tuple such as {format_value(default)}; got {text!r}")
        return value
    kind = next((k for k in (int, float) if isinstance(default, k)), str)
    try:
        return kind(text)
    except ValueError:
        raise SlafError(f"option {name} must be {'an integer' if kind is int else 'a number'}; got {text!r}") from None


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if not 1 <= seeds <= MAX_SEEDS:
            raise SlafError(f"seeds must be an integer from 1 to {MAX_SEEDS}; got {seeds}")
        return tuple(range(seeds))
    if isinstance(seeds, Sequence) and seeds and all(isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in seeds):
        return tuple(dict.fromkeys(seeds))
    raise SlafError(f"seeds must be a number of seeds or a list of non-negative integers; got {seeds!r}")


def _reference(reference: str | None, names: Sequence[str]) -> str:
    if reference is None:
        return "relu" if "relu" in names else names[0]
    wanted = canonical(reference)
    if wanted not in names:
        raise SlafError(f"reference {reference!r} is not among the activations compared: {', '.join(names)}")
    return wanted


def _hash_files(study: Study) -> str:
    files = study.files()
    if not files:
        return ""
    digest = hashlib.sha256()
    for path in files:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise SlafError(f"study {study.name} cannot read its data file {path}: {error.strerror}") from None
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _try_out(study: Study, plan: Plan) -> None:
    """Build every activation in the real model and run a few rows, so that what cannot work is known before hours are spent."""
    study.recipe(plan.settings)
    data: Data = study.data(plan.seeds[0], plan.settings)
    for activation in plan.activations:
        try:
            built = build_model(study, activation, data, plan.seeds[0], plan.variance_match)
            built.probe(data)
        except ContractError:
            continue  # a study's slot that an activation cannot fill is a result: it is recorded as n/a
        except SlafError as error:
            raise SlafError(
                str(error) if activation in str(error) else f"activation {activation!r} in study {study.name}: {error}"
            ) from None
        except (RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise SlafError(f"activation {activation!r} does not fit study {study.name}: {reason}") from None
