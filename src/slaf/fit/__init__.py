"""From any function to the coefficients of a basis. Imports bases and core alone."""

from .density import Normal, Uniform
from .least_squares import least_squares

__all__ = ["Normal", "Uniform", "least_squares"]
