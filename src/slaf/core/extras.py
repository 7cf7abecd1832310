"""Optional packages: imported where they are needed, named with the command that installs them where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import SlafError

__all__ = ["optional"]


def optional(module: str, extra: str, purpose: str) -> Any:
    """Import ``module``, a package of the extra ``slaf[extra]``.

    Raises:
        SlafError: it is not installed; ``purpose`` says what needs it, and the message gives the command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SlafError(f'{purpose} needs {module}; install it with: pip install "slaf[{extra}]"') from error
