"""Adaptive piecewise linear units against their definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.core import SlafError
from slaf.testing import check_activation


def drawn(spec="apl", seed=0, **context):
    act = slaf.make(spec, dtype=torch.float64, **context)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in (act.slopes, act.places):
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return act


def definition(act, x, row=0):
    a, b = act.slopes[row].detach().numpy(), act.places[row].detach().numpy()
    return np.maximum(0, x) + (a * np.maximum(0, b - x[:, None])).sum(1)


@pytest.mark.parametrize("sharing", [{"num_channels": 4}, {"num_channels": 4, "share": "group", "groups": 2}, {"num_features": 4}])
def test_every_channel_group_and_unit_is_the_definition(sharing):
    act = drawn("apl(hinges=3)", **sharing)
    x = np.linspace(-6, 6, 301)
    got = act(torch.from_numpy(x)[:, None].expand(-1, 4)).detach().numpy()
    rows = act.sharing.per_site(torch.arange(act.sharing.count)).tolist()
    for channel, row in enumerate(rows):
        np.testing.assert_allclose(got[:, channel], definition(act, x, row), atol=1e-13)


def test_relu_and_the_identity_are_met_exactly():
    x = torch.linspace(-50, 50, 2001)
    torch.testing.assert_close(slaf.make("apl")(x), torch.relu(x), rtol=0, atol=0)
    for hinges in (1, 2, 5):
        torch.testing.assert_close(slaf.make(f"apl(init=identity, hinges={hinges})", dtype=torch.float64)(x.double()), x.double())


def test_the_start_is_near_gelu():
    act, x = slaf.make("apl(init=gelu)", dtype=torch.float64), torch.linspace(-4, 4, 4001, dtype=torch.float64)
    assert float((act(x) - torch.nn.functional.gelu(x)).detach().abs().max()) < 0.06


def test_the_papers_start_is_drawn_for_every_channel():
    torch.manual_seed(0)
    act = slaf.make("apl(init=paper)", num_channels=2000)
    assert float(act.slopes.detach().abs().max()) <= 0.2
    assert float(act.slopes.detach().std()) == pytest.approx(0.2 / 3**0.5, rel=0.05)
    assert float(act.places.detach().std()) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("apl(init=tanh)", "is not near x for large x"),
        ("apl(hinges=0)", "hinges must be an integer from 1 to 64"),
        ("apl(hinge=3)", "did you mean 'hinges'"),
        ("apl(init=papr)", "unknown activation 'papr'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(spec, says):
    with pytest.raises(SlafError, match=says):
        slaf.make(spec)


def test_the_antiderivative_vanishes_at_0_and_its_derivative_is_the_function():
    act = drawn(num_channels=3)
    x = torch.linspace(-9, 9, 601, dtype=torch.float64)[:, None].repeat(1, 3).requires_grad_()
    (slope,) = torch.autograd.grad(act.antiderivative(x).sum(), x)
    torch.testing.assert_close(slope, act(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(act.antiderivative(torch.zeros(1, 3, dtype=torch.float64)), torch.zeros(1, 3, dtype=torch.float64))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_bounds_hold_and_are_reached_for_every_channel(seed, dtype):
    act = drawn(seed=seed, num_channels=3).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    lower, upper = (8 * torch.rand(2, 20, 3, generator=generator, dtype=torch.float64) - 4).to(dtype).sort(0).values
    low, high = act.bounds(lower, upper)
    inside = (lower + torch.linspace(0, 1, 801, dtype=dtype)[:, None, None] * (upper - lower)).clamp(lower, upper)
    y = act(inside.reshape(-1, 3)).reshape(inside.shape).detach()
    assert bool((y >= low).all())
    assert bool((y <= high).all())
    slack = act.lipschitz_constant().max().item() * 8 / 800 + 64 * torch.finfo(dtype).eps * act.second_order_total_variation().max().item()
    wide = (lower.double() + torch.linspace(0, 1, 801, dtype=torch.float64)[:, None, None] * (upper - lower).double()).reshape(-1, 3)
    values = act.double()(wide).reshape(inside.shape).detach()
    assert float((values.amin(0) - low.double()).max()) <= slack
    assert float((high.double() - values.amax(0)).max()) <= slack


@pytest.mark.parametrize("seed", range(4))
def test_lipschitz_constant_and_total_variation_are_those_of_the_slopes(seed):
    act = drawn(seed=seed, num_channels=2)
    for row in range(2):
        corners = np.sort(np.append(act.places[row].detach().numpy(), 0.0))
        middles = np.concatenate([[corners[0] - 1], (corners[1:] + corners[:-1]) / 2, [corners[-1] + 1]])
        slopes = (definition(act, middles + 1e-7, row) - definition(act, middles - 1e-7, row)) / 2e-7
        assert act.lipschitz_constant()[row].item() == pytest.approx(np.abs(slopes).max(), rel=1e-5)
        assert act.second_order_total_variation()[row].item() == pytest.approx(np.abs(np.diff(slopes)).sum(), rel=1e-5)


def test_corners_in_one_place_are_one_kink():
    act = slaf.make("apl(hinges=2)", dtype=torch.float64)
    with torch.no_grad():
        act.places.zero_()
        act.slopes.copy_(torch.tensor([[-3.0, 2.0]]))
    assert act.facts.kinks == ()  # the identity
    assert act.lipschitz_constant().item() == 1.0
    assert slaf.make("apl", num_channels=2).facts.kinks is None


def test_the_expression_of_every_channel_computes_its_values():
    act = drawn("apl(hinges=2)", num_channels=2)
    points = torch.tensor([-7.3, -0.2, 1.4, 6.1], dtype=torch.float64)
    values = act(points[:, None].expand(-1, 2))
    for site in range(2):
        expression = act.expression(site)
        got = [float(expression.subs(next(iter(expression.free_symbols)), v)) for v in points.tolist()]
        assert got == pytest.approx(values[:, site].tolist(), abs=1e-12)


@pytest.mark.parametrize("subject", [slaf.make("apl(hinges=2, init=gelu, num_features=(3, 4))"), "apl(hinges=3, init=paper, share=layer)"])
def test_the_contract_holds_for_other_arguments(subject):
    report = check_activation(subject)
    assert report.passed, str(report)
