"""Gaussian-process activations against the dense formula."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.core import SlafError
from slaf.testing import check_activation


def drawn(spec="gp", seed=0, **context):
    act = slaf.make(spec, dtype=torch.float64, **context)
    with torch.no_grad():
        act.heights.copy_(torch.randn(act.heights.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return act


def dense(act, x, row=0):
    """k(x, u) (K + s² I)⁻¹ v and the posterior variance, by solving with the whole matrix."""
    u = np.linspace(act.process.low, act.process.high, act.process.points)

    def k(a, b):
        return np.exp(-((a[:, None] - b) ** 2) / (2 * act.process.lengthscale**2))

    weights = np.linalg.solve(k(u, u) + act.process.noise * np.eye(len(u)), k(u, x)).T
    return weights @ act.heights[row].detach().numpy(), 1 - (weights * k(x, u)).sum(1), weights


SPECS = ["gp", "gp(points=2)", "gp(points=7, low=-1.0, high=3.0)", "gp(points=48, lengthscale=0.2)", "gp(points=12, noise=1e-3)"]


@pytest.mark.parametrize("spec", SPECS)
def test_values_and_variances_are_the_posteriors(spec):
    act = drawn(spec, num_channels=2)
    x = np.linspace(-30, 30, 2001)
    got = act(torch.from_numpy(x)[:, None].expand(-1, 2)).detach().numpy()
    for row in range(2):
        mean, variance, _ = dense(act, x, row)
        np.testing.assert_allclose(got[:, row], mean, atol=1e-11 * act.weights().abs().sum().item())
    np.testing.assert_allclose(act.variance(torch.from_numpy(x)).numpy(), variance, atol=1e-9)


def test_a_smooth_curve_meets_its_heights():
    act = slaf.make("gp", dtype=torch.float64)
    u = torch.tensor(act.process.abscissae(), dtype=torch.float64)
    for heights in (u, torch.sin(u), torch.tanh(u)):
        with torch.no_grad():
            act.heights.copy_(heights[None])
        torch.testing.assert_close(act(u), heights, rtol=0, atol=1e-3)


def test_moving_one_height_moves_the_curve_near_it_if_the_lengthscale_is_short():
    x = torch.linspace(-15, 15, 3001, dtype=torch.float64)

    def change(act):
        before = act(x).detach()
        with torch.no_grad():
            act.heights[0, 10] += 0.5
        moved = (act(x).detach() - before).abs()
        assert float(moved.max()) <= 0.5 * np.abs(dense(act, x.numpy())[2][:, 10]).max() * (1 + 1e-9)
        return moved, (x - act.process.abscissae()[10]).abs() / act.process.lengthscale

    moved, distance = change(drawn("gp(points=20, low=-10.0, high=10.0, lengthscale=0.63)"))
    assert float(moved[distance > 5].max()) < 0.01 * 0.5
    moved, distance = change(drawn("gp(points=20, low=-10.0, high=10.0)"))
    assert float(moved[(distance > 3) & (x.abs() <= 10)].max()) > 0.1 * 0.5


def test_far_from_the_points_the_curve_and_its_slope_are_zero_and_nothing_is_known():
    act = drawn(num_channels=2)
    x = torch.tensor([[-1e4, -40.0], [40.0, 1e4]], dtype=torch.float64)
    torch.testing.assert_close(act(x), torch.zeros_like(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(act.derivative(x), torch.zeros_like(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(act.variance(x), torch.ones_like(x))
    at_points = act.variance(torch.tensor(act.process.abscissae(), dtype=torch.float64))
    assert float(at_points.max()) < 1e-5 * 1.01


def test_the_curve_is_linear_in_its_heights():
    one, two, both = drawn(seed=1), drawn(seed=2), drawn(seed=3)
    with torch.no_grad():
        both.heights.copy_(2 * one.heights - 3 * two.heights)
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    torch.testing.assert_close(both(x), 2 * one(x) - 3 * two(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("init", "most"), [("gelu", 0.036), ("tanh", 0.005), ("identity", 0.025)])
def test_the_start_is_near_the_function_on_the_domain(init, most):
    act, x = slaf.make(f"gp(init={init})", dtype=torch.float64), torch.linspace(-4, 4, 4001, dtype=torch.float64)
    assert float((act(x) - slaf.make(init)(x)).detach().abs().max()) < most


def test_theta_is_one_number_a_point():
    assert sum(p.numel() for p in slaf.make("gp(points=7)", num_channels=5).parameters()) == 35
    assert list(slaf.make("gp").state_dict()) == ["heights"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("gp(lengthscale=3.0)", None),
        ("gp(lengthscale=3.0, noise=0)", "condition number .* over 1e.06: take a shorter one"),
        ("gp(points=30, noise=1e-9, lengthscale=1.0)", "condition number"),
        ("gp(lengthscale=0.1)", r"lengthscale must be at least \(high - low\)/40 = 0.2"),
        ("gp(lengthscale=-1.0)", "lengthscale must be"),
        ("gp(points=1)", "points must be an integer from 2 to 48"),
        ("gp(noise=-1.0)", "noise must be a non-negative number"),
        ("gp(low=3.0, high=2.0)", "low must be less than high"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(spec, says):
    if says is None:
        assert slaf.make(spec).process.lengthscale == 3.0
        return
    with pytest.raises(SlafError, match=says):
        slaf.make(spec)


def test_the_inverse_is_never_cast_and_comes_back_from_the_meta_device():
    act = slaf.make("gp")
    wanted = act.inverse.clone()
    assert torch.equal(copy.deepcopy(act).half().inverse, wanted)
    assert torch.equal(slaf.make("gp", device="meta").to_empty(device="cpu").inverse, wanted)


@settings(max_examples=30, deadline=None)
@given(spec=st.sampled_from(SPECS), seed=st.integers(0, 99), dtype=st.sampled_from([torch.float64, torch.float32]))
def test_bounds_hold_and_are_tight_for_every_channel(spec, seed, dtype):
    act = drawn(spec, seed, num_channels=2).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    width = 10 ** (2 - 4 * torch.rand(30, 2, generator=generator, dtype=torch.float64))
    lower = (24 * torch.rand(30, 2, generator=generator, dtype=torch.float64) - 12).to(dtype)
    upper = lower + width.to(dtype)
    low, high = act.bounds(lower, upper)
    inside = (lower + torch.linspace(0, 1, 3001, dtype=dtype)[:, None, None] * (upper - lower)).clamp(lower, upper)
    y = act(inside.reshape(-1, 2)).reshape(inside.shape).detach()
    assert bool((y >= low).all())
    assert bool((y <= high).all())
    size = act.weights().abs().sum(1).max().detach()
    # half a step from the extremum, where the slope is 0: |f''| step²/8
    slack = size * ((width / 3000 / act.process.lengthscale) ** 2 / 8 + 1e-8 + 16 * torch.finfo(dtype).eps)
    assert bool((y.amin(0) - low <= slack).all())
    assert bool((high - y.amax(0) <= slack).all())


def test_the_interpolant_behind_the_bounds_is_as_near_as_it_says():
    for spec in SPECS:
        act = drawn(spec, num_channels=2)
        cubic, error = act.process.enclosure(act.weights().detach())
        x = torch.linspace(-12, 12, 50001, dtype=torch.float64)
        found = (cubic.all_at(x) - act(x[:, None].expand(-1, 2)).detach().T).abs().amax(1)
        assert bool((found <= error + 1e-14 * act.weights().abs().sum(1)).all())
        assert bool((error < 1e-8 * act.weights().abs().sum(1)).all())


def test_the_expression_of_every_channel_computes_its_values():
    act = drawn("gp(points=4)", num_channels=2)
    points = torch.tensor([-7.3, -0.2, 1.4, 6.1], dtype=torch.float64)
    values = act(points[:, None].expand(-1, 2))
    for site in range(2):
        expression = act.expression(site)
        got = [float(expression.subs(next(iter(expression.free_symbols)), v)) for v in points.tolist()]
        assert got == pytest.approx(values[:, site].tolist(), abs=1e-9)


def test_the_contract_holds_for_other_arguments():
    report = check_activation(slaf.make("gp(points=5, low=-1.0, high=2.0, init=tanh, num_features=(3, 4))"))
    assert report.passed, str(report)
