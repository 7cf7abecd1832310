"""Kolmogorov–Arnold layers: a learned function on every edge, over any basis, as one expansion of the input and one matrix product.

``layer.py`` holds what all share, ``linear.py`` and ``conv.py`` the products, ``grid.py`` what moves the grid and keeps the function,
``imported.py`` what reads the checkpoints of others. A trained network is read with ``prune.py``, ``plot.py`` and ``symbolify.py``, which
see it as ``network.py`` does; ``symbolic/`` holds the functions an edge may become and the layer of such edges.
"""

from .af_kan import AFKANLinear
from .conv import KANConv1d, KANConv2d, KANConv3d
from .converted import from_mlp
from .expression import expressions
from .imported import from_state_dict
from .layer import KANLayer
from .linear import KANLinear
from .network import Scores, scores
from .plot import plot
from .prune import Pruned, prune
from .selectable import SelectableKAN
from .symbolic import LIBRARY, Fit, SymbolicKANLinear, Tuned, tune
from .symbolify import Symbolified, snap, suggest, symbolify

__all__ = [
    "LIBRARY",
    "AFKANLinear",
    "Fit",
    "KANConv1d",
    "KANConv2d",
    "KANConv3d",
    "KANLayer",
    "KANLinear",
    "Pruned",
    "Scores",
    "SelectableKAN",
    "SymbolicKANLinear",
    "Symbolified",
    "Tuned",
    "expressions",
    "from_mlp",
    "from_state_dict",
    "plot",
    "prune",
    "scores",
    "snap",
    "suggest",
    "symbolify",
    "tune",
]
