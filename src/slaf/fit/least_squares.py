"""Least squares over a density."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from slaf.core import SlafError

from .density import Normal, Uniform

__all__ = ["least_squares"]


def least_squares(
    target: Callable[[Tensor], Tensor], terms: Callable[[Tensor], Tensor], density: Normal | Uniform | None = None
) -> tuple[Tensor, float]:
    """The w that minimises E (target(x) - Σ_k w_k terms_k(x))², x drawn from ``density`` (N(0, 1) by default).

    Args:
        target: maps (n,) to (n,), float64.
        terms: maps (n,) to (n, K), float64.

    Returns:
        The coefficients (K,) in float64, and the root of the weighted mean squared error.

    Raises:
        SlafError: the target is not finite on the density's support.
    """
    x, weight = (density or Normal()).nodes()
    with torch.no_grad():
        y, design = target(x).to(torch.float64), terms(x).to(torch.float64)
    if not bool(torch.isfinite(y).all()):
        raise SlafError(f"the function to fit is not finite on [{float(x[0]):g}, {float(x[-1]):g}]")
    root = weight.sqrt()
    solution = torch.linalg.lstsq(design * root[:, None], (y * root)[:, None], driver="gelsd").solution[:, 0]
    error = ((design @ solution - y) ** 2 * weight).sum().sqrt()
    return solution, float(error)
