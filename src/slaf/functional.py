"""The bare function of every activation without learnable parameters: ``slaf.functional.softplus(x, beta=2.0)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .core.catalogue import activations
from .core.errors import nearest

__all__: list[str] = []


def _function(name: str) -> Callable[..., Any] | None:
    entry = activations[name]
    claims = getattr(entry, "claims", None)
    if claims is None or any(p.learnable for p in claims.params.values()):
        return None
    return entry.function  # type: ignore[attr-defined]


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith("_"):  # what import machinery and inspect ask for; no entry is named so
        raise AttributeError(f"module 'slaf.functional' has no attribute {name!r}")
    if name not in activations:
        raise AttributeError(f"module 'slaf.functional' has no function {name!r}{nearest(name, __dir__())}")
    function = _function(name)
    if function is None:
        raise AttributeError(f"{name} has parameters of its own, so it is no plain function; use slaf.make({name!r})")
    globals()[name] = function
    return function


def __dir__() -> list[str]:
    return [name for name in activations.names() if _function(name) is not None]
