"""Vectors of polynomials in several variables: dense coefficients over all monomials up to a degree, in graded order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Multivariate", "count_monomials"]

Array = NDArray[Any]


def count_monomials(variables: int, degree: int) -> int:
    """C(variables + degree, degree): how many monomials of total degree ≤ ``degree`` there are."""
    return comb(variables + degree, degree)


@lru_cache(maxsize=32)
def exponents(variables: int, degree: int) -> NDArray[np.int16]:
    """All exponent vectors of total degree ≤ ``degree``, graded: (count, variables)."""
    rows = np.zeros((1, 0), dtype=np.int16)
    left = np.array([degree])
    for _ in range(variables):
        counts = left + 1
        head = np.concatenate([np.arange(c, dtype=np.int16) for c in counts])
        rows = np.concatenate([np.repeat(rows, counts, 0), head[:, None]], 1)
        left = np.repeat(left, counts) - head
    order = np.argsort(rank(rows))
    out: NDArray[np.int16] = rows[order]
    return out


def rank(exponent: NDArray[Any]) -> NDArray[np.int64]:
    """The place of each exponent vector in the graded order, by the combinatorial number system; independent of the degree's limit."""
    variables = exponent.shape[1]
    suffix = np.cumsum(exponent[:, ::-1].astype(np.int64), 1)[:, ::-1]
    top = int(suffix.max(initial=0)) + variables + 1
    out = np.zeros(len(exponent), dtype=np.int64)
    for i in range(variables):
        size = variables - i
        table = np.array([comb(n, size) for n in range(top + 1)], dtype=np.int64)
        out += table[suffix[:, i] + size - 1]
    return out


@dataclass(frozen=True)
class Multivariate:
    """p_o(x) = Σ_α coefficients[o, α] x^α, o = 1 … outputs; what :func:`slaf.expand` returns.

    Attributes:
        coefficients: (outputs, monomials), float64; the order is that of ``exponents``.
        variables: number N of inputs.
        degree: total degree D that the network's shape implies (a leading coefficient may still vanish).
    """

    coefficients: Array
    variables: int
    degree: int

    @property
    def exponents(self) -> Array:
        """α for every monomial: (monomials, N)."""
        return exponents(self.variables, self.degree)

    @property
    def bound(self) -> int:
        """C(N + D, D), the largest possible number of monomials."""
        return count_monomials(self.variables, self.degree)

    @property
    def num_monomials(self) -> int:
        """How many monomials have a non-zero coefficient in some output."""
        return int((self.coefficients != 0).any(0).sum())

    @property
    def total_degree(self) -> int:
        """The largest total degree with a non-zero coefficient."""
        present = (self.coefficients != 0).any(0)
        return int(self.exponents[present].sum(1).max(initial=0))

    def __call__(self, x: Tensor) -> Tensor:
        """Values at ``x`` (n, N): (n, outputs), float64, summed in extended precision where the platform has it.

        The error is about 1e-16·Σ|c_α x^α|: far from the origin high degrees cancel, in any evaluation from these coefficients.
        """
        points = x.detach().to(torch.float64).cpu().numpy()
        out = np.empty((len(points), len(self.coefficients)))
        step = max(1, 2_000_000 // max(self.coefficients.shape[1], 1))
        for start in range(0, len(points), step):
            block = points[start : start + step].astype(np.longdouble)
            out[start : start + step] = self._monomials(block) @ self.coefficients.T.astype(np.longdouble)
        return torch.from_numpy(out)

    def _monomials(self, points: Array) -> Array:
        powers = points[:, :, None] ** np.arange(self.degree + 1)
        out = np.ones((len(points), self.coefficients.shape[1]), dtype=points.dtype)
        for variable in range(self.variables):
            out *= powers[:, variable, self.exponents[:, variable]]
        return out

    def top_terms(self, n: int = 10, output: int = 0) -> list[tuple[tuple[int, ...], float]]:
        """The ``n`` terms of largest |coefficient| of one output, as (exponents, coefficient)."""
        row = self.coefficients[output]
        order = np.argsort(-np.abs(row), kind="stable")[:n]
        return [(tuple(int(e) for e in self.exponents[i]), float(row[i])) for i in order if row[i] != 0]

    def expression(self, output: int = 0) -> Any:
        """One output as a sympy expression in x0, x1, …"""
        import sympy

        symbols = sympy.symbols(f"x:{self.variables}", real=True)
        row = self.coefficients[output]
        terms = []
        for i in np.flatnonzero(row):
            factors = [s ** int(e) for s, e in zip(symbols, self.exponents[i], strict=True) if e]
            terms.append(sympy.Mul(sympy.Float(float(row[i])), *factors))
        return sympy.Add(*terms)

    def __repr__(self) -> str:
        size = f"variables={self.variables}, outputs={len(self.coefficients)}, degree={self.degree}"
        return f"Multivariate({size}, monomials={self.num_monomials} of at most {self.bound})"


def grow(coefficients: Array, variables: int, degree: int) -> Array:
    """The same polynomials in the longer list of monomials up to ``degree``: the order is graded, so zeros are appended."""
    missing = count_monomials(variables, degree) - coefficients.shape[1]
    return np.pad(coefficients, ((0, 0), (0, missing))) if missing else coefficients


def multiply(p: Array, p_degree: int, q: Array, q_degree: int, variables: int) -> Array:
    """Row-wise products p_o·q_o, in the monomials up to p_degree + q_degree."""
    if p.shape[1] < q.shape[1]:
        p, p_degree, q, q_degree = q, q_degree, p, p_degree
    wide = exponents(variables, p_degree)
    out = np.zeros((max(len(p), len(q)), count_monomials(variables, p_degree + q_degree)), dtype=np.result_type(p, q))
    for index, shift in enumerate(exponents(variables, q_degree)):
        factor = q[:, index]
        if factor.any():  # for one shift the places are distinct, so a plain indexed sum is right
            out[:, rank(wide + shift)] += p * factor[:, None]
    return out


def compose(powers: Array, inner: Array, degree: int, variables: int) -> Array:
    """Σ_j powers[o, j]·inner_o^j by Horner's rule: univariate polynomials of polynomials, row by row."""
    top = powers.shape[1] - 1
    out = powers[:, top:].astype(inner.dtype)
    reached = 0
    for j in range(top - 1, -1, -1):
        out = multiply(out, reached, inner, degree, variables)
        reached += degree
        out[:, 0] += powers[:, j]
    return out
