"""Evaluation plans: exact in fractions, least depth, few products, accurate in float64, the same on every ring."""

from fractions import Fraction
from math import ceil, log2, sqrt

import numpy as np
import pytest
import sympy
import torch
from numpy.polynomial import chebyshev, polynomial

from slaf.bases.paterson_stockmeyer import Combination, Product, evaluation_plan, is_free
from slaf.core import SlafError

DEGREES = (*range(1, 26), 31, 32, 33, 64)


def fractions(degree, seed=0):
    generator = np.random.default_rng([degree, seed])
    return [Fraction(int(n), 97) + Fraction(1, 1009) for n in generator.integers(-300, 300, degree + 1)]


def by_definition(c, x, basis):
    terms = [Fraction(1), x]
    for _ in range(len(c) - 2):
        terms.append(2 * x * terms[-1] - terms[-2] if basis == "chebyshev" else x * terms[-1])
    return sum(a * t for a, t in zip(c, terms, strict=False))


def depth(plan):
    """Levels on the longest path, counted again from the steps."""
    levels = [0]
    for step in plan.steps:
        if isinstance(step, Product):
            levels.append(1 + max(levels[step.left], levels[step.right]))
        else:
            levels.append(max((levels[i] + (f != int(f)) for i, f in step.terms), default=0))
    return levels[-1]


@pytest.mark.parametrize("basis", ["chebyshev", "power"])
@pytest.mark.parametrize("fold", [False, True])
def test_every_degree_is_exact_at_the_least_depth_with_few_products(basis, fold):
    for degree in DEGREES:
        c, x = fractions(degree), Fraction(3, 7)
        plan = evaluation_plan(c, basis, fold=fold)
        assert plan.factor * plan(x) == by_definition(c, x, basis), degree
        least = ceil(log2(degree)) if fold and degree > 1 else ceil(log2(degree + 1))
        assert plan.levels == depth(plan) == least, degree
        # Paterson and Stockmeyer: about √(2d) + log2 d suffice, and fewer than √d - 1 do not
        assert sqrt(degree) - 1 <= plan.products <= ceil(sqrt(2 * degree) + log2(degree)), degree


def test_folding_saves_a_level_at_the_powers_of_two_only():
    for degree in range(2, 33):
        saved = evaluation_plan(fractions(degree)).levels - evaluation_plan(fractions(degree), fold=True).levels
        assert saved == (degree & (degree - 1) == 0), degree


def test_degree_four_is_two_products():
    plan = evaluation_plan(fractions(4), fold=True)
    assert (plan.products, plan.levels, plan.scalings) == (2, 2, 2)


def test_degree_22_is_accurate_in_float64():
    c = np.random.default_rng(0).normal(size=23)
    x = np.linspace(-1, 1, 2001)
    plan = evaluation_plan(c.tolist())
    assert plan.levels == 5
    assert np.abs(plan(x) - chebyshev.chebval(x, c)).max() < 1e-13


def test_one_plan_runs_on_numbers_arrays_tensors_and_symbols():
    c = [0.5, -1.25, 0.75, 2.0, -0.375, 1.5]
    plan, x = evaluation_plan(c, "power"), sympy.Symbol("x")
    assert sympy.expand(plan(x) - sum(value * x**j for j, value in enumerate(c))) == 0
    assert plan(0.5) == polynomial.polyval(0.5, c)
    torch.testing.assert_close(plan(torch.tensor([0.5, -2.0])), torch.tensor(polynomial.polyval([0.5, -2.0], c), dtype=torch.float32))


def test_even_polynomials_compute_no_odd_terms():
    even = [c if j % 2 == 0 else 0.0 for j, c in enumerate(np.random.default_rng(1).normal(size=9))]
    assert evaluation_plan(even).products < evaluation_plan([1.1] * 9).products
    assert evaluation_plan(even)(0.3) == pytest.approx(chebyshev.chebval(0.3, even), abs=1e-14)


def test_constants_and_vanishing_leading_coefficients():
    assert evaluation_plan([2.5])(7.0) == 2.5
    assert evaluation_plan([2.5, 0.0, 0.0])(7.0) == 2.5
    assert evaluation_plan([0.0, 1.0]).levels == 0
    assert evaluation_plan([1.5, 0.25, 0.0], "power")(2.0) == 2.0


def test_combinations_reach_a_ring_whole():
    seen = []

    class Ring(float):
        def __mul__(self, other):
            return Ring(float(self) * float(other))

        @staticmethod
        def linear_combination(terms, constant):
            seen.append(len(terms))
            return Ring(sum(float(v) * float(f) for v, f in terms) + float(constant))

    plan = evaluation_plan([0.1, 0.2, 0.3, 0.4, 0.5])
    assert float(plan(Ring(0.3))) == pytest.approx(chebyshev.chebval(0.3, [0.1, 0.2, 0.3, 0.4, 0.5]))
    assert seen == [len(s.terms) for s in plan.steps if isinstance(s, Combination)]


def test_only_small_whole_numbers_are_free():
    assert is_free(-3)
    assert is_free(2.0)
    assert not is_free(0.5)
    assert not is_free(1e9)


@pytest.mark.parametrize(("c", "word"), [([], "none"), ([1.0, float("nan")], "finite"), ([1.0, float("inf")], "finite")])
def test_bad_coefficients_are_refused(c, word):
    with pytest.raises(SlafError, match=word):
        evaluation_plan(c)


def test_another_basis_is_refused():
    with pytest.raises(SlafError, match="did you mean 'chebyshev'"):
        evaluation_plan([1.0], "chebishev")
