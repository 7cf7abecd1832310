"""Half types computed in float32: what most entries that are written out here need."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["in_float32"]


def in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Wrap ``f(x, **params)`` so that float16 and bfloat16 inputs are computed in float32 and rounded once.

    The intermediate results of a formula (x², exp(x), and those of its derivatives) overflow float16 or lose its last digits.
    """

    @functools.wraps(function)
    def rounded_once(x: Tensor, *args: float, **params: float) -> Tensor:
        if x.dtype in (torch.float16, torch.bfloat16):
            return function(x.float(), *args, **params).to(x.dtype)
        return function(x, *args, **params)

    return rounded_once
