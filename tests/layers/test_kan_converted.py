"""An MLP becomes a Kolmogorov–Arnold network that computes the same and learns on."""

import pytest
import torch
from torch import nn

import slaf
from slaf import SlafError
from slaf.layers.kan import from_mlp


def mlp(act):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), act(), nn.Linear(8, 8, bias=False), act(), nn.Linear(8, 2)).double()


@pytest.mark.parametrize("act", [nn.ReLU, nn.SiLU, nn.GELU, nn.Tanh, lambda: slaf.make("leaky_relu(negative_slope=0.2)")])
@pytest.mark.parametrize("options", [{}, {"basis": "chebyshev", "degree": 4}, {"grid": 3, "interval": (-2.0, 2.0)}])
def test_it_computes_the_same(act, options):
    model, x = mlp(act), 3 * torch.randn(50, 3, dtype=torch.float64)
    for given in (None, x):
        made = from_mlp(model, given, **options)
        torch.testing.assert_close(made(x), model(x))
        assert [layer.out_features for layer in made] == [8, 8, 2]
        assert made[1].bias is None
    torch.testing.assert_close(made[0].low, x.amin(0))
    torch.testing.assert_close(made[2].high, made[:2](x).amax(0))


def test_its_terms_learn():
    model, x = mlp(nn.ReLU), torch.randn(64, 3, dtype=torch.float64)
    made, before = from_mlp(model, x), model(x).detach()
    made(x).square().mean().backward()
    assert all(float(layer.weight.grad[: layer.num_terms].abs().max()) > 0 for layer in made)
    with torch.no_grad():
        made[0].weight.add_(1.0)
    torch.testing.assert_close(model(x), before)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (nn.Linear(2, 2), {}, "must be an nn.Sequential"),
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU()), {}, "must end with a linear layer"),
        (nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Linear(2, 2)), {}, "two activations in a row"),
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2)), {}, "BatchNorm1d, which is no linear layer"),
        (nn.Sequential(nn.Linear(2, 2), nn.ELU(0.5), nn.Linear(2, 2)), {}, "ELU, which is no linear layer"),
        (nn.Sequential(nn.Linear(2, 2)), {"base": "relu"}, "options cannot hold base"),
    ],
)
def test_what_is_no_mlp_is_refused(model, options, message):
    with pytest.raises(SlafError, match=message):
        from_mlp(model, **options)
