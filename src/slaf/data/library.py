"""Libraries that only readers of data need: imported when first used, named with the command that installs them when missing."""

from __future__ import annotations

import importlib
from typing import Any

from slaf.core import SlafError

__all__ = ["library"]


def library(name: str, purpose: str) -> Any:
    """The module ``name``.

    Raises:
        SlafError: it is not installed; ``purpose`` says what cannot be done without it.
    """
    package = {"PIL": "Pillow"}.get(name.partition(".")[0], name.partition(".")[0])
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SlafError(f'{purpose} needs {package}, which cannot be imported ({error}): pip install "slaf[data]"') from None
