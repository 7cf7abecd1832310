"""Checks of numbers that a user gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from slaf.core import SlafError

__all__ = ["number"]


def number(name: str, value: Any, allowed: str, value_ok: Callable[[float], bool]) -> None:
    """Refuse what is no such number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or not value_ok(float(value)):
        raise SlafError(f"{name} must be a number {allowed}; got {value!r}")
