"""slaf: the home of the nonlinearity in PyTorch.

``slaf.make("slaf(degree=5)", num_channels=64)`` builds an activation; ``slaf.list()`` names them all. Names below are public and
follow semantic versioning; everything is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.5.0"

ACTIVATION_ROOMS = ("slaf.zoo", "slaf.learnable", "slaf.layers")
"""The rooms whose modules register activations; the catalogue imports them when an activation is first asked for."""

_PUBLIC = {
    "Activation": "slaf.core",
    "ContractError": "slaf.core",
    "Facts": "slaf.core",
    "NormActivation": "slaf.core",
    "Paper": "slaf.core",
    "Param": "slaf.core",
    "SLAF": "slaf.learnable",
    "SlafError": "slaf.core",
    "activation": "slaf.core",
    "anneal": "slaf.surgery",
    "audit": "slaf.surgery",
    "diagnose": "slaf.learnable",
    "expand": "slaf.surgery",
    "facts": "slaf.core",
    "fold": "slaf.surgery",
    "freeze": "slaf.surgery",
    "from_formula": "slaf.learnable",
    "identify": "slaf.fit",
    "list": "slaf.core:names",
    "make": "slaf.core",
    "param_groups": "slaf.train",
    "polynomialize": "slaf.surgery",
    "rebuild": "slaf.surgery",
    "register": "slaf.core",
    "swap": "slaf.surgery",
    "undo": "slaf.surgery",
    "wrap": "slaf.core",
}
_ROOMS = (
    "analyze",
    "bases",
    "compare",
    "core",
    "data",
    "export",
    "fit",
    "functional",
    "integrations",
    "kernels",
    "layers",
    "learnable",
    "plot",
    "studies",
    "surgery",
    "testing",
    "train",
    "zoo",
)

__all__ = [
    "SLAF",
    "Activation",
    "ContractError",
    "Facts",
    "NormActivation",
    "Paper",
    "Param",
    "SlafError",
    "__version__",
    "activation",
    "anneal",
    "audit",
    "diagnose",
    "expand",
    "facts",
    "fold",
    "freeze",
    "from_formula",
    "identify",
    "list",
    "make",
    "param_groups",
    "polynomialize",
    "rebuild",
    "register",
    "swap",
    "undo",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        module, _, attribute = _PUBLIC[name].partition(":")
        value = getattr(importlib.import_module(module), attribute or name)
        globals()[name] = value
        return value
    if name in _ROOMS:
        return importlib.import_module(f"slaf.{name}")
    from .core.errors import nearest

    raise AttributeError(f"module 'slaf' has no attribute {name!r}{nearest(name, (*_PUBLIC, *_ROOMS))}")


def __dir__() -> Any:
    return sorted({*__all__, *_ROOMS})


if TYPE_CHECKING:
    from .compare.api import compare as compare  # the package itself is callable
    from .core import Activation, ContractError, Facts, NormActivation, Paper, Param, SlafError, activation, facts, make, register, wrap
    from .core import names as list
    from .export.api import export as export  # as for compare
    from .fit import identify
    from .learnable import SLAF, diagnose, from_formula
    from .surgery import anneal, audit, expand, fold, freeze, polynomialize, rebuild, swap, undo
    from .train import param_groups
