"""Least squares for functions that are linear in θ: where learned splines start, and how they move to another grid."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from slaf.core import SlafError, make

__all__ = ["Target", "extended", "solve", "target_values"]

Target = str | Callable[[Tensor], Tensor]


def target_values(target: Target, x: Tensor) -> Tensor:
    """An activation string or a function at the float64 vector ``x``.

    Raises:
        SlafError: it cannot be computed there, or is not finite, or keeps not the shape.
    """
    function = target
    if isinstance(target, str):
        module = make(target)
        function = module.double().eval() if any(p.numel() for p in module.parameters()) else module.eval()
    try:
        with torch.no_grad():
            y = function(x).to(torch.float64)  # type: ignore[operator]
    except (TypeError, RuntimeError, AttributeError) as problem:
        raise SlafError(f"init must be an activation or a function of one tensor; {target!r} failed with: {problem}") from None
    if y.shape != x.shape:
        raise SlafError(f"init must keep its input's shape; {target!r} makes {tuple(y.shape)} of {tuple(x.shape)}")
    if not bool(torch.isfinite(y).all()):
        raise SlafError(f"init {target!r} is not finite on [{float(x.min()):g}, {float(x.max()):g}]")
    return y


def solve(design: Tensor, values: Tensor) -> Tensor:
    """θ (count, K) that minimises Σ over points of (θ design - values)², for design (K, n) and values (count, n), float64."""
    return torch.linalg.lstsq(design.T, values.T, driver="gelsd").solution.T


def extended(design: Tensor, values: Tensor, inside: Tensor) -> Tensor:
    """As :func:`solve`; but where the points ``inside`` can be met exactly they are, and only the rest is fitted."""
    felt = (design[:, inside].abs() > 1e-9).any(1)  # rounding puts an end point into the next cell
    if bool(inside.all()) or bool(felt.all()) or not bool(felt.any()):
        return solve(design, values)
    near = solve(design[felt][:, inside], values[:, inside])
    error = (near @ design[felt][:, inside] - values[:, inside]).abs().max()
    if float(error) > 1e-9 * (1 + float(values[:, inside].abs().max())):
        return solve(design, values)
    theta = torch.zeros(len(values), len(design), dtype=values.dtype)
    theta[:, felt] = near
    outside = ~inside
    theta[:, ~felt] = solve(design[~felt][:, outside], values[:, outside] - near @ design[felt][:, outside])
    return theta
