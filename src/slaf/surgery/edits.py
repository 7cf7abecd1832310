"""Edits of a model that can be undone, and what is asked of its modules before they are edited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

__all__ = ["Edits", "hand_over_hooks", "has_hooks", "hides_activation", "paths"]

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


class Edits:
    """Changes of a model that :meth:`undo` takes back."""

    def __init__(self) -> None:
        self._log: list[tuple[dict[str, Any], str, Any]] = []

    def set(self, entries: dict[str, Any], name: str, value: Any) -> None:
        """``entries[name] = value`` for the ``_modules``, ``_parameters`` or attributes of a module."""
        self._log.append((entries, name, entries[name]))
        entries[name] = value

    def replace(self, root: nn.Module, new: Mapping[nn.Module, nn.Module]) -> nn.Module:
        """Put ``new[module]`` wherever ``module`` is registered, hooks carried over; the root, or what replaces it."""
        for parent in list(root.modules()):
            for name, child in list(parent._modules.items()):
                if child is not None and child in new:
                    self.set(parent._modules, name, new[child])
                    if hides_activation(parent, name):
                        self.set(parent.__dict__, "activation_relu_or_gelu", 0)
        for module, other in new.items():
            hand_over_hooks(module, other)
        return new.get(root, root)

    def undo(self) -> None:
        """Back to where it began."""
        while self._log:
            entries, name, value = self._log.pop()
            entries[name] = value
