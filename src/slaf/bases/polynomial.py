"""Polynomial bases, and polynomials in them over a shifted and scaled variable: what a polynomial activation is in evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from slaf.kernels import Recurrence
from slaf.kernels.series import _terms, clenshaw

from .base import Basis, Matrix, check_degree, check_order

__all__ = ["CHEBYSHEV", "POWERS", "PolynomialBasis", "Polynomials", "substitute", "substitution_table", "times_u"]

POWERS = Recurrence((1.0,), (0.0,))
"""1, u, u², …"""
CHEBYSHEV = Recurrence((1.0, 2.0), (0.0, 1.0))
"""1, u, 2u² - 1, …"""


@dataclass(frozen=True, repr=False)
class PolynomialBasis(Basis):
    """A basis in which φ_k is a polynomial of degree k, given by its three-term recurrence; count means degree everywhere.

    Class attributes:
        recurrence: how the terms follow one another.
        evaluated_in: the family over u/``half_width`` in which combinations are evaluated; ``None``: its own.
    """

    recurrence: ClassVar[Recurrence]
    evaluated_in: ClassVar[Recurrence | None] = None
    default_terms: ClassVar[int] = 7

    def check_terms(self, count: object) -> int:
        return check_degree(count)

    def evaluate(self, u: Tensor, count: int) -> Tensor:
        return torch.stack(list(_terms(u, count, self.recurrence)), -1)

    def derivative(self, u: Tensor, count: int, order: int = 1) -> Tensor:
        matrix = np.linalg.matrix_power(self.recurrence.derivative(count), check_order(order))[1:]
        return self._with_constant(u, count) @ _constant(matrix.T, u)

    def antiderivative(self, u: Tensor, count: int) -> Tensor:
        matrix = _constant(_integrals(self.recurrence, count)[1:].T, u)
        at_zero = self._with_constant(torch.zeros((), dtype=u.dtype, device=u.device), count + 1)
        return (self._with_constant(u, count + 1) - at_zero) @ matrix

    def _with_constant(self, u: Tensor, count: int) -> Tensor:
        return torch.cat([torch.ones_like(u)[..., None], self.evaluate(u, count)], -1)

    def mixing(self, count: int) -> Matrix | None:
        """To ψ_0 … ψ_K, the family of ``evaluated_in``; ``None`` without it."""
        return None if self.evaluated_in is None else _in_family(self.recurrence, self.evaluated_in, self.half_width, count)[1:]

    def combine(self, u: Tensor, coefficients: Tensor, count: int) -> Tensor:  # noqa: ARG002 - the coefficients say how many
        if self.evaluated_in is not None:
            return clenshaw(u * (1 / self.half_width), coefficients, self.evaluated_in)
        return clenshaw(u, torch.cat([torch.zeros_like(coefficients[:1]), coefficients]), self.recurrence)

    def expressions(self, x: Any, count: int) -> list[Any]:
        import sympy

        rows = self.recurrence.to_monomial(count)[1:]
        return [sum((sympy.Float(c) * x**j for j, c in enumerate(row) if c), sympy.Integer(0)) for row in rows.tolist()]

    def to_monomial(self, coefficients: Tensor) -> Tensor:
        """From c with Σ c_k φ_k, k = 0 … K, to the coefficients of 1, u, …, u^K: (…, K + 1) → (…, K + 1)."""
        return coefficients @ _constant(self.recurrence.to_monomial(coefficients.shape[-1] - 1), coefficients)

    def from_monomial(self, coefficients: Tensor) -> Tensor:
        """From the coefficients of 1, u, …, u^K to those of φ_0 … φ_K: (…, K + 1) → (…, K + 1)."""
        return coefficients @ _constant(_in_family(POWERS, self.recurrence, 1.0, coefficients.shape[-1] - 1), coefficients)


@lru_cache(maxsize=256)
def _in_family(family: Recurrence, other: Recurrence, scale: float, degree: int) -> Matrix:
    """Row k holds φ_k(scale·v) of ``family`` in ψ_0(v) … of ``other``: by the recurrences, so that no system need be solved."""
    times_v = other.times_u(degree + 1)[:, : degree + 1]
    rows = [np.eye(1, degree + 1)[0]]
    for k in range(degree):
        a, b = family.factors(k)
        rows.append(a * scale * (rows[k] @ times_v) - (b * rows[k - 1] if k else 0))
    return np.stack(rows)


@lru_cache(maxsize=256)
def _integrals(recurrence: Recurrence, degree: int) -> Matrix:
    """Row k holds a polynomial with derivative φ_k in the family, k = 0 … degree: (degree + 1, degree + 2)."""
    slopes = recurrence.derivative(degree + 1)[1:, :-1]  # lower triangular: φ_j' has degree j - 1
    return np.hstack([np.zeros((degree + 1, 1)), np.linalg.inv(slopes)])


def _constant(matrix: Any, like: Tensor) -> Tensor:
    return torch.as_tensor(matrix, dtype=like.dtype, device=like.device)


def times_u(recurrence: Recurrence, degree: int) -> Tensor:
    """Row j holds u·φ_j in the family, cut at ``degree``: (degree + 1, degree + 1), float64."""
    return torch.from_numpy(recurrence.times_u(degree + 1)[:, : degree + 1].copy())


def substitute(recurrence: Recurrence, center: Tensor, scale: Tensor, times_u: Tensor) -> Tensor:
    """S with φ_k(scale·u + center) = Σ_j S[:, k, j] φ_j(u), for every entry of ``center`` and ``scale``: (sites, K + 1, K + 1).

    ``times_u`` comes from the function of that name and fixes K.
    """
    degree = len(times_u) - 1
    rows = [torch.cat([torch.ones_like(center)[:, None], torch.zeros_like(center)[:, None].expand(-1, degree)], 1)]
    for k in range(degree):
        a, b = recurrence.factors(k)
        row = a * (scale[:, None] * (rows[k] @ times_u.to(center.dtype)) + center[:, None] * rows[k])
        rows.append(row - b * rows[k - 1] if k and b else row)
    return torch.stack(rows, 1)


@lru_cache(maxsize=64)
def substitution_table(recurrence: Recurrence, degree: int) -> tuple[Tensor, Tensor, Tensor]:
    """Exponents i and j, (P,), and T (P, (K + 1)²) with φ_k(scale·u + center) = Σ_l S[k, l] φ_l(u), S = Σ scale^i center^j T[(i, j)].

    What :func:`substitute` does in few operations, for moderate degrees.
    """
    powers, back = recurrence.to_monomial(degree), _in_family(POWERS, recurrence, 1.0, degree)
    pairs = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    table = np.stack([comb(i + j, i) * np.outer(powers[:, i + j], back[i]) for i, j in pairs]).reshape(len(pairs), -1)
    i, j = np.array(pairs).T
    return torch.from_numpy(i.copy()), torch.from_numpy(j.copy()), torch.from_numpy(table)


@dataclass(frozen=True)
class Polynomials:
    """p_i(x) = Σ_j coefficients[i, j] φ_j((x - center[i])·rscale[i]), i = 1 … sites, in float64.

    Attributes:
        coefficients: (sites, degree + 1).
        center, rscale: (sites,).
        recurrence: the family φ.
    """

    coefficients: Tensor
    center: Tensor
    rscale: Tensor
    recurrence: Recurrence

    @property
    def degree(self) -> int:
        """The formal degree."""
        return self.coefficients.shape[1] - 1

    def powers(self) -> Tensor:
        """Coefficients in powers of (x - center)·rscale: (sites, degree + 1)."""
        return self.coefficients @ _constant(self.recurrence.to_monomial(self.degree), self.coefficients)

    def monomial(self) -> Tensor:
        """Coefficients in powers of x: (sites, degree + 1). Loses accuracy where |center|·rscale is large."""
        powers = self.powers()
        shift = substitute(POWERS, -self.center * self.rscale, self.rscale, times_u(POWERS, self.degree).to(self.center.device))
        return (powers[:, None, :] @ shift)[:, 0]

    def in_chebyshev(self, half_width: float = 1.0) -> Polynomials:
        """The same polynomials as Σ_j c_j T_j((x - center)·rscale/half_width)."""
        c = self.coefficients @ _constant(_in_family(self.recurrence, CHEBYSHEV, half_width, self.degree), self.coefficients)
        return Polynomials(c, self.center, self.rscale / half_width, CHEBYSHEV)

    def __call__(self, x: Tensor) -> Tensor:
        """Values at ``x`` of shape (n,) or (n, sites): (n, sites)."""
        u = (x.to(torch.float64).reshape(len(x), -1) - self.center) * self.rscale
        return clenshaw(u, self.coefficients.T.unsqueeze(1), self.recurrence)

    def stationary_points(self) -> Tensor:
        """Candidates for the zeros of p' as x: (sites, degree - 1), the real parts of all roots, so that none is missed."""
        derivative = self.powers()[:, 1:] * torch.arange(1, self.degree + 1, dtype=torch.float64)
        out = torch.zeros(len(derivative), max(self.degree - 1, 0), dtype=torch.float64)
        for i, row in enumerate(derivative.tolist()):
            roots = _polished(row[::-1], np.roots(row[::-1]).real)
            out[i, : len(roots)] = torch.from_numpy(np.ascontiguousarray(roots))
        return out / self.rscale[:, None].cpu() + self.center[:, None].cpu()


def _polished(coefficients: list[float], roots: Any) -> Any:
    """Roots after Newton steps that make |p| smaller: a tiny leading coefficient leaves those of the companion matrix rough."""
    p, slope = np.poly1d(coefficients), np.poly1d(coefficients).deriv()
    with np.errstate(all="ignore"):
        for _ in range(4):
            better = roots - p(roots) / slope(roots)
            roots = np.where(np.isfinite(better) & (np.abs(p(better)) < np.abs(p(roots))), better, roots)
    return roots
