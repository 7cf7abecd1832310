"""Work on a whole model, whoever wrote it: see its nonlinearities, swap them at once or gradually, undo, rebuild,
freeze, fold, and expand a polynomial one.

Imports every room below, none above. Exports to other runtimes are in ``export``.
"""

from .annealing import EXCHANGES, Annealing, Exchange, anneal, exchange
from .audit import audit
from .comparison import SiteDrift, SwapReport
from .drift import Drift, drift
from .expand import expand
from .fold import fold, folded_sites
from .freeze import freeze, unfolded_batch_norms
from .multivariate import Multivariate
from .polynomializing import PolynomialReport, multiplicative_depth, nonpolynomial_operations, polynomialize
from .probe import Probe
from .recipe import rebuild, undo
from .site import Audit, Site
from .sketch import Sketch
from .swap import swap, unshare

__all__ = [
    "EXCHANGES",
    "Annealing",
    "Audit",
    "Drift",
    "Exchange",
    "Multivariate",
    "PolynomialReport",
    "Probe",
    "Site",
    "SiteDrift",
    "Sketch",
    "SwapReport",
    "anneal",
    "audit",
    "drift",
    "exchange",
    "expand",
    "fold",
    "folded_sites",
    "freeze",
    "multiplicative_depth",
    "nonpolynomial_operations",
    "polynomialize",
    "rebuild",
    "swap",
    "undo",
    "unfolded_batch_norms",
    "unshare",
]
