"""Families whose θ is trained with the network, ``SLAF`` first. Imports fit, bases and core."""

from .slaf import SLAF

__all__ = ["SLAF"]
