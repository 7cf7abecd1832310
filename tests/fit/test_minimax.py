"""Best approximation in the maximum norm against one full linear program on a dense grid, which scipy solves on its own."""

import numpy as np
import pytest
import torch

from slaf.core import SlafError
from slaf.fit.minimax import minimax
from slaf.fit.piecewise import bspline_terms, piecewise_linear_terms, polynomial_terms
from slaf.fit.target import as_function

linprog = pytest.importorskip("scipy.optimize").linprog
BSpline = pytest.importorskip("scipy.interpolate").BSpline
INTERVAL = (-4.0, 4.0)


def _gelu(x):
    from scipy.special import erf

    return x * (1 + erf(x / np.sqrt(2))) / 2


def _full_program(design, y):
    """min t where |y - A w| <= t on every point of the grid."""
    one = np.ones((len(y), 1))
    cost = np.r_[np.zeros(design.shape[1]), 1]
    rows = np.vstack([np.hstack([design, -one]), np.hstack([-design, -one])])
    found = linprog(cost, A_ub=rows, b_ub=np.r_[y, -y], bounds=[(None, None)] * len(cost), method="highs-ds")
    assert found.status == 0
    return found.fun


def _reference(family, points=20_001):
    x = np.linspace(*INTERVAL, points)
    if family == "polynomial":
        design = np.polynomial.chebyshev.chebvander(x / 4, 7)
    else:
        degree, knots = (1, np.linspace(*INTERVAL, 32)) if family == "piecewise_linear" else (3, np.linspace(*INTERVAL, 16))
        t = np.r_[[knots[0]] * degree, knots, [knots[-1]] * degree]
        design = BSpline.design_matrix(x, t, degree).toarray()
    return _full_program(design, _gelu(x))


TERMS = {
    "polynomial": lambda: polynomial_terms(7, *INTERVAL),
    "piecewise_linear": lambda: piecewise_linear_terms(torch.linspace(*INTERVAL, 32, dtype=torch.float64)),
    "cubic_spline": lambda: bspline_terms(torch.linspace(*INTERVAL, 16, dtype=torch.float64), 3),
}


@pytest.mark.parametrize("family", TERMS)
def test_gelu_is_as_near_as_the_full_program(family):
    found = minimax(as_function("gelu"), TERMS[family](), INTERVAL)
    reference = _reference(family)
    # the grid of the reference misses the knots, where a broken line errs most
    assert reference * (1 - 1e-6) <= found.max_error <= 1.005 * reference
    assert found.lower_bound <= found.max_error <= 1.001 * found.lower_bound
    x = torch.linspace(*INTERVAL, 100_003, dtype=torch.float64)
    error = (as_function("gelu")(x) - TERMS[family]()(x) @ found.coefficients).abs()
    assert float(error.max()) <= found.max_error * (1 + 1e-6)
    at = torch.tensor([found.where], dtype=torch.float64)
    assert float((as_function("gelu")(at) - TERMS[family]()(at) @ found.coefficients).abs()) == pytest.approx(found.max_error, rel=1e-9)


@pytest.mark.parametrize("degree", [1, 2, 5, 9, 24])
def test_the_error_of_x_to_the_n_is_chebyshevs(degree):
    # the monic polynomial of least maximum is T_n / 2^(n-1)
    found = minimax(lambda x: x**degree, polynomial_terms(degree - 1), (-1.0, 1.0))
    assert found.max_error == pytest.approx(2.0 ** (1 - degree), rel=2e-3)


def test_badly_conditioned_terms_are_fitted_as_well():
    found = minimax(torch.exp, lambda x: torch.stack([x**k for k in range(13)], -1), (0.0, 3.0))
    well = minimax(torch.exp, polynomial_terms(12, 0.0, 3.0), (0.0, 3.0))
    assert well.max_error < 1e-9
    assert found.max_error == pytest.approx(well.max_error, rel=2e-2)


def test_a_member_of_the_family_is_found():
    found = minimax(torch.relu, piecewise_linear_terms(torch.tensor([-2.0, 0.0, 3.0])), (-2.0, 3.0))
    assert found.max_error < 1e-14
    assert torch.allclose(found.coefficients, torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64), atol=1e-14)


def test_a_kink_between_grid_points_is_not_missed():
    # |x - k| by a constant: the error is half the range, its peak is the kink
    kink = 0.123456789
    found = minimax(lambda x: (x - kink).abs(), lambda x: torch.ones_like(x)[:, None], (-1.0, 1.0), kinks=(kink,))
    assert found.max_error == pytest.approx((1 + kink) / 2, rel=1e-9)


def test_bsplines_are_scipys():
    knots = torch.tensor([-2.0, -0.5, 0.0, 0.7, 3.0], dtype=torch.float64)
    x = np.linspace(-2, 3, 501)
    for degree in (0, 1, 2, 3, 5):
        t = np.r_[[-2.0] * degree, knots.numpy(), [3.0] * degree]
        wanted = BSpline.design_matrix(x, t, degree).toarray()
        terms = bspline_terms(knots, degree)
        assert np.abs(terms(torch.from_numpy(x)).numpy() - wanted)[:-1].max() < 1e-13
        if degree:
            slopes = np.stack([BSpline(t, row, degree).derivative()(x) for row in np.eye(len(terms))], 1)
            inside = ~np.isin(x, knots.numpy())
            assert np.abs(terms(torch.from_numpy(x), 1).numpy() - slopes)[inside].max() < 1e-11


def test_the_minimum_of_a_piecewise_polynomial_is_a_bound():
    generator = torch.Generator().manual_seed(3)
    terms = bspline_terms(torch.linspace(-1, 2, 6, dtype=torch.float64), 3)
    x = torch.linspace(-1, 2, 30_001, dtype=torch.float64)
    for _ in range(5):
        p = terms.combine(torch.randn(len(terms), generator=generator, dtype=torch.float64)).derivative()
        least = float(p(x[:-1]).min())
        assert least - 1e-2 <= p.minimum() <= least + 1e-12


def test_errors_are_told():
    with pytest.raises(SlafError, match="low < high"):
        minimax(torch.exp, polynomial_terms(3), (1.0, 1.0))
    with pytest.raises(SlafError, match="not finite"):
        minimax(lambda x: 1 / x.clamp(min=0), polynomial_terms(3), (-1.0, 1.0))
    with pytest.raises(SlafError, match="depend linearly"):
        minimax(torch.exp, lambda x: torch.stack([x, 2 * x], -1), (-1.0, 1.0))
    with pytest.raises(SlafError, match="increasing"):
        bspline_terms(torch.tensor([0.0, 0.0, 1.0]))
    with pytest.raises(SlafError, match="degree"):
        polynomial_terms(-1)
