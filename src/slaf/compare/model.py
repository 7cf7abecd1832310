"""A user's own network in a study's place: ``package:function``, called as ``build(make)`` or ``build(make, data)``."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from slaf.core import SlafError
from slaf.core.errors import blame
from slaf.data.function import load_function

from .study import Data, Make

__all__ = ["build_with", "fingerprint"]


def fingerprint(name: str) -> str:
    """SHA-256 of the file that the function is written in (of the function alone, in a notebook)."""
    function = inspect.unwrap(load_function(name))
    try:
        whole = getattr(function, "__module__", "__main__") != "__main__"
        source = Path(str(inspect.getsourcefile(function))).read_bytes() if whole else inspect.getsource(function).encode()
    except (OSError, TypeError):  # no source, as for a compiled function
        source = name.encode()
    return hashlib.sha256(source).hexdigest()


def build_with(name: str, make: Make, data: Data) -> nn.Module:
    """The network that the function builds.

    Raises:
        SlafError: the function fails (its own error, with file and line), or returns no trainable module.
    """
    function = load_function(name)
    try:
        model = function(make, data) if _takes_data(function) else function(make)
    except SlafError:
        raise
    except Exception as error:
        raise SlafError(f"model {name} failed: {blame(error)}") from error
    if not isinstance(model, nn.Module):
        raise SlafError(f"model {name} must return a torch.nn.Module; got {type(model).__name__}")
    if not any(p.requires_grad for p in model.parameters()):
        raise SlafError(f"model {name} returned a module without trainable parameters")
    return model


def _takes_data(function: Callable[..., Any]) -> bool:
    """Whether a second argument is required: an optional one is the user's own."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is p.empty for p in parameters) >= 2
