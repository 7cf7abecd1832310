"""Foreign functions get everything generic."""

import math

import pytest
import torch
from torch import nn

import slaf
from slaf.core import Facts, SlafError, wrap
from slaf.testing import check_activation


def test_a_function_and_a_module():
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    sine = wrap(torch.sin)
    assert sine.derivative(x).tolist() == pytest.approx(torch.cos(x).tolist())
    assert sine.antiderivative(x).tolist() == pytest.approx((1 - torch.cos(x)).tolist())
    assert sine.second_moment() == pytest.approx((1 - math.exp(-2)) / 2)
    module = wrap(nn.PReLU(3))
    assert [n for n, _ in module.named_parameters()] == ["function.weight"]
    assert wrap(slaf.make("gelu")).__class__ is slaf.make("gelu").__class__


def test_claims_are_checked_and_give_bounds():
    act = wrap(torch.sin, Facts("sin", formula="sin(x)", range=(-1.0, 1.0), lipschitz=1.0, smoothness=math.inf, kinks=(), parity="odd"))
    report = check_activation(act)
    assert report.passed, report
    low, high = act.bounds(torch.tensor([0.0]), torch.tensor([3.0]))
    assert float(low) == pytest.approx(0, abs=1e-5)
    assert float(high) == pytest.approx(1, abs=1e-5)
    wrong = wrap(torch.sin, Facts("sin", range=(-1.0, 2.0)))
    assert not check_activation(wrong, checks=["range"]).passed


def test_what_cannot_be_called():
    with pytest.raises(SlafError, match="got int"):
        wrap(3)
    with pytest.raises(SlafError, match="neither critical points nor a formula"):
        wrap(torch.sin).bounds(torch.zeros(1), torch.ones(1))
