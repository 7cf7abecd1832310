"""Learned splines against numpy and scipy: values, starts, other grids, bounds, integrals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

import slaf
from slaf.core import SlafError
from slaf.testing import check_activation

EVERY = ["piecewise_linear", "spline(degree=1)", "spline(degree=2)", "spline"]


def drawn(spec, seed=0, **context):
    """A float64 module with random coefficients."""
    act = slaf.make(spec, dtype=torch.float64, **context)
    with torch.no_grad():
        act.coefficients.copy_(torch.randn(act.coefficients.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return act


def scipy_spline(act, row=0):
    """The oracle inside the grid."""
    grid, d = act.grid, act.degree
    t = grid.low + grid.step * np.arange(-d, grid.knots + d)
    return BSpline(t, act.coefficients[row].detach().numpy(), d)


def numpy_values(act, x, row=0):
    """scipy inside the grid, and the tangents at its ends beyond."""
    curve, low, high = scipy_spline(act, row), act.grid.low, act.grid.high
    inner = curve(np.clip(x, low, high))
    slope = curve.derivative()
    just = 1e-9 * (high - low)  # scipy's derivative of degree 1 jumps at the ends
    return inner + slope(low + just) * np.minimum(x - low, 0) + slope(high - just) * np.maximum(x - high, 0)


@pytest.mark.parametrize("spec", [*EVERY, "spline(knots=2)", "spline(knots=5, low=-1.0, high=7.5)", "piecewise_linear(knots=2)"])
def test_values_are_scipys_and_go_on_straight_beyond_the_grid(spec):
    act = drawn(spec)
    x = np.linspace(-12, 12, 4001)
    np.testing.assert_allclose(act(torch.from_numpy(x)).detach().numpy(), numpy_values(act, x), atol=1e-7 if act.degree > 1 else 1e-12)


def test_piecewise_linear_interpolates_its_values():
    act = drawn("piecewise_linear(knots=7, low=-2.0, high=1.0)")
    x = np.linspace(-2, 1, 1001)
    wanted = np.interp(x, np.linspace(-2, 1, 7), act.coefficients[0].detach().numpy())
    np.testing.assert_allclose(act(torch.from_numpy(x)).detach().numpy(), wanted, atol=1e-13)


@pytest.mark.parametrize("spec", EVERY)
@pytest.mark.parametrize(
    ("sharing", "shape"),
    [
        ({"num_channels": 4}, (5, 4, 3, 2)),
        ({"num_channels": 4, "channel_dim": -1}, (5, 3, 4)),
        ({"num_channels": 4, "share": "group", "groups": 2}, (5, 4, 3)),
        ({"num_features": (4, 3)}, (5, 4, 3)),
    ],
)
def test_every_channel_group_and_unit_uses_its_own_coefficients(spec, sharing, shape):
    act, one = drawn(spec, **sharing), drawn(spec)
    x = 4 * torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = act.sharing.per_site(torch.arange(act.sharing.count)).reshape(act.sharing.shape(x, act.sharing.sites)).expand(shape)
    wanted = torch.empty_like(x)
    for row in range(act.sharing.count):
        one.coefficients.data.copy_(act.coefficients.data[row : row + 1])
        wanted = torch.where(rows == row, one(x), wanted)
    torch.testing.assert_close(act(x), wanted, rtol=0, atol=0)


# -- where it starts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "most"), [("piecewise_linear(init=gelu)", 7e-3), ("spline(degree=2)", 1.2e-3), ("spline", 2.5e-4), ("spline(knots=31)", 2e-5)]
)
def test_the_start_is_near_gelu_on_the_grid(spec, most):
    act, x = slaf.make(spec, dtype=torch.float64), torch.linspace(-4, 4, 8001, dtype=torch.float64)
    assert float((act(x) - torch.nn.functional.gelu(x)).abs().max().detach()) < most


def test_a_start_with_its_kinks_at_knots_is_exact_everywhere():
    x = torch.linspace(-100, 100, 20001)
    torch.testing.assert_close(slaf.make("piecewise_linear(knots=33)")(x), torch.relu(x), rtol=0, atol=0)
    leaky = slaf.make("piecewise_linear(knots=9, init=leaky_relu(negative_slope=0.25))")
    torch.testing.assert_close(leaky(x), torch.nn.functional.leaky_relu(x, 0.25), rtol=0, atol=1e-8)
    assert leaky.facts.kinks == (0.0,)


def test_a_start_off_the_knots_keeps_the_slope_within_relus():
    act = slaf.make("piecewise_linear", dtype=torch.float64)
    assert act.lipschitz_constant().item() == pytest.approx(1, abs=1e-12)
    assert act.second_order_total_variation().item() == pytest.approx(1, abs=1e-12)


def test_a_cubic_is_met_exactly_by_the_cubic_spline():
    act = slaf.make("spline(knots=6, low=-1.0, high=2.0)", dtype=torch.float64)
    again = type(act)(knots=6, low=-1.0, high=2.0, init=lambda x: x**3 - 2 * x, dtype=torch.float64)
    x = torch.linspace(-1, 2, 501, dtype=torch.float64)
    torch.testing.assert_close(again(x), x**3 - 2 * x, rtol=0, atol=1e-12)
    assert "lambda" in str(again)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("spline(knots=1)", "knots must be an integer from 2"),
        ("spline(knots=2000)", "knots must be an integer from 2 to 1024; got 2000"),
        ("spline(degree=4)", "degree must be 1, 2 or 3; got 4"),
        ("spline(low=1.0, high=1.0)", "low must be less than high"),
        ("spline(low=inf)", "low must be a finite number"),
        ("piecewise_linear(init=reelu)", "relu"),
        ("piecewise_linear(knot=3)", "did you mean 'knots'"),
        ("piecewise_linear(share=channel)", "num_channels"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(spec, says):
    with pytest.raises(SlafError, match=says):
        slaf.make(spec)


@pytest.mark.parametrize(
    ("init", "says"), [(torch.log, "not finite"), (lambda x: x.sum(), "keep its input's shape"), (lambda: 0, "function of one tensor")]
)
def test_a_start_that_cannot_be_computed_is_refused(init, says):
    with pytest.raises(SlafError, match=says):
        type(slaf.make("spline"))(init=init)


# -- another grid -------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    spec=st.sampled_from(["piecewise_linear(knots={})", "spline(degree=2, knots={})", "spline(knots={})"]),
    knots=st.integers(2, 12),
    times=st.integers(1, 4),
    left=st.integers(0, 3),
    right=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_a_refit_onto_a_finer_or_wider_grid_keeps_the_function(spec, knots, times, left, right, seed):
    act = drawn(spec.format(knots), seed, num_channels=3)
    low, high, step = act.grid.low, act.grid.high, act.grid.step
    new, error = act.refit(low - left * step, high + right * step, (knots - 1 + left + right) * times + 1)
    reach = 30.0 if act.degree == 1 or left + right == 0 else 0.0
    x = torch.linspace(low - reach, high + reach, 901, dtype=torch.float64)[:, None].expand(-1, 3)
    scale = float(act(x).detach().abs().max())
    torch.testing.assert_close(new(x), act(x), rtol=0, atol=1e-9 * (1 + scale))
    if reach:
        assert error <= 1e-9 * (1 + scale)
    assert new.sharing.config() == act.sharing.config()
    assert new.coefficients.shape[1] == new.grid.knots + act.degree - 1


@pytest.mark.parametrize("spec", EVERY)
def test_a_refit_that_cannot_be_exact_reports_its_largest_error(spec):
    act = slaf.make(spec.replace(")", ", init=gelu)") if "(" in spec else f"{spec}(init=gelu)", dtype=torch.float64)
    new, error = act.refit(-5.0, 4.5, 20)
    x = torch.linspace(-5, 4.5, 20001, dtype=torch.float64)
    seen = float((new(x) - act(x)).detach().abs().max())
    assert 0.9 * seen <= error <= 1.1 * seen
    assert 1e-5 < error < 0.05


def test_a_refit_keeps_the_spacing_where_no_number_of_knots_is_given():
    new, _ = slaf.make("spline(knots=17)").refit(-6.0, 5.0)
    assert (new.grid.knots, new.grid.step) == (23, 0.5)
    assert repr(new) == "spline(knots=23, low=-6.0, high=5.0)"
    assert new.domain == (-6.0, 5.0)


# -- what follows from the pieces ---------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    spec=st.sampled_from(["piecewise_linear(knots={})", "spline(degree=2, knots={})", "spline(knots={})"]),
    knots=st.integers(2, 40),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
def test_bounds_hold_and_are_reached_for_every_channel(spec, knots, seed, dtype):
    act = drawn(spec.format(knots), seed, num_channels=3).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    ends = (12 * torch.rand(2, 20, 3, generator=generator, dtype=torch.float64) - 6).to(dtype).sort(0).values
    lower, upper = ends[0], ends[1]
    low, high = act.bounds(lower, upper)
    inside = (lower + torch.linspace(0, 1, 801, dtype=dtype)[:, None, None] * (upper - lower)).clamp(lower, upper)
    y = act(inside.reshape(-1, 3)).reshape(inside.shape).detach()
    assert bool((y >= low).all())
    assert bool((y <= high).all())
    exact = act.double()
    wide = (lower.double() + torch.linspace(0, 1, 801, dtype=torch.float64)[:, None, None] * (upper - lower).double()).reshape(-1, 3)
    values = exact(wide).reshape(inside.shape).detach()
    slope = float(exact.lipschitz_constant().max().detach())
    # a sample is at most half a step from the extremum; the rest is the rounding that bounds allow for
    slack = slope * 12 / 1600 + 8 * torch.finfo(dtype).eps * (20 + 20 * slope)
    assert float((values.amin(0) - low.double()).max()) <= slack
    assert float((high.double() - values.amax(0)).max()) <= slack


def test_bounds_refuse_an_empty_box():
    with pytest.raises(SlafError, match="lower must not exceed upper"):
        slaf.make("spline").bounds(torch.ones(2), torch.zeros(2))


@pytest.mark.parametrize("spec", EVERY)
def test_the_antiderivative_vanishes_at_0_and_its_derivative_is_the_function(spec):
    for context in ({"num_channels": 3}, {}):
        act = drawn(spec, **context)
        x = torch.linspace(-9, 9, 601, dtype=torch.float64)[:, None].repeat(1, 3).requires_grad_()
        (slope,) = torch.autograd.grad(act.antiderivative(x).sum(), x)
        torch.testing.assert_close(slope, act(x), rtol=0, atol=1e-11)
        torch.testing.assert_close(act.antiderivative(torch.zeros(1, 3, dtype=torch.float64)), torch.zeros(1, 3, dtype=torch.float64))


@pytest.mark.parametrize("spec", EVERY)
def test_the_expression_of_every_channel_computes_its_values(spec):
    act = drawn(spec, num_channels=2)
    points = torch.tensor([-7.3, -3.99, -0.2, 1.4, 3.2, 6.1], dtype=torch.float64)
    values = act(points[:, None].expand(-1, 2))
    for site in range(2):
        expression = act.expression(site)
        got = [float(expression.subs(next(iter(expression.free_symbols)), v)) for v in points.tolist()]
        assert got == pytest.approx(values[:, site].tolist(), abs=1e-11)


def test_pieces_that_continue_each_other_are_one_in_the_expression():
    assert len(slaf.make("piecewise_linear(knots=33)").expression().args) == 2


def test_at_a_knot_the_gradient_is_that_of_a_side():
    act = drawn("piecewise_linear(knots=9)")
    x = act.grid.breakpoints()
    slopes = act.derivative(x).detach()
    left, right = (act.derivative(x + s).detach() for s in (-1e-6, 1e-6))
    assert bool(((slopes - left).abs() < 1e-12).logical_or((slopes - right).abs() < 1e-12).all())


def test_nan_and_infinity_stay_what_they_are():
    act = drawn("piecewise_linear(knots=9)", num_channels=2)
    y = act(torch.tensor([[torch.nan, torch.inf], [-torch.inf, 1.0]], dtype=torch.float64))
    assert bool(y[0, 0].isnan())
    assert bool(y[0, 1].isinf() & y[1, 0].isinf() & y[1, 1].isfinite())


def test_the_fraction_out_of_range_is_counted():
    x = torch.tensor([-5.0, -4.0, 0.0, 4.0, 4.1, 7.0, 1.0, 2.0])
    assert float(slaf.make("spline").out_of_range(x)) == 3 / 8


def test_facts_hold_for_every_channel():
    act = slaf.make("piecewise_linear(knots=5)", num_channels=2)
    assert act.facts.kinks == (0.0,)
    assert act.facts.smoothness == 0
    with torch.no_grad():
        act.coefficients[1, 1] += 1.0
    assert act.facts.kinks is None
    assert act.facts.smoothness is None
    smooth = slaf.make("spline(init=identity)", dtype=torch.float64, share="layer")
    assert smooth.facts.kinks == ()
    assert smooth.facts.lipschitz == pytest.approx(1)
    assert slaf.facts("spline").name == "spline"


@pytest.mark.parametrize(
    "spec",
    [
        "piecewise_linear(knots=7, low=-1.0, high=2.5, init=tanh, num_features=(3, 4, 2))",
        "spline(knots=9, degree=2, share=group, groups=2, num_channels=4)",
    ],
)
def test_the_contract_holds_for_other_arguments(spec):
    report = check_activation(slaf.make(spec))
    assert report.passed, str(report)
