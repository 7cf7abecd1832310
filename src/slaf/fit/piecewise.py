"""Piecewise polynomials and linear families of them: values, derivatives and sure bounds, all local Chebyshev series in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from slaf.core import SlafError
from slaf.kernels import Recurrence

__all__ = ["CHEBYSHEV", "PiecewisePolynomial", "PiecewiseTerms", "bspline_terms", "piecewise_linear_terms", "polynomial_terms"]

CHEBYSHEV = Recurrence((1.0, 2.0), (0.0, 1.0))
MAX_DEGREE = 64


def chebyshev_values(u: Tensor, degree: int) -> Tensor:
    """T_0(u) … T_degree(u): (n, degree + 1)."""
    out = [torch.ones_like(u), u]
    for _ in range(degree - 1):
        out.append(2 * u * out[-1] - out[-2])
    return torch.stack(out[: degree + 1], -1)


def chebyshev_points(n: int) -> Tensor:
    """cos(πj/(n - 1)), increasing, from -1 to 1; 0 for n = 1."""
    if n == 1:
        return torch.zeros(1, dtype=torch.float64)
    out = -torch.cos(torch.pi * torch.arange(n, dtype=torch.float64) / (n - 1))
    return (out - out.flip(0)) / 2


def interpolation_matrix(degree: int) -> Tensor:
    """From values at ``chebyshev_points(degree + 1)`` to Chebyshev coefficients: (degree + 1, degree + 1)."""
    return torch.linalg.inv(chebyshev_values(chebyshev_points(degree + 1), degree))


def _pieces(x: Tensor, breaks: Tensor) -> Tensor:
    return torch.bucketize(x, breaks[1:-1].contiguous(), right=True)


def _local(x: Tensor, breaks: Tensor, piece: Tensor) -> Tensor:
    left, right = breaks[piece], breaks[piece + 1]
    return ((x - left) - (right - x)) / (right - left)


@dataclass(frozen=True)
class PiecewisePolynomial:
    """On [breaks[i], breaks[i+1]) the Chebyshev series with ``coefficients[i]`` of the piece mapped to [-1, 1]; ends go on.

    Attributes:
        breaks: (m + 1,), increasing, float64.
        coefficients: (m, degree + 1), float64.
    """

    breaks: Tensor
    coefficients: Tensor

    @property
    def degree(self) -> int:
        """The formal degree of the pieces."""
        return self.coefficients.shape[1] - 1

    def __call__(self, x: Tensor) -> Tensor:
        """Values at ``x`` (n,), float64."""
        x = x.to(torch.float64)
        piece = _pieces(x, self.breaks)
        return (chebyshev_values(_local(x, self.breaks, piece), self.degree) * self.coefficients[piece]).sum(-1)

    def derivative(self, order: int = 1) -> PiecewisePolynomial:
        """The derivative inside the pieces."""
        c = self.coefficients
        for _ in range(order):
            c = c @ torch.from_numpy(CHEBYSHEV.derivative(c.shape[1] - 1)) * (2 / self.breaks.diff())[:, None]
            c = c[:, : max(c.shape[1] - 1, 1)]
        return PiecewisePolynomial(self.breaks, c)

    def minimum(self, cells: int = 256) -> float:
        """A sure lower bound of all values on [breaks[0], breaks[-1]], low by at most h²/8·max|p''| (and rounding)."""
        u = torch.linspace(-1, 1, cells + 1, dtype=torch.float64)
        values = self.coefficients @ chebyshev_values(u, self.degree).T
        second = self.coefficients
        for _ in range(2):
            second = second @ torch.from_numpy(CHEBYSHEV.derivative(self.degree))
        sag = second.abs().sum(1) * (2 / cells) ** 2 / 8
        return float((values.amin(1) - sag).min())

    def maximum(self, cells: int = 256) -> float:
        """A sure upper bound, as :meth:`minimum` is a lower one."""
        return -PiecewisePolynomial(self.breaks, -self.coefficients).minimum(cells)


@dataclass(frozen=True)
class PiecewiseTerms:
    """K piecewise polynomials over the same breaks: called, the design matrix (n, K) of a fit.

    Attributes:
        breaks: (m + 1,), increasing, float64.
        coefficients: (m, K, degree + 1), local Chebyshev series as in :class:`PiecewisePolynomial`.
    """

    breaks: Tensor
    coefficients: Tensor

    @property
    def interval(self) -> tuple[float, float]:
        """From the first to the last break."""
        return float(self.breaks[0]), float(self.breaks[-1])

    def __len__(self) -> int:
        return self.coefficients.shape[1]

    def __call__(self, x: Tensor, order: int = 0) -> Tensor:
        """The terms, or their derivatives of ``order``, at ``x`` (n,): (n, K), float64."""
        x = x.to(torch.float64)
        piece = _pieces(x, self.breaks)
        c = self._derivative(order)
        values = chebyshev_values(_local(x, self.breaks, piece), c.shape[2] - 1)
        if len(self.breaks) == 2:
            return values @ c[0].T
        return torch.einsum("nd,nkd->nk", values, c[piece])

    def _derivative(self, order: int) -> Tensor:
        c = self.coefficients
        for _ in range(order):
            c = c @ torch.from_numpy(CHEBYSHEV.derivative(c.shape[2] - 1)) * (2 / self.breaks.diff())[:, None, None]
            c = c[:, :, : max(c.shape[2] - 1, 1)]
        return c

    def combine(self, weights: Tensor) -> PiecewisePolynomial:
        """Σ_k weights[k]·terms_k."""
        return PiecewisePolynomial(self.breaks, torch.einsum("mkd,k->md", self.coefficients, weights.to(torch.float64)))


def _degree(degree: object, least: int = 0) -> int:
    if isinstance(degree, bool) or not isinstance(degree, int) or not least <= degree <= MAX_DEGREE:
        raise SlafError(f"degree must be an integer from {least} to {MAX_DEGREE}; got {degree!r}")
    return degree


def polynomial_terms(degree: int, low: float = -1.0, high: float = 1.0) -> PiecewiseTerms:
    """T_0 … T_degree of [low, high] mapped to [-1, 1]: all polynomials, well conditioned."""
    if not low < high:
        raise SlafError(f"low must be less than high; got {low!r} and {high!r}")
    eye = torch.eye(_degree(degree) + 1, dtype=torch.float64)[None]
    return PiecewiseTerms(torch.tensor([low, high], dtype=torch.float64), eye)


def bspline_terms(knots: Tensor, degree: int = 3) -> PiecewiseTerms:
    """The B-splines of ``degree`` over simple ``knots`` (m + 1,), the end knots repeated: m + degree terms that sum to 1.

    Raises:
        SlafError: fewer than two knots, or they do not increase.
    """
    knots = torch.as_tensor(knots, dtype=torch.float64).reshape(-1)
    if len(knots) < 2 or not bool((knots.diff() > 0).all()):
        raise SlafError(f"knots must be two or more increasing numbers; got {knots.tolist()[:4]}")
    degree, m = _degree(degree), len(knots) - 1
    u = chebyshev_points(degree + 1)
    # evaluated inside every piece and interpolated there, which is exact
    x = (knots[:-1, None] + knots[1:, None]) / 2 + knots.diff()[:, None] / 2 * u
    values = _cox_de_boor(x, torch.arange(m)[:, None].expand_as(x), knots, degree)
    local = torch.einsum("muk,du->mkd", values, interpolation_matrix(degree))
    return PiecewiseTerms(knots, local)


def _cox_de_boor(x: Tensor, piece: Tensor, knots: Tensor, degree: int) -> Tensor:
    t = torch.cat([knots[:1].expand(degree), knots, knots[-1:].expand(degree)])
    out = torch.nn.functional.one_hot(piece + degree, len(t) - 1).to(torch.float64)
    for d in range(1, degree + 1):
        n = len(t) - 1 - d
        width_left, width_right = t[d : d + n] - t[:n], t[d + 1 : d + 1 + n] - t[1 : 1 + n]
        left = torch.where(width_left > 0, (x[..., None] - t[:n]) / width_left, 0.0)
        right = torch.where(width_right > 0, (t[d + 1 : d + 1 + n] - x[..., None]) / width_right, 0.0)
        out = left * out[..., :n] + right * out[..., 1 : n + 1]
    return out


def piecewise_linear_terms(knots: Tensor) -> PiecewiseTerms:
    """The hat functions over ``knots``: coefficients are the values at the knots."""
    return bspline_terms(knots, 1)
