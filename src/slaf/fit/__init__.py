"""From any function to the coefficients of a basis, and one activation folded to a cheap form with a proven error.

Imports bases and core alone.
"""

from .approximate import Fit, approximate
from .constraints import Fixed, Lipschitz, Monotone, Parity
from .density import Density, Measured, Normal, Uniform
from .folded import Folded
from .folding import fold
from .identify import Identification, identify
from .least_squares import least_squares
from .minimax import Minimax, minimax
from .piecewise import PiecewisePolynomial, PiecewiseTerms, bspline_terms, piecewise_linear_terms, polynomial_terms
from .proof import Proof
from .rational import fit_rational
from .refit import refit

__all__ = [
    "Density",
    "Fit",
    "Fixed",
    "Folded",
    "Identification",
    "Lipschitz",
    "Measured",
    "Minimax",
    "Monotone",
    "Normal",
    "Parity",
    "PiecewisePolynomial",
    "PiecewiseTerms",
    "Proof",
    "Uniform",
    "approximate",
    "bspline_terms",
    "fit_rational",
    "fold",
    "identify",
    "least_squares",
    "minimax",
    "piecewise_linear_terms",
    "polynomial_terms",
    "refit",
]
