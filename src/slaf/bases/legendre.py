"""Legendre polynomials, orthogonal over the uniform density on [-1, 1]; φ_k(1) = 1."""

from dataclasses import dataclass

from slaf.kernels import Recurrence

from .base import MAX_DEGREE, register_basis
from .polynomial import CHEBYSHEV, PolynomialBasis

__all__ = ["Legendre"]


@register_basis
@dataclass(frozen=True, repr=False)
class Legendre(PolynomialBasis):
    """φ_k(u) = P_k(u), (k + 1)·P_{k+1} = (2k + 1)·u·P_k - k·P_{k-1}: 1 at u = 1, within [-1, 1] on the domain.

    Uncorrelated over the uniform density on the domain, E φ_k² = 1/(2k + 1): the condition number of [1, φ]
    there is √(2K + 1), below 4 at degree 7.
    """

    name = "legendre"
    evaluated_in = CHEBYSHEV  # on the domain Clenshaw's rule rounds least there
    # as far as products of two terms of the highest degree reach
    recurrence = Recurrence(
        a=tuple((2 * j + 1) / (j + 1) for j in range(2 * MAX_DEGREE + 2)),
        b=tuple(j / (j + 1) for j in range(2 * MAX_DEGREE + 2)),
    )
