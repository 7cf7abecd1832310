"""Every basis against an independent reference, its derivatives and antiderivatives, and the conditioning that its docstring states."""

import math

import mpmath
import numpy as np
import pytest
import scipy.interpolate
import scipy.linalg
import sympy
import torch
from numpy.polynomial import chebyshev, hermite_e, legendre

from slaf.bases import PiecewiseBasis, PolynomialBasis, bases, basis
from slaf.core import SlafError

SPECS = sorted({s for name in bases.names() for s in (name, *basis(name).examples)} | {"bspline(degree=3)", "wavelet(scale=0.5)"})
STATED = {  # K and an upper bound of the condition number of [1, φ] over the uniform density on the domain
    "bspline": (13, 140),
    "bspline(degree=1)": (13, 25),
    "bspline(degree=2)": (13, 30),
    "bspline(degree=5)": (13, 8000),
    "chebyshev": (7, 4),
    "fourier": (10, 130),
    "fourier(period=1.0)": (10, 1.5),
    "gp": (11, 600),
    "hermite": (7, 17),
    "legendre": (7, 4),
    "piecewise_linear": (11, 150),
    "power": (7, 250),
    "rbf": (11, 400),
    "relu_kan": (9, 900),
    "relu_kan(order=2)": (9, 350),
    "wavelet": (15, 15),
}


def grid(made, beyond=1.0, n=401):
    return beyond * torch.linspace(*made.domain, n, dtype=torch.float64) + 1e-4


def design(made, count, u):
    return torch.cat([torch.ones(len(u), 1, dtype=torch.float64), made.evaluate(u, count)], 1)


# -- references ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "vander"),
    [
        ("power", lambda u, k: np.vander(u, k + 1, increasing=True)),
        ("chebyshev", chebyshev.chebvander),
        ("legendre", legendre.legvander),
        ("hermite", lambda u, k: hermite_e.hermevander(u, k) / np.sqrt([float(math.factorial(j)) for j in range(k + 1)])),
    ],
)
@pytest.mark.parametrize("degree", [1, 2, 7, 24])
def test_polynomials_are_numpys(name, vander, degree):
    made = basis(name)
    u = grid(made, 1.1)
    expected = vander(u.numpy(), degree)[:, 1:]
    np.testing.assert_allclose(made.evaluate(u, degree).numpy(), expected, rtol=1e-11, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_relu_kans_bumps_are_its_formula_inside_and_lines_outside(order):
    grid = 5
    made = basis(f"relu_kan(order={order})")
    x = np.linspace(0, 1, 301)
    relu = lambda t: np.maximum(t, 0)  # noqa: E731
    start = np.arange(-order, grid) / grid
    end = start + (order + 1) / grid
    wanted = (4 * grid**2 / (order + 1) ** 2 * relu(x[:, None] - start) * relu(end - x[:, None])) ** 2
    got = made.evaluate(torch.from_numpy(2 * x - 1), grid + order).numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-12)
    middle = made.evaluate(torch.from_numpy(start + end - 1), grid + order).diagonal()
    inside = torch.from_numpy(abs(start + end - 1) <= 1)
    torch.testing.assert_close(middle[inside], torch.ones_like(middle[inside]))
    mirrored = made.evaluate(torch.from_numpy(1 - 2 * x), grid + order).numpy()
    np.testing.assert_allclose(mirrored, got[:, ::-1], atol=1e-12)
    far = made.evaluate(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), grid + order)
    torch.testing.assert_close(far[2] - far[1], far[1] - far[0])


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("extra", [0, 1, 9])
def test_bsplines_are_scipys_inside_and_lines_outside(degree, extra):
    made = basis(f"bspline(degree={degree})")
    count = degree + extra
    cells, width = made.cells(count), made.width(count)
    knots = -1 + width * np.arange(-degree, cells + degree + 1)
    splines = [scipy.interpolate.BSpline(knots, row, degree) for row in np.eye(count + 1)]
    # inside the extrapolation of scipy never enters
    u = np.linspace(-1, 1, 301)[1:-1]
    everyone = np.stack([s(u) for s in splines], 1)
    np.testing.assert_allclose(everyone.sum(1), 1, rtol=1e-12)
    left_out = (cells + degree) // 2
    mine = made.evaluate(torch.from_numpy(u), count).numpy()
    np.testing.assert_allclose(mine, np.delete(everyone, left_out, 1), atol=1e-12)
    for end, sign in ((-1.0, -1), (1.0, 1)):
        inner = end - sign * 1e-13
        value, slope = (np.stack([s(inner, nu) for s in splines]) for nu in (0, 1))
        far = end + sign * np.array([0.5, 3.0, 100.0])
        lines = np.delete(value + (far[:, None] - end) * slope, left_out, 1)
        np.testing.assert_allclose(made.evaluate(torch.from_numpy(far), count).numpy(), lines, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 5, 11])
