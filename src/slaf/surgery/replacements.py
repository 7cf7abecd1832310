"""The replacements of a swap: which module, attribute or call becomes which activation; carried out together, and undone together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slaf.core import SlafError

from .edits import ATTRIBUTES, MODULES, Edits
from .rewriting.places import Place
from .rewriting.rewrite import PerCall

__all__ = ["Replacement", "install", "number_format"]


@dataclass(frozen=True)
class Replacement:
    """One replacement, as data.

    Attributes:
        paths: of the module or attribute that is replaced, everywhere it is registered; of the module whose code makes the call, where
            ``place`` is given.
        activations: the activation string, one for each call that has an activation of its own.
        place: of the call in the source that goes to ``name`` from now on.
        name: of the new submodule there.
        norms: paths of the batch norms that the new activations take the place of too: they become the identity.
    """

    paths: tuple[str, ...]
    activations: tuple[str, ...]
    place: Place | None = None
    name: str = ""
    norms: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data; :meth:`from_dict` makes an equal one."""
        plain: dict[str, Any] = {"paths": list(self.paths), "activations": list(self.activations)}
        plain |= {"norms": list(self.norms)} if self.norms else {}
        if self.place is None:
            return plain
        place = self.place.to_dict()
        return plain | {"place": place | {"file": Path(place["file"]).name}, "name": self.name}  # no folder of this machine

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Replacement:
        """Read what :meth:`to_dict` wrote."""
        place = Place.from_dict(plain["place"]) if "place" in plain else None
        return cls(tuple(plain["paths"]), tuple(plain["activations"]), place, plain.get("name", ""), tuple(plain.get("norms", ())))


FLOATING = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def install(model: nn.Module, replacements: Sequence[tuple[Replacement, Sequence[nn.Module]]]) -> Edits:
    """Carry out the replacements on ``model``, all or none.

    Args:
        model: is changed.
        replacements: each with its new modules, one a call that has its own.

    Raises:
        SlafError: a path does not exist, or a method's source is not what the place was found in.
    """
    edits = Edits()
    routes: dict[nn.Module, dict[Place, str]] = {}
    try:
        for replacement, modules in replacements:
            new = modules[0] if len(modules) == 1 else PerCall(modules)
            for path in replacement.norms:
                _put(model, path, nn.Identity(), edits)
            if replacement.place is not None:
                owner = _module(model, replacement.paths[0])
                _add(owner, replacement.name, new, edits)
                routes.setdefault(owner, {})[replacement.place] = replacement.name
                continue
            for path in replacement.paths:
                _put(model, path, new, edits)
        for owner, places in routes.items():
            edits.reroute(owner, places)
    except BaseException:
        edits.undo()
        raise
    return edits


def _module(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError:
        raise SlafError(f"the model has no module {path!r}; the recipe was made for another one") from None


def _put(model: nn.Module, path: str, new: nn.Module, edits: Edits) -> None:
    """A module in the place of a submodule, or of a function that an attribute holds."""
    parent, _, name = path.rpartition(".")
    owner = _module(model, parent)
    before = owner._modules.get(name, owner)
    if before is owner and name not in owner.__dict__:
        raise SlafError(f"the model has no module or attribute {path!r}; the recipe was made for another one")
    new.train(owner.training if before is None else before.training)
    if before is owner:
        edits.remove(owner, ATTRIBUTES, name)
    edits.put(owner, name, new)


def _add(owner: nn.Module, name: str, new: nn.Module, edits: Edits) -> None:
    if hasattr(owner, name):
        raise SlafError(f"{type(owner).__name__} has an attribute {name!r} already")
    new.train(owner.training)
    edits.set(owner, MODULES, name, new)


def number_format(model: nn.Module, path: str) -> tuple[torch.device, torch.dtype] | None:
    """Device and dtype of the floating parameters nearest to a path: of the module there, or the innermost around it that has some."""
    while True:
        try:
            around: nn.Module | None = model.get_submodule(path)
        except AttributeError:  # a function that an attribute holds, or a module that a recipe makes
            around = None
        for parameter in () if around is None else around.parameters():
            if parameter.dtype in FLOATING:
                return parameter.device, parameter.dtype
        if not path:
            return None
        path = path.rpartition(".")[0]
