"""LeCun normal initialisation, and what it and torch's alpha dropout do in a self-normalising network."""

import math

import pytest
import torch
from torch import nn

import slaf
from slaf.core import SlafError
from slaf.train import lecun_normal_


def _variances(start, depth=40, width=500, activation="selu", seed=0, **kwargs):
    generator = torch.Generator().manual_seed(seed)
    x = math.sqrt(start) * torch.randn(512, width, generator=generator)
    act, out = slaf.make(activation), []
    for _ in range(depth):
        x = act(lecun_normal_(nn.Linear(width, width), generator=generator, **kwargs)(x).detach())
        out.append(float(x.var()))
    return out, float(x.mean())


def test_selu_keeps_variance_1_over_forty_layers():
    drawings = [_variances(1.0, seed=seed) for seed in range(4)]
    # one drawing of this width wanders by 0.03; the expectation is within 0.01
    for layer in zip(*(variances for variances, _ in drawings), strict=True):
        assert sum(layer) / 4 == pytest.approx(1, abs=0.02)
        assert 0.95 < min(layer) <= max(layer) < 1.05
    assert all(abs(mean) < 0.02 for _, mean in drawings)


@pytest.mark.parametrize(
    ("start", "wanted"),
    [(0.1, {1: 0.15, 5: 0.46, 10: 0.78, 20: 0.98, 40: 0.98}), (5.0, {1: 3.50, 5: 1.62, 10: 1.15, 20: 1.01, 40: 1.01})],
)
def test_selu_is_drawn_to_variance_1(start, wanted):
    variances, mean = _variances(start)
    for layer, variance in wanted.items():
        assert variances[layer - 1] == pytest.approx(variance, rel=0.08)
    assert abs(mean) < 0.03


def test_relu_needs_its_gain():
    halved, _ = _variances(1.0, depth=20, activation="relu")
    assert halved[-1] < 5e-6
    kept, _ = _variances(1.0, depth=20, activation="relu", gain=slaf.make("relu").gain())
    assert 0.2 < kept[-1] < 2


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Linear(300, 200), 300),
        (nn.Conv1d(64, 96, 5), 320),
        (nn.Conv2d(32, 64, 3, groups=4, bias=False), 72),
        (nn.Conv3d(8, 32, 3), 216),
        (nn.ConvTranspose2d(64, 32, 3, groups=2), 288),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else str(v),
)
def test_variance_is_one_over_fan_in(layer, fan_in):
    model = nn.Sequential(layer, nn.BatchNorm1d(3))
    with torch.no_grad():
        model[1].weight.fill_(7)
    assert lecun_normal_(model, generator=torch.Generator().manual_seed(0)) is model
    weight = layer.weight.detach()
    error = math.sqrt(2 / weight.numel())  # one standard deviation of the estimate, relative
    assert float(weight.square().mean()) * fan_in == pytest.approx(1, abs=5 * error)
    assert layer.bias is None or not bool(layer.bias.any())
    assert bool((model[1].weight == 7).all())


def test_transposed_convolution_keeps_the_variance():
    generator = torch.Generator().manual_seed(0)
    layer = lecun_normal_(nn.ConvTranspose2d(64, 64, 3), generator=generator)
    y = layer(torch.randn(4, 64, 20, 20, generator=generator)).detach()[:, :, 2:-2, 2:-2]
    assert float(y.var()) == pytest.approx(1, abs=0.05)


def test_refuses_what_it_cannot_initialise():
    with pytest.raises(SlafError, match="gain must be a positive number; got -1"):
        lecun_normal_(nn.Linear(2, 2), gain=-1)
    with pytest.raises(SlafError, match="ReLU has none"):
        lecun_normal_(nn.ReLU())
    with pytest.raises(SlafError, match="LazyLinear whose sizes are not known"):
        lecun_normal_(nn.LazyLinear(3))


@pytest.mark.parametrize(("rate", "a", "b"), [(0.05, 0.9548445, 0.0839356), (0.1, 0.9212845, 0.1619710)])
def test_alpha_dropout_of_torch_has_the_papers_constants(rate, a, b):
    dropout = nn.AlphaDropout(rate).train()
    torch.manual_seed(0)
    dropped, kept = dropout(torch.ones(20_000, dtype=torch.float64)).unique().tolist()
    assert kept == pytest.approx(a + b, abs=2e-7)
    assert dropped == pytest.approx(-1.7580993408473766 * a + b, abs=2e-7)
    x = dropout(torch.randn(400_000, dtype=torch.float64))
    assert float(x.mean()) == pytest.approx(0, abs=0.02)
    assert float(x.var()) == pytest.approx(1, abs=0.02)
