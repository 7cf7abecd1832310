"""Total variation and Lipschitz constants of learned splines against quadrature and dense sampling; the projection; the penalty."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline
from torch import nn

import slaf
from slaf.core import SlafError
from slaf.train import L1, SecondOrderTotalVariation

SPECS = ["piecewise_linear(knots=9)", "spline(degree=2, knots=7)", "spline(knots=7)", "spline(knots=2)"]


def drawn(spec, seed=0, scale=1.0, **context):
    act = slaf.make(spec, dtype=torch.float64, **context)
    with torch.no_grad():
        act.coefficients.copy_(
            scale * torch.randn(act.coefficients.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        )
    return act


def derivative_of(act, order, row=0):
    grid, d = act.grid, act.degree
    t = grid.low + grid.step * np.arange(-d, grid.knots + d)
    return BSpline(t, act.coefficients[row].detach().numpy(), d).derivative(order)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spec", SPECS[1:])
def test_the_total_variation_is_the_integral_of_the_second_derivative(spec, seed):
    act = drawn(spec, seed, num_channels=2)
    n = 200000
    x = act.grid.low + (np.arange(n) + 0.5) * (act.grid.high - act.grid.low) / n
    wanted = [np.abs(derivative_of(act, 2, row)(x)).mean() * (act.grid.high - act.grid.low) for row in range(2)]
    np.testing.assert_allclose(act.second_order_total_variation().detach().numpy(), wanted, rtol=1e-4)


def test_the_total_variation_of_a_piecewise_linear_function_sums_its_kinks():
    act = drawn("piecewise_linear(knots=9)")
    wanted = np.abs(np.diff(act.coefficients[0].detach().numpy(), 2)).sum() / act.grid.step
    assert act.second_order_total_variation().item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("spec", SPECS)
def test_the_total_variation_is_differentiable(spec):
    act = drawn(spec, 3)

    def variation(theta):
        return torch.func.functional_call(_Of(act), {"act.coefficients": theta}, ())

    assert torch.autograd.gradcheck(variation, (act.coefficients.detach().clone().requires_grad_(),))
    straight = slaf.make(spec.replace(")", ", init=identity)"))
    straight.second_order_total_variation().sum().backward()
    assert bool(straight.coefficients.grad.isfinite().all())


class _Of(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.act = act

    def forward(self):
        return self.act.second_order_total_variation()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spec", SPECS)
def test_the_lipschitz_constant_is_the_steepest_slope(spec, seed):
    act = drawn(spec, seed, num_channels=2)
    dense = torch.linspace(-4.5, 4.5, 90001, dtype=torch.float64)
    x = torch.cat([dense, act.grid.breakpoints()])[:, None].expand(-1, 2)
    steepest = act.derivative(x).detach().abs().amax(0)
    claimed = act.lipschitz_constant().detach()
    assert bool((steepest <= claimed * (1 + 1e-12)).all())
    torch.testing.assert_close(steepest, claimed, rtol=1e-6, atol=0)


@settings(max_examples=25, deadline=None)
@given(
    spec=st.sampled_from(SPECS),
    seed=st.integers(0, 99),
    bound=st.sampled_from([0.3, 1.0, 2.5]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
)
def test_after_the_projection_no_two_points_are_further_apart_than_allowed(spec, seed, bound, dtype):
    act = drawn(spec, seed, scale=3.0, num_channels=2).to(dtype)
    mean = act.coefficients.detach().double().mean(1)
    assert act.project_lipschitz_(bound) is act
    torch.testing.assert_close(act.coefficients.detach().double().mean(1), mean, rtol=0, atol=20 * torch.finfo(dtype).eps)
    act = act.double()
    assert bool((act.lipschitz_constant() <= bound).all())
    x = torch.linspace(-10, 10, 100001, dtype=torch.float64)[:, None].expand(-1, 2)
    y = act(x).detach()
    rounding = 1e-14 * (1 + y.abs().max())
    assert bool((y.diff(dim=0).abs() <= bound * x.diff(dim=0) + rounding).all())
    once = act.coefficients.detach().clone()
    assert torch.equal(act.project_lipschitz_(bound).coefficients.detach(), once)


@pytest.mark.parametrize("spec", [*SPECS, "piecewise_linear", "piecewise_linear(knots=33)"])
def test_the_projection_leaves_a_function_that_needs_none(spec):
    for dtype in (torch.float64, torch.float32):
        act = slaf.make(spec.replace(")", ", init=tanh)") if "(" in spec else f"{spec}(init=relu)", dtype=dtype, num_channels=3)
        bound = float(act.lipschitz_constant().max().detach())
        with torch.no_grad():
            act.coefficients[1] *= 5
        before = act.coefficients.detach().clone()
        act.project_lipschitz_(bound)
        assert torch.equal(act.coefficients.detach()[[0, 2]], before[[0, 2]])
        assert not torch.equal(act.coefficients.detach()[1], before[1])


def test_the_projection_of_a_piecewise_linear_function_clips_its_slopes():
    act = slaf.make("piecewise_linear(knots=5, low=0.0, high=4.0, init=identity)", dtype=torch.float64)
    with torch.no_grad():
        act.coefficients.copy_(torch.tensor([[0.0, 3.0, 3.5, 3.0, -2.0]], dtype=torch.float64))
    act.project_lipschitz_(1.0)
    # slopes 3, 0.5, -0.5, -5 become 1, 0.5, -0.5, -1; the mean of the values is still 1.5
    torch.testing.assert_close(act.coefficients.detach().diff(), torch.tensor([[1.0, 0.5, -0.5, -1.0]], dtype=torch.float64))
    assert act.coefficients.mean().item() == pytest.approx(1.5)


@pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan"), True, "1"])
def test_a_bound_that_is_none_is_refused(bound):
    with pytest.raises(SlafError, match="bound must be a positive number"):
        slaf.make("spline").project_lipschitz_(bound)


def test_the_penalty_sums_over_activations_and_functions():
    first, second = drawn("piecewise_linear(knots=9)", 1, num_channels=3), drawn("spline", 2)
    frozen = drawn("spline", 4)
    frozen.requires_grad_(False)
    model = nn.Sequential(nn.Linear(2, 3).double(), first, nn.ReLU(), second, frozen)
    wanted = 0.1 * (first.second_order_total_variation().sum() + second.second_order_total_variation().sum())
    torch.testing.assert_close(SecondOrderTotalVariation(0.1)(model), wanted)
    both = (SecondOrderTotalVariation(0.1) + L1(0.2))(model)
    torch.testing.assert_close(both, wanted + L1(0.2)(model))
    assert SecondOrderTotalVariation(1.0)(nn.Linear(1, 1)).item() == 0


def test_the_penalty_straightens_what_the_data_do_not_bend():
    act = drawn("piecewise_linear(knots=17)", scale=0.3)
    x = torch.linspace(-4, 4, 200, dtype=torch.float64)
    optimizer = torch.optim.Adam(act.parameters(), 0.02)
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 600)
        loss = (act(x) - torch.relu(x)).square().mean() + SecondOrderTotalVariation(1e-3)(act)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float((act(x) - torch.relu(x)).abs().max().detach()) < 0.1
    assert act.second_order_total_variation().item() == pytest.approx(1, abs=0.1)
