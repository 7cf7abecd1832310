"""Rational fits against independent optimisers and closed forms."""

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares, linprog

import slaf
from slaf.fit.rational import RationalFit, fit_rational
from slaf.fit.rational_forms import FORMS, denominator_form
from slaf.fit.rational_solve import nonnegative_least_squares

GRID = np.linspace(-4, 4, 20001)
GELU = torch.nn.functional.gelu(torch.from_numpy(GRID)).numpy()


def quotient(form, a, b, x):
    """P/Q written out from the definition of each form."""
    q = {
        "even": lambda: 1 + sum(abs(c) * x ** (2 * k + 2) for k, c in enumerate(b)),
        "per_term": lambda: 1 + sum(abs(c) * abs(x) ** (k + 1) for k, c in enumerate(b)),
        "joint": lambda: 1 + abs(sum(c * x ** (k + 1) for k, c in enumerate(b))),
        "square": lambda: 1 + sum(c * x ** (k + 1) for k, c in enumerate(b)) ** 2,
    }[form]()
    return sum(c * x**k for k, c in enumerate(a)) / q


def restarted(form, count, p, restarts=20):
    """The least maximum error that scipy finds from random starts: least squares, then a p-norm, over all coefficients at once."""
    rng, x = np.random.default_rng(1), np.linspace(-4, 4, 161)
    y, best = torch.nn.functional.gelu(torch.from_numpy(x)).numpy(), np.inf

    def error(z, scale, power):
        return (np.abs(quotient(form, z[:6], z[6:], x) - y) / scale) ** power

    for _ in range(restarts):
        start = np.concatenate([rng.normal(size=6), np.abs(rng.normal(size=count))])
        found = least_squares(error, start, max_nfev=60, args=(1.0, 1.0)).x
        found = least_squares(error, found, max_nfev=60, args=(error(found, 1.0, 1.0).max(), p / 2)).x
        best = min(best, np.abs(quotient(form, found[:6], found[6:], GRID) - GELU).max())
    return best


@pytest.mark.parametrize(("form", "count"), [("even", 2), ("per_term", 4)])
def test_the_best_gelu_beats_random_restarts_of_another_optimiser(form, count):
    fit = fit_rational("gelu", 5, 4, denominator=form, norm="max")
    ours = np.abs(quotient(form, fit.numerator, fit.denominator, GRID) - GELU).max()
    assert ours == pytest.approx(fit.max_error, rel=1e-9)
    assert ours <= 1.05 * restarted(form, count, p=16)


@pytest.mark.parametrize("name", ["gelu", "tanh", "elu"])
@pytest.mark.parametrize("form", ["even", "per_term"])
def test_a_linear_program_proves_that_nothing_in_the_class_is_better(name, form):
    """|y Q - P| <= level Q, Q = 1 + Σ b_k φ_k, b >= 0 is linear in all coefficients: at a level 0.1 % lower it has no solution."""
    fit = fit_rational(name, 5, 4, denominator=form, norm="max")
    x = np.linspace(-4, 4, 1601)
    y = slaf.make(name).double()(torch.from_numpy(x)).detach().numpy()
    columns = np.polynomial.chebyshev.chebvander(x / 4, 5) / fit.max_error
    terms = np.abs(x / 4)[:, None] ** ([2, 4] if form == "even" else [1, 2, 3, 4])
    rows = [np.hstack([-s * columns, (s * y / fit.max_error - 0.999)[:, None] * terms, -np.ones((len(x), 1))]) for s in (1, -1)]
    limit = np.concatenate([0.999 - s * y / fit.max_error for s in (1, -1)])
    bounds = [(None, None)] * 6 + [(0, 1e4)] * terms.shape[1] + [(None, None)]
    least = linprog([0] * (len(bounds) - 1) + [1], A_ub=np.vstack(rows), b_ub=limit, bounds=bounds)
    assert least.status == 0
    assert least.fun > 1e-5


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_rational_function_of_the_class_is_found_again(form):
    a, b = (0.3, -1.0, 0.5, 0.2), {"even": (0.4,), "square": (0.6,)}.get(form, (0.2, 0.4))
    fit = fit_rational(lambda x: quotient(form, a, b, x), 3, 2, (-3.0, 3.0), form)
    assert fit.max_error < 1e-8
    np.testing.assert_allclose(fit.numerator, a, atol=1e-6)
    np.testing.assert_allclose(np.abs(fit.denominator), b, atol=1e-6)


def test_without_denominator_it_is_the_polynomial_of_least_squares():
    fit = fit_rational(torch.sin, 5, 0, (-2.0, 2.0))
    nodes, weight = np.polynomial.legendre.leggauss(60)
    wanted = np.polynomial.legendre.Legendre.fit(2 * nodes, np.sin(2 * nodes), 5, w=np.sqrt(weight), domain=[-2, 2])
    np.testing.assert_allclose(fit.numerator, wanted.convert(kind=np.polynomial.Polynomial).coef, atol=1e-8)
    assert fit.denominator == ()


@pytest.mark.parametrize("form", sorted(FORMS))
def test_errors_are_those_of_the_coefficients(form):
    fit = fit_rational("mish", 4, 4, (-3.0, 5.0), form)
    x = np.linspace(-3, 5, 20001)
    error = quotient(form, fit.numerator, fit.denominator, x) - torch.nn.functional.mish(torch.from_numpy(x)).numpy()
    assert np.abs(error).max() == pytest.approx(fit.max_error, rel=1e-6)
    assert np.sqrt(np.mean(error**2)) == pytest.approx(fit.rms_error, rel=1e-3)
    np.testing.assert_allclose(fit(x), quotient(form, fit.numerator, fit.denominator, x), rtol=1e-12)
    best = fit_rational("mish", 4, 4, (-3.0, 5.0), form, norm="max")
    assert best.max_error < fit.max_error
    assert best.rms_error >= fit.rms_error * (1 - 1e-6)


def test_nonnegative_least_squares_satisfies_the_conditions_of_optimality():
    rng = np.random.default_rng(0)
    for _ in range(20):
        matrix, wanted = rng.normal(size=(30, 6)), rng.normal(size=30)
        z = nonnegative_least_squares(matrix, wanted)
        gradient = matrix.T @ (matrix @ z - wanted)
        assert (z >= 0).all()
        assert (gradient > -1e-9).all()
        assert abs(gradient @ z) < 1e-9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "geluu"}, "did you mean 'gelu'"),
        ({"denominator": "evn"}, "did you mean 'even'"),
        ({"denominator_degree": 3}, "denominator_degree must be even for denominator=even; got 3; use 4"),
        ({"numerator_degree": 11}, "numerator_degree must be an integer from 0 to 10; got 11"),
        ({"interval": (2, 1)}, "interval must be two finite numbers"),
        ({"norm": "maximum"}, "norm must be one of least_squares, max"),
        ({"target": lambda x: x / 0}, "not finite on"),
        ({"target": lambda x: x[:3]}, "elementwise"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(slaf.SlafError, match=message):
        fit_rational(**({"target": "gelu"} | arguments))


def test_a_fit_is_plain_data():
    fit = fit_rational("identity", 2, 0)
    assert isinstance(fit, RationalFit)
    assert all(type(v) is float for v in (*fit.numerator, fit.max_error, fit.rms_error))
    assert denominator_form(fit.form).exponents(4) == (2, 4)
