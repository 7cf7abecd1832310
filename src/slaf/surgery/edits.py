"""Edits of a model that can be undone, and what is asked of its modules before they are edited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import nn

from .rewriting.places import Place
from .rewriting.rewrite import reroute, restore, routes_of

__all__ = ["ATTRIBUTES", "MODULES", "PARAMETERS", "Edits", "hand_over_hooks", "has_hooks", "hides_activation", "paths"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_HOOK_OPTIONS = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs", "_is_full_backward_hook")


def paths(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Every module with all the paths under which it is registered, in their order."""
    out: dict[nn.Module, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        out.setdefault(module, []).append(path)
    return out


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody listens to the module."""
    return any(getattr(module, name) for name in _HOOKS)


def hand_over_hooks(old: nn.Module, new: nn.Module) -> None:
    """Who listens to the old module listens to the new one; their handles remove the hooks from both."""
    for hooks in (*_HOOKS, *_HOOK_OPTIONS):
        if hooks in old.__dict__:
            new.__dict__[hooks] = old.__dict__[hooks]


def hides_activation(parent: nn.Module, name: str) -> bool:
    """Whether ``activation_relu_or_gelu`` of the parent must be 0, or else its fused path never calls the module of this name."""
    return name == "activation" and isinstance(parent, nn.TransformerEncoderLayer)


class _Change(NamedTuple):
    """What stood under ``name`` in a dictionary of a module; for its calls ``where`` is empty and ``before`` holds their routes."""

    owner: nn.Module
    where: str
    name: str
    before: Any


_ABSENT = ...  # a copy and a pickle of it is the same object
MODULES, PARAMETERS, ATTRIBUTES, _CALLS = "_modules", "_parameters", "__dict__", ""


class Edits:
    """Changes of a model that :meth:`undo` takes back, bitwise: the same objects, in the same order of registration.

    It names modules, not their dictionaries, so a deep copy of a model that holds its edits can undo them.
    """

    def __init__(self) -> None:
        self._log: list[_Change] = []

    def set(self, owner: nn.Module, where: str, name: str, value: Any) -> None:
        """An entry of the ``MODULES``, ``PARAMETERS`` or ``ATTRIBUTES`` of a module; one that is there keeps its place."""
        entries = getattr(owner, where)
        self._log.append(_Change(owner, where, name, entries.get(name, _ABSENT)))
        entries[name] = value

    def remove(self, owner: nn.Module, where: str, name: str) -> None:
        """Without the entry."""
        self._log.append(_Change(owner, where, name, getattr(owner, where).pop(name)))

    def reroute(self, owner: nn.Module, routes: Mapping[Place, str]) -> None:
        """See :func:`slaf.surgery.rewriting.rewrite.reroute`."""
        before = routes_of(owner)
        reroute(owner, routes)
        self._log.append(_Change(owner, _CALLS, "", before))

    def put(self, parent: nn.Module, name: str, new: nn.Module) -> None:
        """A submodule instead of a submodule."""
        self.set(parent, MODULES, name, new)
        if hides_activation(parent, name):
            self.set(parent, ATTRIBUTES, "activation_relu_or_gelu", 0)

    def replace(self, root: nn.Module, new: Mapping[nn.Module, nn.Module]) -> nn.Module:
        """Put ``new[module]`` wherever ``module`` is registered, hooks carried over; the root, or what replaces it."""
        for parent in list(root.modules()):
            for name, child in list(parent._modules.items()):
                if child is not None and child in new:
                    self.put(parent, name, new[child])
        for module, other in new.items():
            hand_over_hooks(module, other)
        return new.get(root, root)

    def replaced(self) -> list[tuple[nn.Module, nn.Module]]:
        """Every module that was replaced, with what stands there now."""
        return [(c.before, c.owner._modules[c.name]) for c in self._log if c.where == MODULES and isinstance(c.before, nn.Module)]  # type: ignore[misc]

    def undo(self) -> None:
        """Back to where it began."""
        while self._log:
            owner, where, name, before = self._log.pop()
            if where == _CALLS:
                restore(owner)
                if before:
                    reroute(owner, before)
            elif before is _ABSENT:
                getattr(owner, where).pop(name, None)
            else:
                getattr(owner, where)[name] = before
