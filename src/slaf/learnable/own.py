"""A module's parameters by the short way."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["own"]


def own(module: nn.Module, *names: str) -> list[Any]:
    """Past the module's ``__getattr__``, which takes as long as a check of a kernel's; a parametrised one is no parameter of its own."""
    kept = module._parameters
    return [getattr(module, name) if kept.get(name) is None else kept[name] for name in names]
