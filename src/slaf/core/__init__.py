"""The object every other room works on: ``Activation`` with its ``Facts``, sharing, the registry's mechanism, the mini-language,
the formula reader and the errors. No activation lives here. Imports torch and numpy alone (and ``slaf.kernels``).
"""

from .activation import Activation, NormActivation
from .catalogue import activations, canonical, facts, make, names, register
from .elementwise import Elementwise, activation
from .errors import ContractError, SlafError, SpecError, nearest, one_of, require
from .facts import INF, Facts, Paper, Param
from .ranks import OverRanks, Ranks
from .registry import Registry, bind
from .sharing import Sharing
from .spec import Spec, parse, split
from .wrap import wrap

__all__ = [
    "INF",
    "Activation",
    "ContractError",
    "Elementwise",
    "Facts",
    "NormActivation",
    "OverRanks",
    "Paper",
    "Param",
    "Ranks",
    "Registry",
    "Sharing",
    "SlafError",
    "Spec",
    "SpecError",
    "activation",
    "activations",
    "bind",
    "canonical",
    "facts",
    "make",
    "names",
    "nearest",
    "one_of",
    "parse",
    "register",
    "require",
    "split",
    "wrap",
]
