"""Interval arithmetic never loses a value, and branch and bound is tight."""

import math

import mpmath
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.core import SlafError
from slaf.core.extremes import derivative_of, range_on
from slaf.core.formula import parse_formula
from slaf.core.intervals import enclose

X = sympy.Symbol("x", real=True)
FORMULAS = [
    "x**2", "x**3 - x", "1/x", "1/(1 + x**2)", "x**-3", "exp(x)*x", "log(x**2 + 1e-3)", "sqrt(abs(x))", "abs(x)", "sign(x)", "floor(x)",
    "erf(x)", "erfc(x)", "sin(x)", "cos(3*x)", "tan(x)", "asin(x/9)", "acos(x/9)", "atan(x)", "sinh(x)", "cosh(x)", "tanh(x)", "asinh(x)",
    "acosh(1 + x**2)", "atanh(x/9)", "max(x, x**2, 1)", "min(x, sin(x))", "where(x > 0, log(x), x)", "where(x**2 < 1, x, -x)",
    "(1 + x**2)**0.3",     "2**x", "x*(1 + erf(x/sqrt(2)))/2", "x*tanh(log(1 + exp(x)))", "where(1 >= x, where(x > -1, x, -1), 1)",
]  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS)
@settings(max_examples=40, deadline=None)
@given(centre=st.floats(-8, 8), width=st.floats(1e-9, 12), place=st.floats(0, 1))
def test_an_enclosure_contains_every_value(text, centre, width, place):
    low, high = max(centre - width / 2, -8.9), min(centre + width / 2, 8.9)
    at = min(max(low + place * (high - low), low), high)
    expression = parse_formula(text)
    lower, upper = enclose(expression, torch.tensor([low], dtype=torch.float64), torch.tensor([high], dtype=torch.float64))
    with mpmath.workdps(40):
        try:
            value = sympy.lambdify(X, expression, "mpmath")(mpmath.mpf(at))
        except ZeroDivisionError:
            return
        assert mpmath.mpf(float(lower)) <= value <= mpmath.mpf(float(upper))


def test_an_enclosure_is_tight_on_narrow_intervals():
    x = torch.linspace(-4, 4, 101, dtype=torch.float64) + 1e-3
    low, high = enclose(parse_formula("x*(1 + erf(x/sqrt(2)))/2"), x, x + 1e-6)
    assert float((high - low).max()) < 1e-5


def test_parameters_are_numbers_of_each_interval():
    expression = parse_formula("beta*x", ("x", "beta"))
    one = torch.ones(2, dtype=torch.float64)
    low, high = enclose(expression, -one, one, {"beta": torch.tensor([2.0, -3.0])})
    assert low.tolist() == pytest.approx([-2, -3], rel=1e-12)
    assert high.tolist() == pytest.approx([2, 3], rel=1e-12)
    with pytest.raises(SlafError, match="'beta' has none"):
        enclose(expression, -one, one)


@pytest.mark.parametrize("text", ["x*cos(x)", "(x + sin(x))/(1 + exp(-x))", "x*tanh(exp(x))", "max(x, 0)*sin(x)", "sin((abs(x) + 1)*x)"])
def test_the_range_on_boxes_is_sound_and_tight(text):
    generator = torch.Generator().manual_seed(0)
    centre = 20 * torch.rand(300, generator=generator, dtype=torch.float64) - 10
    width = 10 ** (4 * torch.rand(300, generator=generator, dtype=torch.float64) - 3)
    lower, upper = centre - width / 2, centre + width / 2
    low, high = range_on(parse_formula(text), lower, upper)
    t = torch.linspace(0, 1, 20001, dtype=torch.float64)[:, None]
    y = torch.from_numpy(sympy.lambdify(X, parse_formula(text), ["scipy", "numpy"])((lower + t * (upper - lower)).numpy()))
    assert bool((y >= low - 1e-13).all())
    assert bool((y <= high + 1e-13).all())
    step = width / 20000
    excess = ((high - low) - (y.amax(0) - y.amin(0))) / (1e-7 + 200 * step**2)
    assert float(excess.max()) < 1


def test_jumps_are_not_bridged_by_slopes():
    low, high = range_on(parse_formula("where(x > 0, 1, 0)"), *torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    assert low.tolist() == [0]
    assert high.tolist() == [1]


def test_derivatives_leave_kinks_out():
    assert derivative_of(parse_formula("max(x, 0)")).subs(X, 3) == 1
    assert derivative_of(parse_formula("max(x, 0)")).subs(X, -3) == 0


def test_an_unknown_function_is_named():
    with pytest.raises(SlafError, match="besselj"):
        enclose(sympy.besselj(sympy.Integer(0), X), torch.zeros(1), torch.ones(1))


def test_bounds_of_several_parameters_are_those_of_each():
    act = slaf.make("prelu", num_channels=3).double()
    with torch.no_grad():
        act.weight.copy_(torch.tensor([-0.5, 0.25, 2.0]))
    lower = torch.full((2, 3), -1.0, dtype=torch.float64)
    low, high = act.bounds(lower, lower + 3)
    assert low[1].tolist() == pytest.approx([0, -0.25, -2], abs=1e-8)
    assert high[0].tolist() == pytest.approx([2, 2, 2])
    assert act.lipschitz(lower, lower + 0.5)[0].tolist() == pytest.approx([0.5, 0.25, 2])


def test_lipschitz_constants_on_intervals():
    lower = torch.tensor([-3.0, -1.0, 0.5, 1.0], dtype=torch.float64)
    got = slaf.make("gelu").lipschitz(lower, lower + 1.5)
    phi = torch.distributions.Normal(0.0, 1.0)
    x = lower + torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None] * 1.5
    slope = (phi.cdf(x) + x * torch.exp(phi.log_prob(x))).abs().amax(0)
    assert bool((got >= slope).all())
    assert got.tolist() == pytest.approx(slope.tolist(), rel=1e-5)
    jump = slaf.make("hardshrink").lipschitz(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
    assert jump.tolist() == [math.inf, pytest.approx(1)]


def test_critical_points_that_nobody_claimed():
    import dataclasses

    act = slaf.make("mish")
    claimed = act.critical_points(-5, 5)
    type(act).claims, kept = dataclasses.replace(act.claims, critical_points=None), type(act).claims
    try:
        assert act.critical_points(-5, 5) == pytest.approx(claimed, abs=1e-8)
    finally:
        type(act).claims = kept
    assert slaf.make("relu").critical_points() == [0.0]


def test_hermite_coefficients_are_an_expansion():
    a = slaf.make("relu").hermite_coefficients(40)
    closed = [1 / math.sqrt(2 * math.pi), 0.5, 1 / (2 * math.sqrt(math.pi))]
    assert a[:3].tolist() == pytest.approx(closed, abs=1e-12)
    assert float(a.square().sum()) == pytest.approx(0.5, abs=2e-3)
    assert slaf.make("tanh").hermite_coefficients(4).tolist() == pytest.approx([0, 0.6057055096021586, 0, -0.1484371907872728], abs=1e-12)
    assert slaf.make("relu").gain() == pytest.approx(math.sqrt(2), rel=1e-12)
