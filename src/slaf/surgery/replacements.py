"""The replacements of a swap: which module, attribute or call becomes which activation; carried out together, and undone together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slaf.core import SlafError

from .edits import hides_activation
from .rewriting.places import Place
from .rewriting.rewrite import PerCall, reroute, restore, routes_of

__all__ = ["Change", "Replacement", "install", "number_format", "revert"]


@dataclass(frozen=True)
class Replacement:
    """One replacement, as data.

    Attributes:
        paths: of the module or attribute that is replaced, everywhere it is registered; of the module whose code makes the call, where
            ``place`` is given.
        activations: the activation string, one for each call that has an activation of its own.
        place: of the call in the source that goes to ``name`` from now on.
        name: of the new submodule there.
    """

    paths: tuple[str, ...]
    activations: tuple[str, ...]
    place: Place | None = None
    name: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; :meth:`from_dict` makes an equal one."""
        plain: dict[str, Any] = {"paths": list(self.paths), "activations": list(self.activations)}
        if self.place is None:
            return plain
        place = self.place.to_dict()
        return plain | {"place": place | {"file": Path(place["file"]).name}, "name": self.name}  # no folder of this machine

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Replacement:
        """Read what :meth:`to_dict` wrote."""
        place = Place.from_dict(plain["place"]) if "place" in plain else None
        return cls(tuple(plain["paths"]), tuple(plain["activations"]), place, plain.get("name", ""))


@dataclass
class Change:
    """What :func:`install` did to one attribute (``name``), or to the calls of one module (``name`` is None), and what was there before."""

    owner: nn.Module
    name: str | None
    before: Any


_ABSENT = "absent"
FLOATING = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def install(model: nn.Module, replacements: Sequence[tuple[Replacement, Sequence[nn.Module]]]) -> list[Change]:
    """Carry out the replacements on ``model``, all or none.

    Args:
        model: is changed.
        replacements: each with its new modules, one a call that has its own.

    Raises:
        SlafError: a path does not exist, or a method's source is not what the place was found in.
    """
    done: list[Change] = []
    routes: dict[int, tuple[nn.Module, dict[Place, str]]] = {}
    try:
        for replacement, modules in replacements:
            new = modules[0] if len(modules) == 1 else PerCall(modules)
            if replacement.place is not None:
                owner = _module(model, replacement.paths[0])
                _set(owner, replacement.name, new, done)
                routes.setdefault(id(owner), (owner, {}))[1][replacement.place] = replacement.name
                continue
            for path in replacement.paths:
                parent, _, name = path.rpartition(".")
                _set(_module(model, parent), name, new, done, existing=path)
        for owner, places in routes.values():
            before = routes_of(owner)
            reroute(owner, places)
            done.append(Change(owner, None, before))
    except BaseException:
        revert(done)
        raise
    return done


def revert(changes: Sequence[Change]) -> None:
    """Put back what was there, bitwise: the same objects, in the same order of registration."""
    for change in reversed(changes):
        if change.name is None:
            restore(change.owner)
            if change.before:
                reroute(change.owner, change.before)
            continue
        if change.name in change.owner._modules and isinstance(change.before, nn.Module):
            change.owner._modules[change.name] = change.before
            continue
        change.owner._modules.pop(change.name, None)
        if change.before is not _ABSENT:
            change.owner.__dict__[change.name] = change.before


def _module(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError:
        raise SlafError(f"the model has no module {path!r}; the recipe was made for another one") from None


def _set(owner: nn.Module, name: str, new: nn.Module, done: list[Change], existing: str | None = None) -> None:
    if name in owner._modules:
        before: Any = owner._modules[name]
    else:
        before = owner.__dict__.get(name, _ABSENT)
        if before is _ABSENT and existing is not None:
            raise SlafError(f"the model has no module or attribute {existing!r}; the recipe was made for another one")
    if existing is None and (before is not _ABSENT or hasattr(owner, name)):
        raise SlafError(f"{type(owner).__name__} has an attribute {name!r} already")
    new.train(before.training if isinstance(before, nn.Module) else owner.training)
    if hides_activation(owner, name):
        done.append(Change(owner, "activation_relu_or_gelu", owner.__dict__["activation_relu_or_gelu"]))
        owner.__dict__["activation_relu_or_gelu"] = 0
    done.append(Change(owner, name, before))
    if name in owner._modules:
        owner._modules[name] = new  # keeps the order of registration
    else:
        owner.__dict__.pop(name, None)
        owner.add_module(name, new)


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
