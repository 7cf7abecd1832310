"""The bases φ_k of the learnable families, one small file each: data that a family needs, no parameters, no modules.

Three kinds: polynomials, given by a recurrence; piecewise polynomials, by a table of local coefficients; and those whose terms are
written out one by one. Imports core and kernels alone.
"""

from .base import Basis, bases, basis, register_basis
from .piecewise import PiecewiseBasis
from .polynomial import PolynomialBasis

__all__ = ["Basis", "PiecewiseBasis", "PolynomialBasis", "bases", "basis", "register_basis"]
