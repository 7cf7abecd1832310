"""Understand trained networks: what a polynomial network computes, along a line, site by site and between its inputs.

Nothing is changed or trained here. Imports surgery and below; matplotlib when a figure is asked for.
"""

from .explain import Explanation, explain
from .interactions import Interactions, interactions
from .line import Line, along_line
from .spectrum import SiteSpectrum, spectra

__all__ = ["Explanation", "Interactions", "Line", "SiteSpectrum", "along_line", "explain", "interactions", "spectra"]
