"""Gaussian radial basis functions on a uniform grid, as in :mod:`slaf.kernels.rbf`, on a GPU: see :mod:`.elements`."""

from __future__ import annotations

from functools import lru_cache
from math import sqrt

import torch
from torch import Tensor

from slaf.kernels.dispatch import Layout

from .elements import passed

__all__ = ["bumps_backward", "bumps_forward"]

DARK = 88
"""exp of -DARK is as good as 0 in float32."""

Shape = tuple[int, float, float]


@lru_cache(maxsize=64)
def _weights(grid: Shape, device: torch.device) -> Tensor:
    """w_k = exp(κ k (2 mid - k)), in float64."""
    terms, _, width = grid
    k = torch.arange(terms, dtype=torch.float64)
    return (k * (terms - 1 - k) / (2 * width**2)).exp().to(device)


def _rows(grid: Shape, coef: Tensor, center: Tensor, rscale: Tensor) -> Tensor:
    """θ: center, rate, κ, reach, bias, a_k w_k."""
    terms, spacing, width = grid
    kappa = 0.5 / width**2
    same = [coef.new_full((len(coef), 1), v) for v in (kappa, (terms - 1) / 2 + sqrt(DARK / kappa))]
    weighted = (coef[:, 1:].double() * _weights(grid, coef.device)).float()
    return torch.cat([center.reshape(-1, 1), rscale.reshape(-1, 1) / spacing, *same, coef[:, :1], weighted], 1)


def bumps_forward(x: Tensor, layout: Layout, grid: Shape, coef: Tensor, center: Tensor, rscale: Tensor) -> Tensor:
    """As :func:`slaf.kernels.raw.bumps_forward`."""
    y = torch.empty_like(x)
    passed("bumps", x, None, layout, _rows(grid, coef, center, rscale), y, terms=grid[0])
    return y


def bumps_backward(
    x: Tensor, g: Tensor, layout: Layout, grid: Shape, coef: Tensor, center: Tensor, rscale: Tensor, input_gradient: bool = True
) -> tuple[Tensor | None, Tensor, Tensor]:
    """As :func:`slaf.kernels.raw.bumps_backward`."""
    gx = torch.empty_like(x) if input_gradient else None
    terms, spacing, _ = grid
    sums = passed("bumps sums", x, g, layout, _rows(grid, coef, center, rscale), gx, terms=terms)
    gcoef = torch.cat([sums[:, :1], sums[:, 1 : terms + 1] * _weights(grid, coef.device)], 1)
    return gx, gcoef, torch.stack([sums[:, terms + 1] / spacing, sums[:, terms + 2]])
