"""Polynomial networks as arithmetic circuits: affine maps, polynomials and products, scheduled so that they cost few levels, and counted.

What runs on ciphertexts and what a depth is said of: ``export.encrypted`` reads the steps off the weights, ``polynomializing`` off the
exported graph. Imports bases alone.
"""

from .counting import Costs, Counted, count
from .network import Affine, Network, Polynomial, Product
from .schedule import Plans, Stored, execute, schedule

__all__ = ["Affine", "Costs", "Counted", "Network", "Plans", "Polynomial", "Product", "Stored", "count", "execute", "schedule"]
