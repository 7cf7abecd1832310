"""Modules that are more than a scalar function: norm-activations, Kolmogorov–Arnold layers and, later, gates and sorters. Plain functions
live in ``slaf.zoo`` and learned ones in ``slaf.learnable``. Imports bases, core and kernels alone.
"""

from .grkan import GRKANMLP, GRKANLinear
from .kan import AFKANLinear, KANConv1d, KANConv2d, KANConv3d, KANLinear, SelectableKAN, SymbolicKANLinear
from .rbf_network import RBFNetwork

__all__ = [
    "GRKANMLP",
    "AFKANLinear",
    "GRKANLinear",
    "KANConv1d",
    "KANConv2d",
    "KANConv3d",
    "KANLinear",
    "RBFNetwork",
    "SelectableKAN",
    "SymbolicKANLinear",
]
