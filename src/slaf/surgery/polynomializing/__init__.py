"""Networks made polynomial: pooling, fitted polynomials, ranges, training, the report, and the check that nothing else is left.

The exchange itself is ``surgery.annealing``'s, the loop ``train``'s.
"""

from .operations import nonpolynomial_operations
from .outline import multiplicative_depth
from .polynomialize import polynomialize
from .report import PolynomialReport, PolynomialSite, Quality

__all__ = ["PolynomialReport", "PolynomialSite", "Quality", "multiplicative_depth", "nonpolynomial_operations", "polynomialize"]
