"""What is exported, named by a text: an activation, a function of the user's, a saved program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from slaf.core import SlafError
from slaf.core.errors import blame
from slaf.core.exporting import quiet
from slaf.data.function import called, is_function

__all__ = ["read_source"]


def read_source(text: str) -> tuple[Any, Any]:
    """The model and its example, None where it has none of its own.

    Args:
        text: an activation string; ``package.module:function``, called without arguments, that returns a module or (module, example);
            or a file ``.pt2`` that :func:`slaf.export.api.export` or ``torch.export.save`` wrote. Such a file can hold anything that
            pickle reads, so load only what you trust.

    Raises:
        SlafError: the function cannot be loaded, fails or returns anything else; the file is missing or no such program.
    """
    if text.endswith(".pt2"):
        return _program(Path(text)), None
    if not is_function(text):
        return text, None
    found = called(text)
    model, example = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    if not isinstance(model, nn.Module):
        raise SlafError(f"{text} must return a torch.nn.Module, or one and an example; got {type(found).__name__}")
    return model, example


def _program(path: Path) -> torch.export.ExportedProgram:
    if not path.is_file():
        raise SlafError(f"there is no file {str(path)!r}")
    try:
        with quiet():
            return torch.export.load(path)
    except Exception as error:
        raise SlafError(f"{str(path)!r} is no saved torch.export program: {blame(error)}") from None
