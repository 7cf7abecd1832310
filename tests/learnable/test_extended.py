"""An activation continued by straight lines, against its definition."""

import numpy as np
import pytest
import torch

import slaf
from slaf.core import SlafError
from slaf.testing import check_activation

SPECS = [
    "extended(prelu, low=-2.0, high=3.0, left_slope=0.5)",
    "extended(gelu, low=-3.0, high=4.0)",
    "extended(slaf(degree=5, interval=(-3.0, 3.0)), low=-3.0, high=3.0, left_slope=-0.25, right_slope=0.0)",
]


@pytest.mark.parametrize("spec", SPECS)
def test_keeps_the_contract(spec):
    report = check_activation(spec)
    assert report.passed, report


def moved(spec, **context):
    act = slaf.make(spec, dtype=torch.float64, **context).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in act.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return act


def test_is_the_inner_one_inside_and_straight_lines_outside_for_every_channel():
    act = moved("extended(rational(5, 4), low=-2.0, high=3.0, left_slope=0.25, right_slope=-1.5)", num_channels=3)
    x = torch.linspace(-9, 9, 1801, dtype=torch.float64)[:, None].expand(-1, 3)
    g = act.inner(x.clamp(-2, 3)).detach().numpy()
    z = x.numpy()
    wanted = np.where(z < -2, g + 0.25 * (z + 2), np.where(z > 3, g - 1.5 * (z - 3), g))
    np.testing.assert_allclose(act(x).detach().numpy(), wanted, rtol=0, atol=1e-13)
    assert float((act.inner(x) - act(x)).abs().max().detach()) > 0.1  # the rational itself is no straight line there


def test_the_slope_at_an_end_is_one_of_its_sides():
    act = slaf.make("extended(gelu, low=-1.0, high=1.0, left_slope=5.0, right_slope=-5.0)")
    ends = torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(act.derivative(ends), slaf.make("gelu").derivative(ends))


@pytest.mark.parametrize(("left", "right"), [(0.0, 0.0), (0.5, 2.0)])
def test_no_number_is_lost_at_infinity(left, right):
    act = slaf.make(f"extended(slaf(degree=9, interval=(-4.0, 4.0)), low=-4.0, high=4.0, left_slope={left}, right_slope={right})")
    far = torch.tensor([-torch.inf, -1e30, 1e30, torch.inf])
    y = act(far)
    assert not y.isnan().any()
    if left == 0:
        assert torch.isfinite(y).all()
    half = act(torch.tensor([-6e4, 6e4], dtype=torch.float16))
    assert torch.equal(half, act(torch.tensor([-6e4, 6e4], dtype=torch.float16).float()).half())


def test_bounds_hold_and_are_tight_on_boxes_inside_across_and_outside():
    act = moved("extended(slaf(degree=7, interval=(-3.0, 3.0)), low=-3.0, high=3.0, left_slope=-0.5)")
    lower = torch.tensor([-9.0, -9.0, -1.0, 2.0, 4.0, -9.0, 3.0], dtype=torch.float64)
    upper = torch.tensor([-5.0, 0.0, 1.0, 8.0, 6.0, 9.0, 3.0], dtype=torch.float64)
    low, high = act.bounds(lower, upper)
    x = lower + (upper - lower) * torch.linspace(0, 1, 20001, dtype=torch.float64)[:, None]
    y = act(x).detach()
    assert bool((low <= y.amin(0)).all() and (high >= y.amax(0)).all())
    torch.testing.assert_close(low, y.amin(0), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(high, y.amax(0), rtol=1e-6, atol=1e-6)


def test_the_lipschitz_constant_is_that_of_the_part_that_a_box_meets():
    act = slaf.make("extended(rational(5, 4), low=-4.0, high=4.0, left_slope=3.0, right_slope=7.0)").double()
    lower = torch.tensor([-9.0, -9.0, -1.0, 3.9], dtype=torch.float64)
    upper = torch.tensor([-5.0, 0.0, 1.0, 4.1], dtype=torch.float64)
    inside = float(act.derivative(torch.linspace(-1, 1, 20001, dtype=torch.float64)).abs().max().detach())
    torch.testing.assert_close(act.lipschitz(lower, upper), torch.tensor([3, 3, inside, 7], dtype=torch.float64), rtol=1e-5, atol=0)


def test_nested_strings_are_read_back():
    spec = "extended(mixture(relu, leaky_relu(negative_slope=0.2)), low=-1.0, high=2.5, right_slope=0.5)"
    act = slaf.make(spec, num_channels=4, channel_dim=-1)
    assert repr(slaf.make(repr(act))) == repr(act)
    assert act.inner.sharing.num_channels == 4
    assert act.sharing is act.inner.sharing
    assert act.domain == (-1.0, 2.5)


def test_the_expression_is_the_function():
    act = moved("extended(rational(3, 2), low=-2.0, high=3.0, left_slope=0.25)")
    expression = act.expression()
    for value in (-5.0, -2.0, 0.5, 3.0, 7.0):
        y = act(torch.tensor([value], dtype=torch.float64)).item()
        assert float(expression.subs({"x": value} | dict.fromkeys(expression.free_symbols, value))) == pytest.approx(y, rel=1e-12)


def test_it_learns_inside_and_penalties_see_its_coefficients_once():
    act = slaf.make("extended(rational(5, 4), low=-2.0, high=2.0)")
    act(torch.linspace(-1, 1, 9)).square().sum().backward()
    assert float(act.inner.numerator.grad.abs().max()) > 0
    assert len(slaf.train.penalties.activation_coefficients(act)) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("relu, low=2.0, high=1.0", "low must be less than high"),
        ("relu, left_slope=inf", "left_slope must be a finite number"),
        ("relo", "did you mean 'relu'"),
        ("polynorm", "polynorm is none"),
        ("relu, inplace=true", "inplace"),
    ],
)
def test_refuses_in_words(arguments, words):
    with pytest.raises(SlafError, match=words):
        slaf.make(f"extended({arguments})")


def test_is_no_polynomial():
    act = slaf.make("extended(slaf(degree=3, interval=(-1.0, 1.0)), low=-1.0, high=1.0)")
    with pytest.raises(SlafError, match="polynomial"):
        act.polynomial()
    assert act.inner.polynomial().degree == 3
