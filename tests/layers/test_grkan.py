"""GR-KAN layers: the sharing as released, the starts, the variance that they keep, and an MLP that becomes one."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import slaf
from slaf import SlafError
from slaf.layers import GRKANMLP, GRKANLinear
from slaf.learnable.rational_presets import PRESETS


def test_the_released_sharing_and_the_counts():
    layer = GRKANLinear(64, 32)
    assert sum(p.numel() for p in layer.activation.parameters()) == 6 + 32
    assert tuple(layer.activation.numerator.shape) == (1, 6)
    assert tuple(layer.activation.denominator.shape) == (8, 4)
    own = GRKANLinear(64, 32, numerator="group", groups=4)
    assert sum(p.numel() for p in own.activation.parameters()) == 4 * (6 + 4)


def test_the_activation_comes_first_and_a_group_is_a_run_of_inputs():
    layer = GRKANLinear(64, 5, dtype=torch.float64)
    x = torch.randn(3, 7, 64, dtype=torch.float64)
    before = layer(x)
    with torch.no_grad():
        layer.activation.denominator[3, 1] += 1.0
    act = layer.activation
    a, b = act.numerator[0], act.denominator.abs().repeat_interleave(8, 0)
    p = sum(a[k] * x**k for k in range(6))
    q = 1 + sum(b[:, k - 1] * x.abs() ** k for k in range(1, 5))
    torch.testing.assert_close(layer(x), (p / q) @ layer.linear.weight.T + layer.linear.bias)
    layer.linear.weight.data[:, 24:32] = 0  # the only inputs that the changed denominator reaches
    with torch.no_grad():
        act.denominator[3, 1] -= 1.0
    again = layer(x)
    with torch.no_grad():
        act.denominator[3, 1] += 1.0
    assert torch.equal(layer(x), again)
    assert not torch.allclose(before, again)


@pytest.mark.parametrize(
    ("start", "paper"), [("identity", 1.0), ("swish", 2.8178205270359653), ("gelu", 2.3567850379928976), ("relu", 2.0)]
)
def test_the_gain_is_that_of_the_coefficients(start, paper):
    """By a sum over a dense grid; the constants of the authors' code are those of the functions, not of the fits: 0.3 % apart."""
    layer = GRKANLinear(8, 8, start=start)
    a, b = PRESETS[f"kat_{start}"]
    z = np.linspace(-12, 12, 200001)
    f = np.polyval(a[::-1], z) / (1 + sum(abs(b[k]) * abs(z) ** (k + 1) for k in range(4)))
    wanted = 1 / ((f**2 * np.exp(-z * z / 2)).sum() * (z[1] - z[0]) / math.sqrt(2 * math.pi))
    assert layer.gain() ** 2 == pytest.approx(wanted, rel=1e-5)
    assert wanted == pytest.approx(paper, rel=3e-3)


@pytest.mark.parametrize("start", ["identity", "swish", "gelu", "tanh", "relu"])
def test_variance_is_kept_through_depth(start):
    """E[F²] is that of N(0, 1) at the input; after ten layers of 256 the power is what it was, up to the widths' noise."""
    torch.manual_seed(0)
    layers = nn.Sequential(*(GRKANLinear(256, 256, start=start) for _ in range(10)))
    y = layers(torch.randn(512, 256))
    assert 0.5 < y.square().mean().item() < 2
    released = nn.Sequential(*(GRKANLinear(256, 256, start=start, weight_init="released") for _ in range(10)))
    assert released(torch.randn(512, 256)).square().mean().item() < 0.3
    std = GRKANLinear(256, 256, weight_init="released").linear.weight.std().item()
    assert std == pytest.approx(0.02, rel=0.05)


def test_rationals_are_kept_from_weight_decay():
    layer = GRKANMLP(16, 32)
    groups = {g["name"]: g for g in slaf.train.param_groups(layer, weight_decay=0.1)}
    assert groups["activations"]["weight_decay"] == 0
    assert {id(p) for p in groups["activations"]["params"]} == {
        id(p) for m in (layer.first, layer.second) for p in m.activation.parameters()
    }


@pytest.mark.parametrize(("start", "f", "error"), [("swish", nn.SiLU(), 1e-4), ("gelu", nn.GELU(), 2e-2), ("gelu_old", nn.GELU(), 2e-2)])
def test_an_mlp_goes_on_computing_what_it_did(start, f, error):
    torch.manual_seed(0)
    first, second = nn.Linear(8, 16), nn.Linear(16, 8, bias=False)
    x = torch.randn(64, 8).clamp(-1.5, 1.5)
    made = GRKANMLP.from_mlp(first, second, start)
    assert float((made(x) - second(f(first(x)))).detach().abs().max()) < error


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GRKANLinear(10, 4), "groups"),
        (lambda: GRKANLinear(0, 4), "in_features must be a positive integer"),
        (lambda: GRKANLinear(8, 4, start="gelo"), "start must be"),
        (lambda: GRKANLinear(8, 4, numerator="all"), "numerator must be"),
        (lambda: GRKANLinear(8, 4, weight_init="kaiming"), "weight_init must be"),
        (lambda: GRKANLinear(8, 4)(torch.randn(3, 9)), "9"),
        (lambda: GRKANMLP.from_mlp(nn.Linear(8, 16), nn.Linear(16, 4)), "the two layers of an MLP"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(SlafError, match=message):
        call()
