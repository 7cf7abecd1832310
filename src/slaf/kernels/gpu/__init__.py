"""The Triton kernels, for CUDA tensors, with the functions of :mod:`slaf.kernels.raw`. Triton itself is imported at their first use.

Without a GPU they run on CPU tensors under Triton's interpreter, for tests: start Python with ``TRITON_INTERPRET=1`` and say
``slaf.kernels.use("triton")``.
"""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

__all__ = ["describe", "function", "interpreted", "reason"]

OLDEST = (8, 0)
"""Compute capability from which on the GPU has bfloat16 arithmetic of its own."""


@lru_cache(maxsize=1)
def _absent() -> str:
    """Why Triton cannot be imported; empty where it can."""
    if os.environ.get("SLAF_NO_TRITON"):
        return "switched off by SLAF_NO_TRITON"
    if torch.version.hip is not None:
        return "the kernels are not for ROCm"
    try:
        import_module("triton")
    except Exception as error:  # a broken installation must not break the definition
        return f"triton cannot be imported: {error}"
    return ""


@lru_cache(maxsize=64)
def reason(device: torch.device) -> str:
    """Why no kernel runs on a CUDA device; empty where they run."""
    if not _absent() and torch.cuda.get_device_capability(device) < OLDEST:
        return f"its compute capability is below {'.'.join(map(str, OLDEST))}"
    return _absent()


def interpreted() -> bool:
    """Whether Triton would run on CPU tensors."""
    return os.environ.get("TRITON_INTERPRET") == "1" and not _absent()


def describe() -> str:
    """What CUDA tensors run on and why. Imports nothing where there is no CUDA device."""
    if not torch.cuda.is_available():
        return "no CUDA device"
    if why := reason(torch.device("cuda", torch.cuda.current_device())):
        return f"plain torch: {why}"
    try:
        return f"triton {version('triton')}"
    except PackageNotFoundError:  # under another name, as torch's own builds have it
        return f"triton {import_module('triton').__version__}"


_MODULES = {
    "hinges": ("hinges_forward", "hinges_backward"),
    "norm_act": ("gate_norm_forward", "gate_norm_backward", "sample_spreads", "quotient_norm"),
    "rbf": ("bumps_forward", "bumps_backward"),
    "pieces": ("pieces_forward", "pieces_backward"),
    "series": ("series_forward", "series_backward", "series_input", "moments"),
    "sites": ("sites_series_forward", "sites_series_backward", "sites_rational_forward", "sites_rational_backward"),
}


@lru_cache(maxsize=64)
def function(name: str) -> Any:
    """The one of :mod:`slaf.kernels.raw` by this name, for CUDA."""
    module = next(m for m, names in _MODULES.items() if name in names)
    return getattr(import_module(f"{__name__}.{module}"), name)
