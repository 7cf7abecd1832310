"""The densities over which a fit is weighted, as quadrature rules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from slaf.core import SlafError
from slaf.core.quadrature import gauss_legendre

__all__ = ["Density", "Measured", "Normal", "Uniform"]


class Density(Protocol):
    """What a fit is weighted by: anything with ``nodes()``."""

    def nodes(self) -> tuple[Tensor, Tensor]:
        """Points, increasing, and weights that sum to 1, float64."""


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


@dataclass(frozen=True)
class Measured:
    """The inputs that were seen: weight on ``points`` that stand for a sample, or for the bins of a histogram.

    Make one with :meth:`of` or :meth:`histogram`; ``Measured(points, weights)`` takes any points and non-negative weights.

    Raises:
        SlafError: no points, points or weights that are not finite, a negative weight, or weights that are all zero.
    """

    points: Tensor
    weights: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        x, w = (torch.as_tensor(t, dtype=torch.float64).detach().cpu().reshape(-1) for t in (self.points, self.weights))
        if len(x) == 0 or len(x) != len(w):
            raise SlafError(f"a measured density needs as many weights as points, one or more; got {len(w)} and {len(x)}")
        if not bool(torch.isfinite(x).all() and torch.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
            raise SlafError("a measured density needs finite points and non-negative finite weights that are not all zero")
        order = x.argsort()
        object.__setattr__(self, "points", x[order])
        object.__setattr__(self, "weights", w[order] / w.sum())

    @classmethod
    def of(cls, sample: Tensor | Sequence[float], points: int = 2048) -> Measured:
        """From a sample of inputs of any shape, or the sample itself where it is no larger than ``points``.

        Else the outermost eighths of the points are the smallest and the largest values themselves, which decide in the tails,
        and the rest are quantiles of what lies between, with equal shares.
        """
        values = torch.as_tensor(sample, dtype=torch.float64).detach().cpu().reshape(-1).sort().values
        if len(values) <= points:
            return cls(values, torch.ones_like(values))
        tail = points // 8
        inner, n = values[tail : len(values) - tail], points - 2 * tail
        at = (torch.arange(n, dtype=torch.float64) + 0.5) / n * len(inner) - 0.5
        low = at.floor().long().clamp(0, len(inner) - 2)
        quantiles = inner[low] + (at - low) * (inner[low + 1] - inner[low])
        ends = torch.ones(tail, dtype=torch.float64)
        weights = torch.cat([ends, torch.full((n,), len(inner) / n, dtype=torch.float64), ends])
        return cls(torch.cat([values[:tail], quantiles, values[len(values) - tail :]]), weights)

    @classmethod
    def histogram(cls, counts: Any, edges: Any) -> Measured:
        """From a histogram: ``counts`` (n,) over bins between ``edges`` (n + 1,); every bin's weight is spread over it evenly.

        Raises:
            SlafError: the number of edges does not fit, or they do not increase.
        """
        counts, edges = (torch.as_tensor(t, dtype=torch.float64).reshape(-1) for t in (counts, edges))
        if len(edges) != len(counts) + 1 or not bool((edges.diff() > 0).all()):
            raise SlafError(f"{len(counts)} counts need {len(counts) + 1} increasing edges; got {len(edges)}")
        nodes, weights = gauss_legendre(4)
        half = edges.diff()[:, None] / 2
        return cls(edges[:-1, None] + half * (nodes + 1), counts[:, None] * weights / 2)

    def nodes(self) -> tuple[Tensor, Tensor]:
        """Points and weights that sum to 1, float64."""
        return self.points, self.weights
