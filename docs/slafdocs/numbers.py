"""Numbers that are quick enough to be computed whenever the site is built."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from slaf.core import Activation

__all__ = ["half_error"]

_MANTISSA = {torch.bfloat16: (7, -126), torch.float16: (10, -14)}


def half_error(module: nn.Module, dtype: torch.dtype, bound: float = 8.0) -> tuple[float, float]:
    """The largest error of ``module`` in ``dtype`` over all of its numbers in [-bound, bound], and where it occurs.

    In units in the last place of the exact value, which is the same module (its parameters rounded to ``dtype``) in float64. Where
    the exact value is beyond the dtype's range there is no error to speak of.
    """
    assert isinstance(module, Activation)
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    x = every[torch.isfinite(every) & (every.abs() <= bound)]
    low = copy.deepcopy(module).eval().to(dtype)
    with torch.no_grad():
        got = low.curves(x)[:, 0].double()
        exact = copy.deepcopy(low).double().curves(x.double())[:, 0]
    fits = exact.abs() <= torch.finfo(dtype).max
    error = torch.where(fits, (got - exact).abs() / _ulp(exact, dtype), torch.zeros_like(exact))
    worst = int(error.nan_to_num(nan=torch.inf).argmax())
    return float(error[worst]), float(x[worst])


def _ulp(value: Tensor, dtype: torch.dtype) -> Tensor:
    """The distance between neighbouring numbers of ``dtype`` at ``value``."""
    bits, smallest = _MANTISSA[dtype]
    exponent = torch.frexp(value.abs()).exponent - 1
    return torch.ldexp(torch.ones_like(value), exponent.clamp(min=smallest) - bits)
