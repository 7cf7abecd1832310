"""Fits under constraints and over measured densities, against scipy's general solvers, closed forms and exact checks."""

import numpy as np
import pytest
import torch

from slaf.core import SlafError
from slaf.fit import (
    Fixed,
    Lipschitz,
    Measured,
    Monotone,
    Normal,
    Parity,
    Uniform,
    approximate,
    bspline_terms,
    least_squares,
    piecewise_linear_terms,
    polynomial_terms,
)  # fmt: skip
from slaf.fit.quadratic_program import constrained_least_squares

optimize = pytest.importorskip("scipy.optimize")


def _dense(terms, coefficients, low, high, order=0):
    x = torch.linspace(low, high, 200_001, dtype=torch.float64)
    return x, terms(x, order) @ coefficients


def test_unconstrained_least_squares_is_the_one_that_was_there():
    terms = polynomial_terms(7, -6, 6)
    fit = approximate("gelu", terms, Normal(), interval=(-3.0, 3.0))
    w, error = least_squares(lambda x: torch.nn.functional.gelu(x), terms, Normal())
    assert torch.allclose(fit.coefficients, w, atol=1e-10)
    assert fit.weighted_error == pytest.approx(error)
    x, p = _dense(terms, fit.coefficients, -3, 3)
    assert fit.max_error == pytest.approx(float((p - torch.nn.functional.gelu(x)).abs().max()), rel=1e-6)
    assert fit.certain is None


@pytest.mark.parametrize("norm", ["least_squares", "minimax"])
@pytest.mark.parametrize(
    "terms", [polynomial_terms(9, -4, 4), bspline_terms(torch.linspace(-4, 4, 12, dtype=torch.float64), 3)], ids=["polynomial", "spline"]
)
def test_slopes_are_kept_everywhere(terms, norm):
    for target, constraints, least, most in (
        ("silu", ["nondecreasing"], 0, np.inf),
        ("gelu", [Lipschitz(1.0)], -1, 1),
        ("tanh", ["nondecreasing", "lipschitz(0.8)"], 0, 0.8),
        (lambda x: -torch.relu(x), ["nonincreasing"], -np.inf, 0),
    ):
        fit = approximate(target, terms, norm=norm, constraints=constraints)
        _, slope = _dense(terms, fit.coefficients, -4, 4, 1)
        assert float(slope.min()) >= least
        assert float(slope.max()) <= most
        assert fit.certain is True
        assert fit.slope_excess == 0
        free = approximate(target, terms, norm=norm)
        kept, best = (fit.max_error, free.max_error) if norm == "minimax" else (fit.weighted_error, free.weighted_error)
        assert kept >= best * (1 - 1e-6)
        if norm == "minimax":
            assert free.lower_bound <= fit.lower_bound * (1 + 1e-6)
            assert fit.max_error <= 1.02 * fit.lower_bound  # what the room between grid points cost


def test_monotone_least_squares_is_scipys_optimum():
    terms, n = polynomial_terms(5, -3, 3), 6
    fit = approximate("silu", terms, Uniform(-3, 3), constraints=["nondecreasing"])
    x, weight = Uniform(-3, 3).nodes()
    design, y, grid = terms(x).numpy(), torch.nn.functional.silu(x).numpy(), torch.linspace(-3, 3, 801, dtype=torch.float64)
    slopes, w = terms(grid, 1).numpy(), weight.numpy()
    found = optimize.minimize(
        lambda c: float(w @ (design @ c - y) ** 2), np.zeros(n), jac=lambda c: 2 * design.T @ (w * (design @ c - y)), method="SLSQP",
        constraints={"type": "ineq", "fun": lambda c: slopes @ c, "jac": lambda _: slopes}, options={"ftol": 1e-15, "maxiter": 500},
    )  # fmt: skip
    assert found.success
    assert fit.weighted_error == pytest.approx(found.fun**0.5, rel=1e-4)


