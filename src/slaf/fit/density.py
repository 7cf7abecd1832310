"""The densities over which a fit is weighted, as quadrature rules."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from slaf.core.activation import gauss_legendre

__all__ = ["Normal", "Uniform"]


def _composite(low: float, high: float, panels: int) -> tuple[Tensor, Tensor]:
    nodes, weights = gauss_legendre(16)
    edges = torch.linspace(low, high, panels + 1, dtype=torch.float64)
    half = (high - low) / panels / 2
    x = (edges[:-1, None] + half * (nodes + 1)).reshape(-1)
    return x, (weights * half).repeat(panels)


@dataclass(frozen=True)
class Normal:
    """N(mean, std²), cut at 6 standard deviations; panels end at the mean, where kinks usually sit."""

    mean: float = 0.0
    std: float = 1.0

    def nodes(self) -> tuple[Tensor, Tensor]:
        """Points and weights that sum to 1, float64."""
        z, w = _composite(-6, 6, 48)
        w = w * torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return self.mean + self.std * z, w / w.sum()


@dataclass(frozen=True)
class Uniform:
    """Equal weight on [low, high]."""

    low: float = -1.0
    high: float = 1.0

    def nodes(self) -> tuple[Tensor, Tensor]:
        """Points and weights that sum to 1, float64."""
        x, w = _composite(self.low, self.high, 48)
        return x, w / w.sum()
