"""Powers: φ_k(u) = u^k, the Taylor basis of the SLAF paper (arXiv:1906.09529)."""

from dataclasses import dataclass

from .base import register_basis
from .polynomial import POWERS, PolynomialBasis

__all__ = ["Power"]


@register_basis
@dataclass(frozen=True, repr=False)
class Power(PolynomialBasis):
    """φ_k(u) = u^k. Condition number of [1, φ] at degree 7: below 250 (uniform density on the domain).

    It grows sixfold with every two degrees.
    """

    name = "power"
    recurrence = POWERS