def test_minimax_under_a_constraint_is_the_full_program():
    terms = polynomial_terms(6, -4, 4)
    fit = approximate("silu", terms, norm="minimax", constraints=["nondecreasing"])
    x = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    a, d, y = terms(x).numpy(), terms(x, 1).numpy(), torch.nn.functional.silu(x).numpy()
    one, none = np.ones((len(x), 1)), np.zeros((len(x), 1))
    rows = np.vstack([np.hstack([a, -one]), np.hstack([-a, -one]), np.hstack([-d, none])])
    cost = np.r_[np.zeros(7), 1]
    reference = optimize.linprog(cost, A_ub=rows, b_ub=np.r_[y, -y, 0 * y], bounds=[(None, None)] * 8)
    assert fit.max_error == pytest.approx(reference.fun, rel=5e-3)


@pytest.mark.parametrize("norm", ["least_squares", "minimax"])
def test_parity_and_fixed_points(norm):
    terms = polynomial_terms(9, -3, 3)
    x = torch.linspace(-3, 3, 1001, dtype=torch.float64)
    odd = approximate(lambda t: torch.tanh(t) + 0.1 * t * t, terms, norm=norm, interval=(-3.0, 3.0), constraints=["odd"])
    assert float((terms(x) @ odd.coefficients + terms(-x) @ odd.coefficients).abs().max()) < 1e-12
    even = approximate("gelu", bspline_terms(torch.linspace(-3, 3, 9), 3), norm=norm, constraints=[Parity("even")])
    spline = bspline_terms(torch.linspace(-3, 3, 9), 3)
    assert float((spline(x) - spline(-x)).mul(even.coefficients).sum(1).abs().max()) < 1e-12
    fixed = approximate("silu", terms, norm=norm, constraints=[Fixed(0, 0), Fixed(0, 0.5, order=1), Fixed(3, 3.0)])
    zero = torch.zeros(1, dtype=torch.float64)
    assert abs(float(terms(zero) @ fixed.coefficients)) < 1e-12
    assert float(terms(zero, 1) @ fixed.coefficients) == pytest.approx(0.5, abs=1e-11)
    assert float(terms(zero + 3) @ fixed.coefficients) == pytest.approx(3, abs=1e-11)
    both = approximate("tanh", terms, norm=norm, constraints=["odd", "lipschitz(1)", Fixed(0, 1.0, order=1)])
    assert float((terms(x, 1) @ both.coefficients).max()) <= 1 + both.slope_excess + 1e-15
    assert 0 < both.slope_excess < 1e-6  # the slope at 0 is on the limit


def test_a_family_given_as_a_function_is_differentiated():
    def terms(x):
        return torch.stack([torch.ones_like(x), x, torch.tanh(x), torch.exp(-x * x)], -1)

    fit = approximate(lambda x: torch.sin(2 * x), terms, interval=(-2.0, 2.0), constraints=["nondecreasing", Fixed(0.0, 0.1, order=1)])
    x = torch.linspace(-2, 2, 50_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad((terms(x) @ fit.coefficients).sum(), x)
    assert float(slope.min()) >= 0
    assert float(slope[25_000]) == pytest.approx(0.1, abs=1e-10)
    assert fit.certain is False


def test_constrained_least_squares_against_bounded_variables():
    generator = np.random.default_rng(0)
    for _ in range(20):
        design, y = generator.normal(size=(30, 6)), generator.normal(size=30)
        wanted = optimize.lsq_linear(design, y, bounds=(-0.05, 0.1), tol=1e-14).x
        eye = torch.eye(6, dtype=torch.float64)
        limit = torch.cat([torch.full((6,), 0.1), torch.full((6,), 0.05)]).double()
        got = constrained_least_squares(torch.from_numpy(design), torch.from_numpy(y), torch.cat([eye, -eye]), limit)
        assert np.abs(got.numpy() - wanted).max() < 1e-7


def test_nothing_obeys():
    eye = torch.eye(1, dtype=torch.float64)
    with pytest.raises(SlafError, match="no solution"):
        constrained_least_squares(eye, eye[0], torch.cat([eye, -eye]), torch.tensor([-1.0, -1.0]).double())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"norm": "maximum"}, "norm must be one of"),
        ({"constraints": ["nondecreasingly"]}, "did you mean 'nondecreasing'"),
        ({"constraints": ["lipschitz(-1)"]}, "a constraint must be"),
        ({"constraints": ["odd"], "interval": (-1.0, 2.0)}, "symmetric about 0"),
        ({"constraints": [Fixed(0, 0), Fixed(0, 1)]}, "contradict"),
        ({"constraints": [Fixed(x / 4, 0.0) for x in range(5)]}, "determine every coefficient"),
        ({"constraints": ["nondecreasing", Fixed(0, 1), Fixed(1, 0)]}, "no solution"),
        ({"target": lambda x: 1 / x.clamp(min=0)}, "not finite"),
        ({"target": lambda x: x[:3]}, "elementwise"),
        ({"target": 3}, "target must be"),
    ],
)
def test_errors_are_told(options, match):
    with pytest.raises(SlafError, match=match):
        approximate(**({"target": "tanh", "terms": polynomial_terms(4, -2, 2)} | options))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Monotone("rising"), "direction must be one of"), (lambda: Lipschitz(0.0), "constant must be"),
        (lambda: Fixed(0.0, float("nan")), "finite"), (lambda: Fixed(0.0, 0.0, 9), "order must be"),
        (lambda: Parity("none"), "kind must be"),
    ],
)  # fmt: skip
def test_constraints_check_their_values(make, match):
    with pytest.raises(SlafError, match=match):
        make()


