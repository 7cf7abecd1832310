"""``along_line``: a polynomial network on a line through its inputs is a polynomial in one variable, and that can be had exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.polynomial import chebyshev
from torch import Tensor, nn

from slaf.core import SlafError

from .exact import Array, Exact, samples

__all__ = ["Line", "along_line", "on_line"]

CHECKED = 64
"""Further points at which the interpolant is compared with the network."""
VANISHES = 1e-12
"""A coefficient below this share of the largest one is rounding."""


@dataclass(frozen=True)
class Line:
    """p_o(t) = f_o(start + t·direction) = Σ_j chebyshev[o, j] T_j(u), u = (2t - low - high)/(high - low).

    Attributes:
        low, high: the ends of t.
        degree: that the network's graph implies: its total degree in its inputs.
        chebyshev: (outputs, degree + 1), float64.
        error: the largest |p_o(t) - f_o(start + t·direction)| at ``CHECKED`` random points between the nodes, relative to the largest
            |f_o| there.
    """

    low: float
    high: float
    degree: int
    chebyshev: Array
    error: float

    @property
    def effective_degree(self) -> int:
        """The highest degree whose coefficient is more than rounding (1e-12 of the largest) in some output."""
        size = np.abs(self.chebyshev).max(0)
        return int(np.flatnonzero(size > VANISHES * size.max(initial=0.0)).max(initial=0))

    def __call__(self, t: Any) -> Array:
        """At t (n,): (n, outputs)."""
        u = (2 * np.asarray(t, dtype=np.float64) - self.low - self.high) / (self.high - self.low)
        return np.asarray(chebyshev.chebval(u, self.chebyshev.T)).T

    def powers(self) -> Array:
        """Coefficients of 1, t, …, t^degree: (outputs, degree + 1). Cancellation costs about ((|low| + |high|)/(high - low)·2.4)^degree
        times the rounding, so only low degrees have them to many digits.
        """
        out = np.zeros((len(self.chebyshev), self.degree + 1))
        for row, c in zip(out, self.chebyshev, strict=True):
            p = chebyshev.Chebyshev(c, domain=[self.low, self.high]).convert(kind=np.polynomial.Polynomial)
            row[: len(p.coef)] = p.coef
        return out

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; coefficients up to the effective degree."""
        return {
            "low": self.low,
            "high": self.high,
            "degree": self.degree,
            "effective_degree": self.effective_degree,
            "error": self.error,
            "chebyshev": self.chebyshev[:, : self.effective_degree + 1].tolist(),
        }


def along_line(model: nn.Module, start: Tensor, direction: Tensor, low: float = 0.0, high: float = 1.0, max_degree: int = 20_000) -> Line:
    """The univariate polynomials t ↦ f(start + t·direction), one for each output, low ≤ t ≤ high.

    The degree D of the network is known from its graph, so its values at D + 1 Chebyshev nodes determine them; there the
    interpolation amplifies rounding by no more than about (2/π)·log(D + 1) + 1.

    Args:
        model: a network that is a polynomial of its input in evaluation, such as :func:`slaf.polynomialize` makes.
        start, direction: one input and one difference of inputs, without the dimension of samples.
        low, high: the ends of t.
        max_degree: refuse beyond.

    Raises:
        SlafError: the model is no polynomial (the operations are named), the degree is too large, the ends or shapes do not fit, or
            values are not finite.

    Example:
        >>> line = slaf.analyze.along_line(network, images[0], images[1] - images[0])
        >>> line(0.5), line.degree, line.error
    """
    if not isinstance(start, Tensor) or not isinstance(direction, Tensor) or start.shape != direction.shape:
        shapes = " and ".join(str(tuple(t.shape)) if isinstance(t, Tensor) else type(t).__name__ for t in (start, direction))
        raise SlafError(f"start and direction must be tensors of one shape, that of one input; got {shapes}")
    ends = samples(torch.stack([start, direction]))
    return on_line(Exact(model, ends), ends[0], ends[1], low, high, max_degree)


def on_line(exact: Exact, start: Tensor, direction: Tensor, low: float = 0.0, high: float = 1.0, max_degree: int = 20_000) -> Line:
    """See :func:`along_line`."""
    if not (np.isfinite([low, high]).all() and low < high):
        raise SlafError(f"low and high must be finite, the lower one first; got {low!r} and {high!r}")
    if exact.degree > max_degree:
        raise SlafError(f"the network has degree {exact.degree}, over max_degree={max_degree}: so many evaluations determine it on a line")

    def values(u: Array) -> Array:
        t = torch.from_numpy(low + (high - low) * (u + 1) / 2).reshape(-1, *(1,) * start.dim())
        return exact(start + t * direction)

    count = exact.degree + 1
    coefficients = _interpolated(values(np.cos(np.pi * (np.arange(count) + 0.5) / count)))
    u = np.random.default_rng(0).uniform(-1, 1, CHECKED)
    wanted = values(u)
    error = np.abs(chebyshev.chebval(u, coefficients).T - wanted).max(0) / np.maximum(np.abs(wanted).max(0), np.finfo(float).tiny)
    return Line(float(low), float(high), exact.degree, np.ascontiguousarray(coefficients.T), float(error.max()))


def _interpolated(values: Array) -> Array:
    """Chebyshev coefficients from values at the nodes of the first kind, (count, outputs) each: a DCT-II by the FFT."""
    count = len(values)
    spectrum = np.fft.fft(np.concatenate([values, values[::-1]]), axis=0)[:count]
    out = (np.exp(-0.5j * np.pi * np.arange(count) / count)[:, None] * spectrum).real / count
    out[0] /= 2
    return np.asarray(out)
