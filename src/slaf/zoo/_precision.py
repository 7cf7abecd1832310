"""Half types are computed in float32, because squares and products inside a function overflow them or lose their few digits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["at_least", "in_float32"]

HALF = (torch.float16, torch.bfloat16)


def in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same function of x and its parameters, computed in float32 where x is of a half type; the output has x's dtype."""

    @functools.wraps(function)
    def computed(x: Tensor, *args: Any, **params: Any) -> Tensor:
        if x.dtype not in HALF:
            return function(x, *args, **params)
        widened = {name: _wide(value) for name, value in params.items()}
        return function(x.float(), *(_wide(value) for value in args), **widened).to(x.dtype)

    return computed


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value


def at_least(value: float | Tensor, low: float) -> float | Tensor:
    """max(value, low), for a number or a learned tensor that training may drive below its interval."""
    return value.clamp(min=low) if isinstance(value, Tensor) else max(value, low)
