"""Activations exchanged gradually while the model trains: the blend at each site, its schedule, and ``anneal``, which drives them.

Which calls become what, and the fits, are ``surgery.plan``'s, as for ``swap``. No loop and no trainer lives here.
"""

from .anneal import anneal
from .annealing import Annealing, AnnealReport
from .blend import Blend
from .recipes import EXCHANGES, Exchange, exchange

__all__ = ["EXCHANGES", "AnnealReport", "Annealing", "Blend", "Exchange", "anneal", "exchange"]
