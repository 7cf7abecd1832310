"""Work on a whole model. Here: ``expand``, a polynomial network as one explicit polynomial. Imports every room below, none above."""

from .expand import expand
from .multivariate import Multivariate

__all__ = ["Multivariate", "expand"]
