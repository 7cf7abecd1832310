"""Polynomials as plans of few products and least multiplicative depth: Paterson–Stockmeyer over powers or Chebyshev polynomials.

Paterson and Stockmeyer, "On the number of nonscalar multiplications necessary to evaluate polynomials", SIAM J. Comput. 2(1), 1973 (from
memory); in the Chebyshev basis with least depth: Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux, EUROCRYPT 2021 (from memory).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from slaf.core import SlafError, one_of

__all__ = ["Combination", "EvaluationPlan", "Product", "evaluation_plan", "is_free", "least_levels"]

FREE_UP_TO = 1024
"""An integer factor up to this size needs no rescaling: it is repeated addition."""


def is_free(coefficient: Any) -> bool:
    """Whether a multiplication by it costs no level: a small integer."""
    return bool(abs(coefficient) <= FREE_UP_TO) and bool(coefficient == round(coefficient))


def least_levels(degree: int, monic: bool = False) -> int:
    """Levels that a polynomial of this degree needs: ⌈log2(degree + 1)⌉, or ⌈log2 degree⌉ if its leading coefficient is an integer.

    One level is one product of two computed values, or one multiplication by a number that is no small integer: after both, CKKS
    rescales. A level at most doubles the degree, so ⌈log2 degree⌉ is needed; at degree 2^m every factor on the longest path is a
    product of the one before, which leaves no room for a leading coefficient.
    """
    return max(degree - 1, 0).bit_length() if monic else degree.bit_length()


@dataclass(frozen=True)
class Product:
    """values[left]·values[right]."""

    left: int
    right: int


@dataclass(frozen=True)
class Combination:
    """Σ factor·values[index] over ``terms`` + constant."""

    terms: tuple[tuple[int, Any], ...]
    constant: Any


@dataclass(frozen=True)
class EvaluationPlan:
    """p(x) = factor·plan(x), by products and linear combinations of values; value 0 is x, the last one the result.

    Attributes:
        steps: each makes one more value.
        factor: 1, or with ``fold`` what the neighbouring linear layer takes.
        levels: on the longest path, as :func:`least_levels` counts them.
        products: of two values that depend on x.
    """

    steps: tuple[Product | Combination, ...]
    factor: Any
    degree: int
    levels: int

    @property
    def products(self) -> int:
        return sum(isinstance(step, Product) for step in self.steps)

    @property
    def scalings(self) -> int:
        """Multiplications by a number that is no small integer."""
        return sum(not is_free(f) for step in self.steps if isinstance(step, Combination) for _, f in step.terms)

    def __call__(self, x: Any) -> Any:
        """On an element of any ring with ``+`` and ``*``, also by numbers: float, array, tensor, Fraction, sympy expression.

        A type with ``linear_combination(terms, constant)``, terms as (value, factor), gets whole combinations: ciphertexts rescale once.
        """
        values = [x]
        combine = getattr(type(x), "linear_combination", _combine)
        for step in self.steps:
            if isinstance(step, Product):
                values.append(values[step.left] * values[step.right])
            elif step.terms:
                values.append(combine([(values[i], f) for i, f in step.terms], step.constant))
            else:
                values.append(x * 0 + step.constant)
        return values[-1]


def _combine(terms: Sequence[tuple[Any, Any]], constant: Any) -> Any:
    total: Any = None
    for value, factor in terms:
        term = value if factor == 1 else value * factor
        total = term if total is None else total + term
    return total + constant if constant != 0 else total


def evaluation_plan(coefficients: Sequence[Any], basis: str = "chebyshev", fold: bool = False) -> EvaluationPlan:
    """The plan for Σ_j coefficients[j]·φ_j(x) with the least levels, and among those few products and scalings.

    Args:
        coefficients: c_0 … c_d, numbers; trailing zeros are cut.
        basis: ``"chebyshev"``: T_{m+n} = 2 T_m T_n - T_{|m-n|}; ``"power"``: x^{m+n} = x^m x^n.
        fold: leave the leading coefficient to the neighbours as ``factor``: it saves a level at degree 2, 4, 8, 16, …

    Raises:
        SlafError: no coefficients, another basis, or a coefficient that is not finite.
    """
    one_of("basis", basis, ("chebyshev", "power"))
    c = list(coefficients)
    if not c:
        raise SlafError("coefficients must hold at least c_0; got none")
    if any(not _finite(value) for value in c):
        raise SlafError("coefficients must be finite numbers")
    while len(c) > 1 and c[-1] == 0:
        c.pop()
    factor = c[-1] if fold and len(c) > 2 else 1
    c = [value / factor for value in c] if fold and len(c) > 2 else c
    return _best(tuple(c), tuple(map(type, c)), basis, factor)


def _finite(value: Any) -> bool:
    return bool(abs(value) < float("inf"))


@lru_cache(maxsize=4096)
def _best(c: tuple[Any, ...], kinds: tuple[type, ...], basis: str, factor: Any) -> EvaluationPlan:  # noqa: ARG001 - kinds: a fraction equals its float
    degree = len(c) - 1
    levels = least_levels(degree, monic=is_free(c[-1]))
    plans = [_Builder(basis, baby, strict).plan(c, levels, factor) for baby in range(1, degree + 2) for strict in (True, False)]
    return min((p for p in plans if p is not None and p.levels <= levels), key=lambda p: (p.products, p.scalings, len(p.steps)))


class _TooDeepError(Exception):
    """This way of splitting does not fit the levels."""


class _Builder:
    """One plan: sums of φ_j, j < ``baby``, at the leaves; above, division by φ_n with n = baby·2^i.

    ``strict`` divides degree n by φ_{n/2}, not by φ_n itself.
    """

    def __init__(self, basis: str, baby: int, strict: bool) -> None:
        self.chebyshev, self.baby, self.strict = basis == "chebyshev", baby, strict
        self.steps: list[Product | Combination] = []
        self.levels = [0]
        self.terms = {1: 0}

    def plan(self, c: tuple[Any, ...], levels: int, factor: Any) -> EvaluationPlan | None:
        try:
            terms, constant = self.split(list(c), levels)
        except _TooDeepError:
            return None
        if not (len(terms) == 1 and terms[0] == (len(self.steps), 1) and constant == 0):
            self.combine(terms, constant)
        return EvaluationPlan(tuple(self.steps), factor, len(c) - 1, self.levels[-1])

    def product(self, left: int, right: int) -> int:
        self.steps.append(Product(left, right))
        self.levels.append(max(self.levels[left], self.levels[right]) + 1)
        return len(self.steps)

    def combine(self, terms: list[tuple[int, Any]], constant: Any) -> int:
        self.steps.append(Combination(tuple(terms), constant))
        self.levels.append(max((self.levels[i] + (not is_free(f)) for i, f in terms), default=0))
        return len(self.steps)

    def term(self, j: int) -> int:
        """The value φ_j, at level ⌈log2 j⌉."""
        if j not in self.terms:
            half = (j + 1) // 2
            value = self.product(self.term(half), self.term(j - half))
            if self.chebyshev:
                rest = [(self.terms[1], -1)] if j % 2 else []
                value = self.combine([(value, 2), *rest], 0 if j % 2 else -1)
            self.terms[j] = value
        return self.terms[j]

    def split(self, c: list[Any], budget: int) -> tuple[list[tuple[int, Any]], Any]:
        """Terms and constant whose combination is Σ c_j φ_j, reached within ``budget`` levels."""
        while len(c) > 1 and c[-1] == 0:
            c.pop()
        degree = len(c) - 1
        if degree < max(self.baby, 2) and all(not f or self.reach(j, f) <= budget for j, f in enumerate(c) if j):
            return [(self.term(j), f) for j, f in enumerate(c) if j and f], c[0]
        n = self.divisor(degree)
        if n >= max(degree, 2) and self.reach(n, c[n]) <= budget:
            terms, constant = self.split([*c[:n]], budget)
            return [*terms, (self.term(n), c[n])], constant
        if n >= degree:
            raise _TooDeepError
        quotient, rest = self.divide(c, n)
        if (n - 1).bit_length() > budget - 1:
            raise _TooDeepError
        left = self.combined(*self.split(quotient, budget - 1))
        terms, constant = self.split(rest, budget)
        return [*terms, (self.product(left, self.term(n)), 1)], constant

    def combined(self, terms: list[tuple[int, Any]], constant: Any) -> int:
        bare = len(terms) == 1 and terms[0][1] == 1 and constant == 0
        return terms[0][0] if bare else self.combine(terms, constant)

    def reach(self, j: int, factor: Any) -> int:
        return (j - 1).bit_length() + (not is_free(factor))

    def divisor(self, degree: int) -> int:
        n = self.baby if degree >= self.baby > 1 else 1
        while 2 * n < degree + (not self.strict):
            n *= 2
        return n

    def divide(self, c: list[Any], n: int) -> tuple[list[Any], list[Any]]:
        """q and r with p = q·φ_n + r, for n ≤ degree ≤ 2n."""
        rest, quotient = c[:n], c[n:]
        if self.chebyshev:
            for j in range(1, len(quotient)):
                quotient[j] = 2 * quotient[j]
                rest[n - j] = rest[n - j] - c[n + j]  # T_{n+j} = 2 T_j T_n - T_{n-j}
        return quotient, rest
