"""Which activation was it?"""

import pytest
import torch
from torch import nn

import slaf
from slaf.core import SlafError
from slaf.fit.identify import identify


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (nn.GELU(), "gelu"),
        (nn.GELU(approximate="tanh"), "gelu_tanh"),
        (nn.Mish(), "mish"),
        (torch.tanh, "tanh"),
        (lambda x: x * torch.sigmoid(x), "silu"),
        (lambda x: x.clamp(min=0), "relu"),
        ("hardswish", "hardswish"),
        (nn.PReLU(), "prelu"),
    ],
)
def test_exact(function, name):
    found = identify(function)
    assert found.exact, found
    assert found.name == name


def test_nearest_with_the_difference():
    found = identify(lambda x: x * torch.sigmoid(1.5 * x), -4, 4)
    assert not found.exact
    x = torch.linspace(-4, 4, 4001, dtype=torch.float64)
    wanted = (slaf.make(found.name).double()(x) - x * torch.sigmoid(1.5 * x)).abs().max()
    assert found.max_difference == pytest.approx(float(wanted), rel=1e-9)
    differences = [m.max_difference for m in found.matches]
    assert differences == sorted(differences)
    assert "none of them" in str(found)


def test_the_module_is_left_as_it_was():
    act = nn.PReLU().train()
    identify(act)
    assert act.training
    assert act.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: identify(torch.sin, 1, 0), "less than"),
        (lambda: identify(lambda x: x.sum()), "elementwise"),
        (lambda: identify(lambda a, b: a + b), "failed with"),
        (lambda: identify("gelo"), "did you mean"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(SlafError, match=message):
        call()
