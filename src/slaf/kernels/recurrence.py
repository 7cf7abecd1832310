"""Polynomial families by their recurrence: everything algebraic that evaluation, gradients and folding need, in float64."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Recurrence"]

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Recurrence:
    """φ₀ = 1, φ₁ = a₀u, φⱼ₊₁ = aⱼ u φⱼ - bⱼ φⱼ₋₁.

    Args:
        a: the factors aⱼ; the last one repeats for ever.
        b: the factors bⱼ (b₀ is not used); the last one repeats for ever.

    Attributes:
        code: the kernels' code of the family: 0 powers, 1 Chebyshev; ``None`` for others.
    """

    a: tuple[float, ...]
    b: tuple[float, ...]
    code: int | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", self._code())

    def factors(self, j: int) -> tuple[float, float]:
        """(aⱼ, bⱼ)."""
        return self.a[min(j, len(self.a) - 1)], self.b[min(j, len(self.b) - 1)]

    def _code(self) -> int | None:
        if self.is_power():
            return 0
        chebyshev = [self.factors(0)[0], *(f for j in range(1, 4) for f in self.factors(j))] == [1.0, *(2.0, 1.0) * 3]
        return 1 if chebyshev and len(self.a) <= 4 and len(self.b) <= 4 else None

    @lru_cache(maxsize=256)  # noqa: B019 - instances are few, hashable and live as long as the process
    def times_u(self, size: int) -> Matrix:
        """Row j holds u·φⱼ in the family, j < size: shape (size, size + 1)."""
        out = np.zeros((size, size + 1))
        for j in range(size):
            a, b = self.factors(j)
            out[j, j + 1] = 1 / a
            if j:
                out[j, j - 1] = b / a
        return out

    @lru_cache(maxsize=256)  # noqa: B019
    def derivative(self, degree: int) -> Matrix:
        """Row j holds φⱼ' in the family: shape (degree + 1, degree + 1)."""
        out = np.zeros((degree + 1, degree + 1))
        for j in range(degree):
            a, b = self.factors(j)
            out[j + 1] = -b * out[j - 1] if j else 0
            out[j + 1, j] += a
            out[j + 1] += a * (out[j] @ self.times_u(degree + 1))[:-1]
        return out

    @lru_cache(maxsize=256)  # noqa: B019
    def products(self, degree: int) -> NDArray[np.float64]:
        """Entry [i, j] holds φᵢφⱼ in the family: shape (degree + 1, degree + 1, 2·degree + 1)."""
        size = 2 * degree + 1
        times_u = self.times_u(size)[:, :size]
        out = np.zeros((degree + 1, degree + 1, size))
        out[0, :, : degree + 1] = np.eye(degree + 1)
        for i in range(degree):
            a, b = self.factors(i)
            out[i + 1] = a * out[i] @ times_u - (b * out[i - 1] if i else 0)
        return out

    @lru_cache(maxsize=256)  # noqa: B019
    def to_monomial(self, degree: int) -> Matrix:
        """Row j holds φⱼ in powers of u: shape (degree + 1, degree + 1)."""
        out = np.zeros((degree + 1, degree + 1))
        out[0, 0] = 1
        for j in range(degree):
            a, b = self.factors(j)
            out[j + 1, 1:] = a * out[j, :-1]
            if j:
                out[j + 1] -= b * out[j - 1]
        return out

    def is_power(self) -> bool:
        """Whether the family is 1, u, u², …, so that Horner's rule serves."""
        return set(self.a) == {1.0} and set(self.b) == {0.0}