# -- measured densities -----------------------------------------------------------------------------------------------------


def test_a_small_sample_is_itself():
    sample = torch.tensor([[3.0, -1.0], [0.5, 0.5]])
    x, w = Measured.of(sample).nodes()
    assert x.tolist() == [-1.0, 0.5, 0.5, 3.0]
    assert w.tolist() == [0.25] * 4
    fit = approximate("gelu", polynomial_terms(2, -1, 3), Measured.of(sample))
    assert fit.weighted_error < 1e-12  # three distinct points, three coefficients


def test_quantiles_stand_for_the_sample():
    generator = torch.Generator().manual_seed(4)
    sample = torch.randn(100_000, generator=generator, dtype=torch.float64) * 1.5 + 0.7
    terms = polynomial_terms(5, -7, 8)
    whole = approximate("silu", terms, Measured(sample, torch.ones_like(sample)), interval=(-4.0, 5.0))
    brief = approximate("silu", terms, Measured.of(sample), interval=(-4.0, 5.0))
    error = float((torch.nn.functional.silu(sample) - terms(sample) @ brief.coefficients).square().mean().sqrt())
    assert whole.weighted_error <= error <= 1.01 * whole.weighted_error


def test_a_histogram_is_its_density():
    edges = torch.linspace(-3, 3, 61)
    middle = (edges[1:] + edges[:-1]) / 2
    counts = torch.exp(-middle * middle / 2)
    terms = polynomial_terms(4, -3, 3)
    measured = approximate("tanh", terms, Measured.histogram(counts, edges))
    x = torch.linspace(-3, 3, 60_001, dtype=torch.float64)[:-1] + 5e-5
    weight = torch.exp(-(middle.double() ** 2) / 2)[((x + 3) / 0.1).long().clamp(0, 59)]
    solution = np.linalg.lstsq((terms(x) * weight[:, None].sqrt()).numpy(), (torch.tanh(x) * weight.sqrt()).numpy(), rcond=None)[0]
    assert np.abs(measured.coefficients.numpy() - solution).max() < 1e-4
    uniform = approximate("tanh", terms, Measured.histogram(torch.ones(60), edges))
    assert torch.allclose(uniform.coefficients, approximate("tanh", terms, Uniform(-3, 3)).coefficients, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Measured(torch.ones(2), torch.ones(3)), "as many weights"), (lambda: Measured.of(torch.ones(0)), "one or more"),
        (lambda: Measured(torch.ones(2), torch.tensor([1.0, -1.0])), "non-negative"), (lambda: Measured.of([1.0, float("nan")]), "finite"),
        (lambda: Measured.histogram([1, 2], [0, 1]), "need 3 increasing edges"),
    ],
)  # fmt: skip
def test_a_measured_density_checks_its_values(make, match):
    with pytest.raises(SlafError, match=match):
        make()


def test_weights_lie_where_the_sample_is():
    far = approximate(
        torch.relu, piecewise_linear_terms(torch.tensor([-4.0, -1.0, 4.0])), Measured.of(torch.linspace(1, 4, 50)), (1.0, 4.0)
    )
    assert far.max_error < 1e-12
