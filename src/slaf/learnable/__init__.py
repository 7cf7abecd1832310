"""Families whose θ is trained with the network, ``SLAF`` first. Imports fit, bases and core."""

from .formula import from_formula
from .pairs import valid_pairs
from .slaf import SLAF

__all__ = ["SLAF", "from_formula", "valid_pairs"]
