"""Sines and cosines with a common period."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .base import Basis, check_number, check_order, register_basis

__all__ = ["Fourier"]


@register_basis
@dataclass(frozen=True, repr=False)
class Fourier(Basis):
    """φ_{2m-1}(u) = sin(mu), φ_{2m}(u) = cos(mu): pairs over the angle u; the domain is [-π, π]/``period``.

    A period longer than the domain (a Fourier extension) lets functions differ at the domain's two ends; at ``period=1`` they are
    periodic there, and the terms orthogonal. Beyond the domain combinations repeat. Condition number of [1, φ] for 10 terms and period
    1.5: below 130 (uniform density on the domain); it grows fast with both.

    Args:
        period: 2π, the common period, as a multiple of the domain's length; 1 to 4.
    """

    period: float = 1.5

    name = "fourier"
    default_terms = 10
    examples = ("fourier(period=1.0)",)

    def __post_init__(self) -> None:
        check_number("period of fourier", self.period, 1, 4)
        object.__setattr__(self, "period", float(self.period))

    @property
    def domain(self) -> tuple[float, float]:  # type: ignore[override]
        return (-math.pi / self.period, math.pi / self.period)

    @staticmethod
    def frequencies(count: int) -> list[int]:
        """m for every term."""
        return [k // 2 + 1 for k in range(count)]

    def combine(self, u: Tensor, coefficients: Tensor, count: int) -> Tensor:
        y = 0 * u
        for k, (c, frequency) in enumerate(zip(coefficients.unbind(0), self.frequencies(count), strict=True)):
            angle = frequency * u
            y = y + (torch.cos(angle) if k % 2 else torch.sin(angle)) * c
        return y

    def element_sizes(self, count: int) -> list[tuple[float, float]]:
        return [(1.0, float(m)) for m in self.frequencies(count)]

    def derivative(self, u: Tensor, count: int, order: int = 1) -> Tensor:
        quarters, size = check_order(order) % 4, order
        sign = -1.0 if quarters >= 2 else 1.0
        terms = []
        for k, frequency in enumerate(self.frequencies(count)):
            angle, scale = frequency * u, sign * frequency**size
            swapped = bool(quarters % 2)
            if k % 2:
                terms.append((-torch.sin(angle) if swapped else torch.cos(angle)) * scale)
            else:
                terms.append((torch.cos(angle) if swapped else torch.sin(angle)) * scale)
        return torch.stack(terms, -1)

    def antiderivative(self, u: Tensor, count: int) -> Tensor:
        terms = []
        for k, frequency in enumerate(self.frequencies(count)):
            # 1 - cos without cancellation
            terms.append((torch.sin(frequency * u) if k % 2 else 2 * torch.sin(frequency * u / 2) ** 2) / frequency)
        return torch.stack(terms, -1)

    def expressions(self, x: Any, count: int) -> list[Any]:
        import sympy

        angles = [frequency * x for frequency in self.frequencies(count)]
        return [sympy.cos(angle) if k % 2 else sympy.sin(angle) for k, angle in enumerate(angles)]
