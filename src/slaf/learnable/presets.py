"""The default SLAF and the published ones (arXiv:1906.09529 and its authors' code) by name, as arguments of :class:`slaf.SLAF`."""

from __future__ import annotations

from typing import Any

__all__ = ["DEFAULTS", "PRESETS"]

DEFAULTS: dict[str, Any] = {
    "degree": 7,
    "terms": None,  # as many as the basis says
    "basis": "chebyshev",
    "share": "group",  # see default_groups
    "normalize": "none",
    "input": "affine",
    "input_scale": 3.0,
    "squash": "none",
    "init": "gelu",
    "init_noise": 0.0,
    "coefficient_scale": 0.3,
    "gate": False,
    "momentum": 0.01,
    "eps": None,
    "interval": None,
}

_PAPER: dict[str, Any] = {
    "basis": "power",
    "normalize": "batch",
    "input": "identity",
    "init": "paper",
    "init_noise": 0.0,
    "momentum": 0.01,
    "eps": 1e-8,
    "coefficient_scale": 1.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    # the spirals and MNIST scripts: gated coefficients σ(u)·(w + [i = 1]), one set per dense layer
    "paper_a": _PAPER | {"degree": 7, "share": "layer", "gate": True},
    # Boston: w + [i = 1], one set per dense layer
    "paper_b": _PAPER | {"degree": 4, "share": "layer"},
    # polynomial regression and Fashion-MNIST: as B, one set per unit or channel
    "paper_b_prime": _PAPER | {"degree": 2, "share": "channel"},
    # CIFAR-10: gated, without the identity offset
    "paper_c": _PAPER | {"degree": 2, "share": "layer", "gate": True, "init": "paper_no_offset"},
}