def test_piecewise_linear_terms_are_hinges(count):
    made = basis("piecewise_linear")
    u = torch.linspace(-5, 5, 777, dtype=torch.float64)
    terms = [u]
    for k in range(1, count):
        t = -1 + 2 * k / count
        terms.append((u - t).clamp(min=0) if 2 * k >= count else (t - u).clamp(min=0))
    torch.testing.assert_close(made.evaluate(u, count), torch.stack(terms, 1), rtol=1e-12, atol=1e-12)
    assert made.evaluate(torch.zeros(1, dtype=torch.float64), count).abs().max() == 0


def test_piecewise_linear_spans_the_splines_of_degree_one():
    u = torch.linspace(-3, 3, 501, dtype=torch.float64)
    hinges, hats = (design(basis(s), 9, u) for s in ("piecewise_linear", "bspline(degree=1)"))
    both = torch.cat([hinges, hats], 1)
    assert torch.linalg.matrix_rank(hinges) == torch.linalg.matrix_rank(hats) == torch.linalg.matrix_rank(both) == 10


def test_fourier_terms_are_orthogonal_where_the_period_is_the_domain():
    made = basis("fourier(period=1.0)")
    u = torch.linspace(*made.domain, 1001, dtype=torch.float64)[:-1]
    columns = design(made, 8, u)
    torch.testing.assert_close(columns.T @ columns / 1000, torch.diag(torch.tensor([1.0] + [0.5] * 8, dtype=torch.float64)))
    longer = basis("fourier")
    period = 1.5 * (longer.domain[1] - longer.domain[0])
    assert math.isclose(period, 2 * math.pi)
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)
    torch.testing.assert_close(longer.evaluate(x + period, 7), longer.evaluate(x, 7))


@pytest.mark.parametrize("width", [0.5, 1.0, 2.5])
def test_rbf_terms_in_arbitrary_precision(width):
    made = basis(f"rbf(width={width})")
    with mpmath.workdps(30):
        for u in (-3.0, -0.77, 0.0, 0.4, 1.9):
            wanted = [mpmath.exp(-(((u - (-1 + mpmath.mpf(2) * k / 6)) * 3 / width) ** 2) / 2) for k in range(7)]
            got = made.evaluate(torch.tensor([u], dtype=torch.float64), 7)[0]
            assert all(math.isclose(g, float(w), rel_tol=1e-12, abs_tol=1e-300) for g, w in zip(got.tolist(), wanted, strict=True))


