"""Denominators of rational functions that have no real pole, whatever their coefficients are: Q(x) = 1 + h(Σ_k b_k φ_k(x)), h >= 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slaf.core import SlafError, one_of

__all__ = ["FORMS", "DenominatorForm", "check_orders", "denominator_form"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DenominatorForm:
    """How the coefficients b make Q >= 1.

    Attributes:
        name: as in ``rational(denominator=name)``.
        formula: Q for a denominator of degree n.
        outer: h and its derivative, of s = Σ_k b_k φ_k(x).
        step: the exponents are step, 2·step, … up to ``order``.
        absolute: the terms are powers of |x|.
        nonnegative: the coefficients enter by their absolute values, so that Q is linear in them and best fits are global.
    """

    name: str
    formula: str
    outer: Callable[[Array], tuple[Array, Array]]
    step: int = 1
    absolute: bool = False
    nonnegative: bool = False
    halved: bool = False

    def exponents(self, degree: int) -> tuple[int, ...]:
        """The exponents of the terms of a denominator of this degree; as many as there are coefficients."""
        return tuple(range(self.step, (degree // 2 if self.halved else degree) + 1, self.step))

    def terms(self, x: Array, degree: int) -> Array:
        """φ_k(x), (len(x), number of coefficients)."""
        base = np.abs(x) if self.absolute else x
        return base[:, None] ** np.array(self.exponents(degree), dtype=np.float64)

    def evaluate(self, terms: Array, b: Array) -> tuple[Array, Array]:
        """Q and dQ/db at the points of ``terms``."""
        value, slope = self.outer(terms @ b)
        return 1 + value, slope[:, None] * terms


def _linear(s: Array) -> tuple[Array, Array]:
    return s, np.ones_like(s)


def _absolute(s: Array) -> tuple[Array, Array]:
    return np.abs(s), np.where(s >= 0, 1.0, -1.0)


def _squared(s: Array) -> tuple[Array, Array]:
    return s * s, 2 * s


FORMS = {
    form.name: form
    for form in (
        DenominatorForm("even", "1 + Σ_k |b_k| x^(2k), 2k <= n", _linear, step=2, nonnegative=True),
        DenominatorForm("per_term", "1 + Σ_k |b_k| |x|^k, k <= n", _linear, absolute=True, nonnegative=True),
        DenominatorForm("joint", "1 + |Σ_k b_k x^k|, k <= n", _absolute),
        DenominatorForm("square", "1 + (Σ_k b_k x^k)², 2k <= n", _squared, halved=True),
    )
}


def denominator_form(name: object) -> DenominatorForm:
    """The form called ``name``; raises with the nearest one on a miss."""
    return FORMS[one_of("denominator", name, FORMS)]


MAX_ORDER = 10


def check_orders(numerator: object, denominator: object, form: DenominatorForm) -> tuple[int, int]:
    """Return both degrees if they are integers from 0 to 10 that the form can have; raise otherwise."""
    for argument, value in (("numerator_degree", numerator), ("denominator_degree", denominator)):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_ORDER:
            raise SlafError(f"{argument} must be an integer from 0 to {MAX_ORDER}; got {value!r}")
    assert isinstance(numerator, int)
    assert isinstance(denominator, int)
    if (form.step == 2 or form.halved) and denominator % 2:
        raise SlafError(f"denominator_degree must be even for denominator={form.name}; got {denominator}; use {denominator + 1}")
    return numerator, denominator
