"""Probabilists' Hermite polynomials, orthonormal over N(0, 1)."""

import math
from dataclasses import dataclass

from slaf.kernels import Recurrence

from .base import MAX_DEGREE, register_basis
from .polynomial import CHEBYSHEV, PolynomialBasis

__all__ = ["Hermite"]


@register_basis
@dataclass(frozen=True, repr=False)
class Hermite(PolynomialBasis):
    """φ_k(u) = He_k(u)/√k!, √(k + 1)·φ_{k+1} = u·φ_k - √k·φ_{k-1}.

    Uncorrelated with variance 1 over u ~ N(0, 1): the domain is three standard deviations, so with ``input_scale=3`` a SLAF's u is
    its standardised input itself. Condition number of [1, φ] at degree 7: 1 over N(0, 1), below 17 over the uniform density on the
    domain.
    """

    name = "hermite"
    domain = (-3.0, 3.0)
    evaluated_in = CHEBYSHEV  # on the domain Clenshaw's rule rounds least there
    # as far as products of two terms of the highest degree reach
    recurrence = Recurrence(
        a=tuple(1 / math.sqrt(j + 1) for j in range(2 * MAX_DEGREE + 2)),
        b=tuple(math.sqrt(j / (j + 1)) for j in range(2 * MAX_DEGREE + 2)),
    )
