"""Kolmogorov–Arnold layers: a learned function on every edge, over any basis, as one expansion of the input and one matrix product.

``layer.py`` holds what all share, ``linear.py`` and ``conv.py`` the products, ``grid.py`` what moves the grid and keeps the function,
``imported.py`` what reads the checkpoints of others.
"""

from .conv import KANConv1d, KANConv2d, KANConv3d
from .converted import from_mlp
from .imported import from_state_dict
from .layer import KANLayer
from .linear import KANLinear

__all__ = ["KANConv1d", "KANConv2d", "KANConv3d", "KANLayer", "KANLinear", "from_mlp", "from_state_dict"]
