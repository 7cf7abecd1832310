"""The words of a comparison, checked: budgets and their options, seeds, the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slaf.core import SlafError, nearest, parse
from slaf.core.spec import format_value

from .study import Study

__all__ = ["options_of", "reference_of", "seeds_of", "settings_of", "whole"]

MAX_SEEDS = 10_000


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


def settings_of(study: Study, budget: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entries of a budget with ``options`` changed, and the changes alone."""
    if budget not in study.budgets:
        hint = nearest(budget, study.budgets)
        raise SlafError(f"study {study.name} has no budget {budget!r}{hint}; it has {', '.join(study.budgets)}")
    settings = dict(study.budgets[budget])
    changed = {}
    for name, value in options.items():
        if name not in settings:
            raise SlafError(f"study {study.name} has no option {name!r}{nearest(name, settings)}; it has {', '.join(settings) or 'none'}")
        settings[name] = changed[name] = _like(name, settings[name], value)
    return settings, changed


def _like(name: str, default: Any, given: Any) -> Any:
    """``given``, text or a value, as a value of the default's type."""
    if isinstance(default, bool):
        if str(given).lower() not in ("true", "false"):
            raise SlafError(f"option {name} must be true or false; got {given!r}")
        return str(given).lower() == "true"
    if isinstance(default, (tuple, list)):
        if isinstance(given, (tuple, list)):
            return tuple(given)
        try:
            value = parse(f"option(value={given})").kwargs["value"]
        except (SlafError, KeyError):
            value = None
        if not isinstance(value, tuple):
            raise SlafError(f"option {name} must be a tuple such as {format_value(default)}; got {given!r}")
        return value
    kind = next((k for k in (int, float) if isinstance(default, k)), str)
    try:
        value = kind(given)
        if kind is int and isinstance(given, float) and value != given:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise SlafError(f"option {name} must be {'an integer' if kind is int else 'a number'}; got {given!r}") from None
    return value


def seeds_of(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """A number of seeds as 0, 1, …, or the seeds given."""
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if not 1 <= seeds <= MAX_SEEDS:
            raise SlafError(f"seeds must be an integer from 1 to {MAX_SEEDS}; got {seeds}")
        return tuple(range(seeds))
    if isinstance(seeds, Sequence) and seeds and all(isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in seeds):
        return tuple(dict.fromkeys(seeds))
    raise SlafError(f"seeds must be a number of seeds or a list of non-negative integers; got {seeds!r}")


def reference_of(study: Study, reference: str | None, names: Sequence[str]) -> str:
    """The activation that differences are taken to: relu if it is there, else the first."""
    if reference is None:
        return "relu" if "relu" in names else names[0]
    wanted = study.canonical(reference)
    if wanted not in names:
        raise SlafError(f"reference {reference!r} is not among the activations compared: {', '.join(names)}")
    return wanted


def whole(name: str, value: Any, low: int, high: int) -> int:
    """``value`` if it is an integer from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SlafError(f"{name} must be an integer from {low} to {high}; got {value!r}")
    return value
