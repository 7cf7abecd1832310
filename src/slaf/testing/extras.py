"""Optional packages, imported when a check needs them."""

from __future__ import annotations

from typing import Any

from slaf.core import extras

__all__ = ["optional"]


def optional(module: str) -> Any:
    """Import ``module`` of the extra ``testing``.

    Raises:
        SlafError: it is not installed; the message gives the command.
    """
    return extras.optional(module, "testing", "this check")
