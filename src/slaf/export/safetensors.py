"""Weights as safetensors, with how the model came about as metadata; and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import SlafError
from slaf.core.extras import optional
from slaf.core.writing import whole_file

from .exported import Difference, Exported, difference, slaf_version

__all__ = ["export_weights", "load", "metadata"]

PURPOSE = "a safetensors file"
RECIPE = "slaf_recipe"


def export_weights(model: nn.Module, path: Path, example: Any = None, check: bool = True) -> Exported:  # noqa: ARG001 - one interface
    """Write the state dict of ``model`` and, as metadata, its recipe and the versions; see :func:`slaf.export.api.export`."""
    library = optional("safetensors.torch", "export", PURPOSE)
    tensors, aliases = _distinct(_state(model))
    about = {"format": "pt", "slaf_version": slaf_version(), "torch_version": torch.__version__} | _recipe(model)
    if clash := sorted(set(about) & set(aliases)):
        raise SlafError(f"a tensor of the model cannot be called {clash[0]!r}, which is a name of the metadata")
    found = None
    with whole_file(path) as temporary:
        library.save_file(tensors, str(temporary), metadata=about | aliases)
        if check:
            found = _compared(library.load_file(str(temporary)), tensors)
        size = temporary.stat().st_size
    return Exported(path=path, format="safetensors", size=size, measured=found)


def _state(model: nn.Module) -> dict[str, Tensor]:
    state = model.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise SlafError(f"safetensors holds tensors alone; the model's state {name!r} is a {type(value).__name__}")
    return {name: value.detach() for name, value in state.items()}


def _distinct(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor once, apart in memory; and the names under which the same one stands again: name → name that is kept."""
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[Any, str] = {}
    for name, tensor in state.items():
        place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and place in seen:
            aliases[name] = seen[place]
        else:
            seen[place] = name
            kept[name] = tensor.cpu().contiguous().clone()
    return kept, aliases


def _recipe(model: nn.Module) -> dict[str, str]:
    recipe = getattr(model, RECIPE, None)
    if recipe is None:
        return {}
    try:
        return {RECIPE: json.dumps(recipe)}
    except (TypeError, ValueError) as error:
        raise SlafError(f"model.{RECIPE} must be a dict that JSON can hold: {error}") from None


def _compared(got: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Difference:
    worst = Difference()
    for name, tensor in wanted.items():
        worst = worst.worst(difference(got[name], tensor))
    return worst


def metadata(path: str | Path) -> dict[str, Any]:
    """What a safetensors file says of itself: ``slaf_version``, ``torch_version``, and ``slaf_recipe`` where there is one.

    Raises:
        SlafError: there is no such file, or it is none.
    """
    return _read(Path(path))[1]


def load(model: nn.Module, path: str | Path) -> dict[str, Any]:
    """Put the weights of a safetensors file into ``model``, all or none, and return the file's :func:`metadata`.

    Raises:
        SlafError: there is no such file, it is none, or a tensor is missing, not expected, or of another shape.
    """
    tensors, about, aliases = _read(Path(path))
    own = _state(model)
    tensors |= {name: tensors[kept] for name, kept in aliases.items() if kept in tensors}
    for name, tensor in own.items():
        if name not in tensors:
            raise SlafError(f"{str(path)!r} holds no tensor {name!r}, which the model has")
        if tensors[name].shape != tensor.shape:
            raise SlafError(f"{name!r} has the shape {tuple(tensors[name].shape)} in {str(path)!r} and {tuple(tensor.shape)} in the model")
    if stray := next((name for name in tensors if name not in own), None):
        raise SlafError(f"{str(path)!r} holds a tensor {stray!r}, which the model has not")
    model.load_state_dict(tensors)
    return about


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, str]]:
    """The tensors, what the metadata says, and the aliases in it."""
    library = optional("safetensors", "export", PURPOSE)
    try:
        with library.safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            about: dict[str, Any] = dict(file.metadata() or {})
    except (OSError, library.SafetensorError) as error:
        raise SlafError(f"cannot read {str(path)!r} as safetensors: {getattr(error, 'strerror', None) or error}") from None
    aliases = {name: kept for name, kept in about.items() if kept in tensors and name not in tensors}
    about = {name: value for name, value in about.items() if name not in aliases}
    if RECIPE in about:
        try:
            about[RECIPE] = json.loads(about[RECIPE])
        except ValueError:
            raise SlafError(f"the {RECIPE} in {str(path)!r} is no JSON") from None
    return tensors, about, aliases
