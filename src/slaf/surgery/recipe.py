"""A swapped model's recipe: what ``rebuild`` needs to give a fresh model the same architecture, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from slaf.core import SlafError, make

from .edits import Edits
from .replacements import Replacement, install, number_format

__all__ = ["rebuild", "undo"]

VERSION = 1
RECIPE, EDITS = "slaf_recipe", "_slaf_edits"
"""The attributes of a swapped model: its recipe, plain data; and what each swap replaced, for ``undo``."""


def record(model: nn.Module, replacements: Sequence[Replacement], edits: Edits) -> None:
    """Write the replacements into the model's recipe, beside those of earlier swaps."""
    earlier = getattr(model, RECIPE, None)
    before = earlier["replacements"] if earlier else []
    _keep(model, {"version": VERSION, "replacements": before + [r.to_dict() for r in replacements]})
    model.__dict__.setdefault(EDITS, []).append((earlier, edits))


def forget(model: nn.Module) -> None:
    """Take away what :func:`record` wrote, and with it the old modules; what was swapped stays so."""
    _keep(model, None)
    model.__dict__.pop(EDITS, None)


def _keep(model: nn.Module, recipe: dict[str, Any] | None) -> None:
    """Set the attribute, and the entry of a configuration that is saved with the weights, as transformers' is."""
    config = getattr(model, "config", None)
    for holder in (model, config if hasattr(config, "to_json_string") else None):
        if holder is None:
            continue
        if recipe is None:
            vars(holder).pop(RECIPE, None)
        else:
            setattr(holder, RECIPE, recipe)


def undo(model: nn.Module) -> nn.Module:
    """Revert the last :func:`swap` of ``model``, in place: the old activations come back as the very objects that they were.

    Other weights stay as they are now, and so does the mode, training or evaluation. Returns the model.

    Raises:
        SlafError: nothing was swapped.
    """
    if not isinstance(model, nn.Module):
        raise SlafError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    stack = model.__dict__.get(EDITS)
    if not stack:
        raise SlafError(f"there is nothing to undo: no activation of this {type(model).__name__} was swapped")
    earlier, edits = stack.pop()
    modes = [(old, new.training) for old, new in edits.replaced()]
    edits.undo()
    for old, training in modes:
        old.train(training)
    if not stack:
        del model.__dict__[EDITS]
    _keep(model, earlier)
    return model


def rebuild(model: nn.Module, recipe: Mapping[str, Any] | str) -> nn.Module:
    """Give a fresh model the architecture that a swap gave another one of its kind, so that the ``state_dict`` of that one loads.

    Args:
        model: as it was before the swap; changed in place, or left as it was where this raises.
        recipe: ``swapped.slaf_recipe``, or the same as a JSON string.

    Returns:
        The model. Its new activations have initial values until the state is loaded.

    Raises:
        SlafError: the recipe is none, or belongs to a model of another structure or another version of its source.

    Example:
        >>> fresh = slaf.rebuild(Net(), json.loads(Path("recipe.json").read_text()))
        >>> fresh.load_state_dict(torch.load("weights.pt", weights_only=True))
    """
    if not isinstance(model, nn.Module):
        raise SlafError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    replacements = _read(recipe)
    edits = install(model, [(r, _made(model, r)) for r in replacements])
    record(model, replacements, edits)
    return model


def _made(model: nn.Module, replacement: Replacement) -> list[nn.Module]:
    with torch.device("cpu"):  # start values are computed, which the meta device cannot
        new: list[nn.Module] = [make(activation) for activation in replacement.activations]
    form = number_format(model, replacement.paths[0])
    return new if form is None else [module.to(*form) for module in new]


def _read(recipe: Mapping[str, Any] | str) -> list[Replacement]:
    try:
        plain = json.loads(recipe) if isinstance(recipe, str) else recipe
        if plain["version"] != VERSION:
            raise SlafError(f"the recipe has version {plain['version']!r}; this slaf reads version {VERSION}")
        return [Replacement.from_dict(r) for r in plain["replacements"]]
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        said = f"{type(problem).__name__}: {problem}"
        raise SlafError(f"recipe must be a swapped model's slaf_recipe; reading it failed with {said}") from None
