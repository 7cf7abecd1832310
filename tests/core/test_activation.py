"""What every activation derives from its one description: facts, derivatives, integrals, bounds, expressions."""

import math

import mpmath
import pytest
import torch

import slaf
from slaf.core import INF, ContractError, Facts, Param, SlafError


def test_facts_are_evaluated_at_the_parameters():
    assert slaf.facts("elu").smoothness == 1
    assert slaf.facts("elu(alpha=2.0)").smoothness == 0
    assert slaf.facts("elu(alpha=2.0)").range == (-2.0, INF)
    assert slaf.facts("logistic").name == "sigmoid"
    assert slaf.facts("batch_norm(relu)").range is None
    act = slaf.make("prelu", num_channels=2)
    with torch.no_grad():
        act.weight.fill_(3)
    assert act.facts.lipschitz == 3


@pytest.mark.parametrize(("value", "allowed"), [(0.5, True), (0, False), (1, False), (math.nan, False), ("a", False), (True, False)])
def test_open_intervals(value, allowed):
    assert Param(0.5, low=0, high=1, open=True).allows(value) is allowed


def test_unclaimed_facts_stay_none():
    assert Facts("f").at().range is None


INTEGRANDS = {
    "gelu": lambda t: t * mpmath.ncdf(t),
    "softsign": lambda t: t / (1 + abs(t)),
    "relu6": lambda t: min(max(t, 0), 6),
    "hardshrink(0.3)": lambda t: t if abs(t) > mpmath.mpf(0.3) else 0,
}


@pytest.mark.parametrize("spec", INTEGRANDS)
def test_antiderivative(spec):
    act = slaf.make(spec)
    ends = [-700.0, -7.3, -0.31, 0.0, 1e-3, 0.9, 6.5, 1234.5]
    got = act.antiderivative(torch.tensor(ends, dtype=torch.float64)).tolist()
    for end, value in zip(ends, got, strict=True):
        path = [
            0,
            *sorted((k for k in (*act.facts.kinks, *(s * 4.0**e for e in range(6) for s in (-1, 1))) if 0 < k / (end or 1) < 1), key=abs),
            end,
        ]
        wanted = mpmath.quad(INTEGRANDS[spec], path)
        assert value == pytest.approx(float(wanted), rel=1e-10, abs=1e-12)


def test_derivatives_of_any_order():
    act, x = slaf.make("tanh"), torch.tensor([-1.3, 0.2, 2.0], dtype=torch.float64)
    for order in (1, 2, 3, 4):
        wanted = [float(mpmath.diff(mpmath.tanh, v, order)) for v in x.tolist()]
        assert act.derivative(x, order).tolist() == pytest.approx(wanted, rel=1e-9)
    assert slaf.make("relu").derivative(x, 3).tolist() == [0, 0, 0]
    for order in (0, -1, 1.0, True):
        with pytest.raises(SlafError, match="positive integer"):
            act.derivative(x, order)


def test_derivative_is_differentiable():
    x = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    slaf.make("tanh").derivative(x).sum().backward()
    t = math.tanh(0.4)
    assert x.grad.item() == pytest.approx(-2 * t * (1 - t * t))


def _box(act, low, high, dtype=torch.float64):
    lo, hi = act.bounds(torch.tensor([low], dtype=dtype), torch.tensor([high], dtype=dtype))
    return lo.item(), hi.item()


def test_bounds_are_tight():
    assert _box(slaf.make("silu"), -3, 1) == pytest.approx((-0.27846454276107380, 1 / (1 + math.exp(-1))), abs=1e-14)
    assert _box(slaf.make("hardswish"), -2, -1) == pytest.approx((-0.375, -1 / 3), abs=1e-14)
    assert _box(slaf.make("relu6"), -3, 9) == pytest.approx((0, 6), abs=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_bounds_include_both_sides_of_a_jump(dtype):
    act = slaf.make("threshold(1.0, 20.0)")  # f(1) = 20, f(1 + h) = 1 + h
    low, high = _box(act, 0.0, 5.0, dtype)
    assert low <= 1.0 + torch.finfo(dtype).eps
    assert high >= 20.0


def test_bounds_refuse_what_they_do_not_know():
    with pytest.raises(SlafError, match="must not exceed"):
        _box(slaf.make("relu"), 1, 0)
    with pytest.raises(ContractError, match="eval"):
        _box(slaf.make("rrelu"), 0, 1)


def test_second_moment_of_kinks_anywhere():
    act = slaf.make("hardtanh(-2, 0.3)")
    wanted = mpmath.quad(lambda t: min(max(t, -2), mpmath.mpf(0.3)) ** 2 * mpmath.npdf(t), [-mpmath.inf, -2, 0.3, mpmath.inf])
    assert act.second_moment() == pytest.approx(float(wanted), rel=1e-12)


def test_expression_puts_the_parameters_in():
    assert str(slaf.make("leaky_relu(0.25)").expression()) == "Piecewise((x, x >= 0), (0.25*x, True))"
    assert "weight" in str(slaf.make("prelu", num_channels=2).expression())
