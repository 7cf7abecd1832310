"""From any function to the coefficients of a basis; an activation folded to a cheap form, the error proven. Imports bases and core alone."""

from .density import Density, Measured, Normal, Uniform
from .folded import Folded
from .folding import fold
from .least_squares import least_squares
from .minimax import Minimax, minimax
from .piecewise import PiecewisePolynomial, PiecewiseTerms, bspline_terms, piecewise_linear_terms, polynomial_terms
from .proof import Proof

__all__ = [
    "Density",
    "Folded",
    "Measured",
    "Minimax",
    "Normal",
    "PiecewisePolynomial",
    "PiecewiseTerms",
    "Proof",
    "Uniform",
    "bspline_terms",
    "fold",
    "least_squares",
    "minimax",
    "piecewise_linear_terms",
    "polynomial_terms",
]
