"""Optional packages, imported when a check needs them."""

from __future__ import annotations

import importlib
from typing import Any

from slaf.core import SlafError

__all__ = ["optional"]


def optional(module: str) -> Any:
    """Import ``module`` of the extra ``testing``.

    Raises:
        SlafError: it is not installed; the message gives the command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SlafError(f'this check needs {module}; install it with: pip install "slaf[testing]"') from error