def test_wavelets_are_normalised_and_have_no_mean():
    made = basis("wavelet")
    u = torch.linspace(-12, 12, 96001, dtype=torch.float64)
    terms = made.evaluate(u, 15)
    step = float(u[1] - u[0])
    torch.testing.assert_close((terms**2).sum(0) * step, torch.ones(15, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    assert (terms.sum(0) * step).abs().max() < 1e-9
    centre, scale, _ = zip(*made.places(7), strict=True)
    assert centre == (0, -0.5, 0.5, -0.75, -0.25, 0.25, 0.75)
    assert scale == (1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25)
    peak = made.evaluate(torch.tensor([0.25], dtype=torch.float64), 6)[0, 5]
    assert math.isclose(float(peak), 2 / (math.sqrt(3) * math.pi**0.25) * 2, rel_tol=1e-12)


@pytest.mark.parametrize(("length", "jitter", "count"), [(1.0, 1e-6, 11), (1.25, 1e-4, 10), (2.0, 1e-4, 6), (0.5, 1e-6, 1)])
def test_gp_terms_are_a_dense_solve(length, jitter, count):
    made = basis(f"gp(length={length}, jitter={jitter})")
    points = np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    width = length * (points[1] - points[0] if count > 1 else 2.0)

    def kernel(a, b):
        return np.exp(-((a[:, None] - b) ** 2) / (2 * width**2))

    u = np.linspace(-4, 4, 201)
    wanted = scipy.linalg.solve(kernel(points, points) + jitter * np.eye(count), kernel(points, u), assume_a="pos").T
    np.testing.assert_allclose(made.evaluate(torch.from_numpy(u), count).numpy(), wanted, atol=1e-8)


def test_gp_coefficients_are_heights():
    made = basis("gp")
    at = torch.linspace(-1, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(made.evaluate(at, 11), torch.eye(11, dtype=torch.float64), atol=1e-3, rtol=0)
    moved = made.evaluate(at[-1:] - 2 - 5 * made.places(11)[0][1], 11)
    assert moved.abs().max() < 1e-2


# -- calculus --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("count", [None, 7])
def test_derivatives_are_those_of_automatic_differentiation(spec, count):
    made = basis(spec)
    count = count or made.default_terms
    u = grid(made, 1.6, 97)
    top = 5 if math.isinf(made.smoothness) or isinstance(made, PolynomialBasis) else 3
    for k in range(count):
        x = u.clone().requires_grad_()
        y = made.evaluate(x, count)[:, k]
        for order in range(1, top):
            if y.requires_grad:
                (y,) = torch.autograd.grad(y.sum(), x, create_graph=True, materialize_grads=True)
            else:
                y = torch.zeros_like(x)
            got = made.derivative(u, count, order)[:, k]
            torch.testing.assert_close(got, y.detach(), rtol=1e-8, atol=1e-8 * float(1 + y.detach().abs().max()))


@pytest.mark.parametrize("spec", SPECS)
def test_antiderivatives_are_integrals_from_zero(spec):
    made = basis(spec)
    count = made.default_terms
    ends = made.half_width * torch.tensor([-1.9, -1.0, -0.37, 0.0, 0.52, 1.0, 2.3], dtype=torch.float64)
    got = made.antiderivative(ends, count)
    assert got[3].abs().max() == 0
    nodes, weights = (torch.from_numpy(t) for t in np.polynomial.legendre.leggauss(20))
    for end, row in zip(ends, got, strict=True):
        # panels narrow enough for every term; where pieces meet the rule converges slower
        edges = torch.linspace(0, float(end), 401, dtype=torch.float64)
        half = edges.diff() / 2
        x = (edges[:-1, None] + half[:, None] * (nodes + 1)).reshape(-1)
        w = (half[:, None] * weights).reshape(-1)
        rough = isinstance(made, PiecewiseBasis)
        torch.testing.assert_close(row, w @ made.evaluate(x, count), atol=1e-6 if rough else 1e-11, rtol=1e-9)
    x = grid(made, 1.5, 33).requires_grad_()
    for k in range(count):
        (slope,) = torch.autograd.grad(made.antiderivative(x, count)[:, k].sum(), x)
        torch.testing.assert_close(slope, made.evaluate(x.detach(), count)[:, k], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spec", SPECS)
def test_expressions_compute_the_terms(spec):
    made, x = basis(spec), sympy.Symbol("x", real=True)
    count = max(6, made.least_terms)
    points = made.half_width * torch.tensor([-1.7, -0.93, -0.2, 0.11, 0.62, 1.4], dtype=torch.float64)
    wanted = made.evaluate(points, count)
    for k, expression in enumerate(made.expressions(x, count)):
        got = [float(expression.subs(x, p)) for p in points.tolist()]
        np.testing.assert_allclose(got, wanted[:, k].numpy(), rtol=1e-10, atol=1e-12)
    a = torch.linspace(-1, 2, count, dtype=torch.float64)
    whole = made.expression(x, a.tolist())
    np.testing.assert_allclose([float(whole.subs(x, p)) for p in points.tolist()], (wanted @ a).numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spec", SPECS)
def test_combinations_are_sums_of_terms(spec):
    made = basis(spec)
    count, sites = made.default_terms, 3
    u = 1.5 * made.half_width * torch.randn(4, sites, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a = torch.randn(sites, count, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    mixing = made.mixing(count)
    elements = a if mixing is None else a @ torch.from_numpy(np.array(mixing))
    got = made.combine(u, elements.T.reshape(-1, 1, sites, 1), count)
    wanted = (made.evaluate(u, count) * a.reshape(1, sites, 1, count)).sum(-1)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9 * float(wanted.abs().max()))


# -- what the docstrings state ---------------------------------------------------------------------------------------------------


def test_a_condition_number_is_stated_for_every_basis():
    assert {s.split("(")[0] for s in STATED} == set(bases.names())


@pytest.mark.parametrize("spec", STATED)
def test_condition_of_the_design_matrix(spec):
    made, (count, bound) = basis(spec), STATED[spec]
    assert count == made.default_terms
    u = torch.linspace(*made.domain, 4001, dtype=torch.float64)
    columns = design(made, count, u)
    condition = float(torch.linalg.cond(columns))
    assert bound / 2 < condition < bound
    assert torch.linalg.matrix_rank(columns) == count + 1


@pytest.mark.parametrize("spec", ["rbf", "rbf(width=2.0)", "gp", "gp(length=1.5)", "wavelet"])
def test_tails_vanish(spec):
    made = basis(spec)
    far = torch.tensor([-1e30, -1e4, -20.0, 20.0, 1e4, 1e30], dtype=torch.float64).requires_grad_()
    terms = made.evaluate(far, 9)
    assert terms.abs().max() < 1e-12
    (slope,) = torch.autograd.grad(terms.sum(), far)
    assert slope.abs().max() < 1e-12


@pytest.mark.parametrize("spec", ["bspline", "bspline(degree=1)", "bspline(degree=2)", "bspline(degree=5)", "piecewise_linear"])
def test_extrapolation_is_linear_and_smooth_at_the_ends(spec):
    made = basis(spec)
    far = torch.tensor([-1e4, -40.0, -1.5, 1.5, 40.0, 1e4], dtype=torch.float64)
    assert made.derivative(far, 11, 2).abs().max() == 0
    slopes = made.derivative(far, 11)
    torch.testing.assert_close(slopes[0], slopes[2])
    torch.testing.assert_close(slopes[3], slopes[5])
    h = 1e-9
    for end in made.domain:
        sides = torch.tensor([end - h, end + h], dtype=torch.float64)
        for order in (0, 1):
            before, after = made.derivative(sides, 11, order)
            torch.testing.assert_close(before, after, rtol=0, atol=1e-5)


# -- specifications --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
def test_specifications_round_trip(spec):
    made = basis(spec)
    again = basis(str(made))
    assert again == made
    assert hash(again) == hash(made)
    assert repr(again) == str(made)
    assert basis(made) is made


def test_parameters_at_their_default_are_left_out():
    assert str(basis("bspline(degree=3)")) == "bspline"
    assert str(basis("bspline(2)")) == "bspline(degree=2)"
    assert str(basis("rbf(width=2)")) == "rbf(width=2.0)"
    assert basis("rbf(width=1)") == basis("rbf")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("chebychev", "basis must be one of .*did you mean 'chebyshev'"),
        ("bspline(degre=2)", "bspline has no argument 'degre'; it takes degree; did you mean 'degree'"),
        ("chebyshev(degree=2)", "chebyshev has no argument 'degree'; it takes none"),
        ("bspline(degree=0)", "degree of bspline must be an integer from 1 to 7; got 0"),
        ("bspline(degree=2.0)", "degree of bspline must be an integer from 1 to 7; got 2.0"),
        ("rbf(width=0)", "width of rbf must be a number from 0.1 to 3; got 0"),
        ("rbf(width=wide)", "width of rbf must be a number from 0.1 to 3; got 'wide'"),
        ("fourier(period=0.5)", "period of fourier must be a number from 1 to 4; got 0.5"),
        ("gp(jitter=0)", "jitter of gp must be a number from 1e-12 to 1; got 0"),
        ("wavelet(scale=9)", "scale of wavelet must be a number from 0.1 to 2; got 9"),
        (3, "basis must be a name such as"),
    ],
)
def test_bad_specifications(spec, message):
    with pytest.raises(SlafError, match=message.replace("(", r"\(")):
        basis(spec)


@pytest.mark.parametrize(("spec", "count"), [("rbf", 0), ("rbf", 65), ("rbf", True), ("bspline", 2), ("chebyshev", 25), ("gp", 2.0)])
def test_bad_numbers_of_terms(spec, count):
    with pytest.raises(SlafError, match="must be an integer from"):
        basis(spec).check_terms(count)
