"""Modules that are more than a scalar function: norm-activations, Kolmogorov–Arnold layers and, later, gates and sorters. Plain functions
live in ``slaf.zoo`` and learned ones in ``slaf.learnable``. Imports bases, core and kernels alone.
"""

from .kan import KANConv1d, KANConv2d, KANConv3d, KANLinear

__all__ = ["KANConv1d", "KANConv2d", "KANConv3d", "KANLinear"]
