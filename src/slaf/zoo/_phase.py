"""Phases of oscillating functions, with the rounding error of a product carried along: sin(30 x) is otherwise off by 1e-5 in float32."""

import math

import torch
from torch import Tensor

__all__ = ["cosine_of", "phase_of_product", "sine_of", "two_product", "two_sum"]


def two_product(a: Tensor, b: Tensor | float) -> tuple[Tensor, Tensor]:
    """The rounded product and its rounding error (Dekker's algorithm); the error is a constant for differentiation."""
    product = a * b
    b = torch.full_like(a, b) if isinstance(b, float) else b
    (a_high, a_low), (b_high, b_low) = _split(a), _split(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, torch.where(torch.isfinite(error), error, torch.zeros_like(error)).detach()


def _split(a: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and the lower half of the digits."""
    scaled = a * (134217729.0 if a.dtype == torch.float64 else 4097.0)
    high = scaled - (scaled - a)
    return high, a - high


def two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The rounded sum and its rounding error (Knuth's algorithm); the error is a constant for differentiation."""
    total = a + b
    shift = total - a
    return total, ((a - (total - shift)) + (b - shift)).detach()


def phase_of_product(x: Tensor, omega: float) -> tuple[Tensor, Tensor | None]:
    """omega · x as a rounded number and its correction, None where there is none."""
    if omega == 1:
        return x, None
    upper = omega if x.dtype == torch.float64 else _in_float32(omega)
    product, error = two_product(x, float(upper))
    return product, error + (omega - upper) * x


def _in_float32(value: float) -> float:
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(mantissa * 2**24), exponent - 24)


def sine_of(phase: Tensor, correction: Tensor | None) -> Tensor:
    """sin(phase + correction)."""
    if correction is None:
        return torch.sin(phase)
    return torch.sin(phase) * torch.cos(correction) + torch.cos(phase) * torch.sin(correction)


def cosine_of(phase: Tensor, correction: Tensor | None) -> Tensor:
    """cos(phase + correction)."""
    if correction is None:
        return torch.cos(phase)
    return torch.cos(phase) * torch.cos(correction) - torch.sin(phase) * torch.sin(correction)
