"""Families whose θ is trained with the network, ``SLAF`` first. Imports fit, bases and core."""

from .apl import APL
from .diagnose import diagnose
from .formula import from_formula
from .gp import GP
from .mixture import Mixture
from .pairs import valid_pairs
from .polyrelu import PolyReLU
from .rational import Rational
from .regularize import DecayToStart, SlopePenalty
from .slaf import SLAF
from .spline import PiecewiseLinear, Spline

__all__ = [
    "APL",
    "GP",
    "SLAF",
    "DecayToStart",
    "Mixture",
    "PiecewiseLinear",
    "PolyReLU",
    "Rational",
    "SlopePenalty",
    "Spline",
    "diagnose",
    "from_formula",
    "valid_pairs",
]
