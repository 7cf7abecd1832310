"""``expand`` against the network it expands."""

import math

import pytest
import sympy
import torch
from torch import nn

import slaf
from slaf.core import SlafError


def network(seed):
    """A random small SLNN with statistics of its own, in evaluation and float64."""
    torch.manual_seed(seed)
    inputs, width, degree, depth = 1 + seed % 4, 3 + seed % 3, (2, 3, 4, 2, 5)[seed % 5], 1 + seed % 2
    basis, normalize = ("power", "chebyshev")[seed % 2], ("none", "batch")[seed // 2 % 2]
    layers, features = [], inputs
    for _ in range(depth):
        spec = f"slaf(degree={degree}, basis={basis}, normalize={normalize}, init_noise=0.3)"
        layers += [nn.Linear(features, width), slaf.make(spec, num_channels=width)]
        features = width
    net = nn.Sequential(*layers, nn.Linear(features, 2)).double()
    for _ in range(5):
        net(torch.randn(200, inputs, dtype=torch.float64))
    return net.eval(), inputs, degree**depth


@pytest.mark.parametrize("seed", range(24))
def test_expansion_equals_the_network(seed):
    net, inputs, degree = network(seed)
    polynomial = slaf.expand(net)
    x = torch.randn(300, inputs, dtype=torch.float64)
    y = net(x).detach()
    torch.testing.assert_close(polynomial(x), y, rtol=1e-10, atol=1e-10 * float(y.abs().max()))
    assert polynomial.total_degree <= polynomial.degree == degree
    assert polynomial.num_monomials <= polynomial.bound == math.comb(inputs + degree, degree)
    assert (polynomial.exponents.sum(1) <= degree).all()


def test_paper_layers_expand_too():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 4), slaf.make("slaf(preset=paper_a, degree=3)", num_channels=4), nn.Linear(4, 1)).double()
    for _ in range(300):
        net(torch.randn(100, 2, dtype=torch.float64))
    x = torch.randn(50, 2, dtype=torch.float64)
    torch.testing.assert_close(slaf.expand(net.eval())(x), net(x), rtol=1e-10, atol=1e-10)


def test_a_known_polynomial():
    net = (
        nn.Sequential(nn.Linear(2, 1), slaf.make("slaf(degree=2, basis=power, input=identity, share=layer, coefficient_scale=1.0)"))
        .double()
        .eval()
    )
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[2.0, 3.0]]))
        net[0].bias.fill_(1)
        net[1].weight.copy_(torch.tensor([[0.0, 1.0]]))
        net[1].bias.fill_(-1)
    polynomial = slaf.expand(net)
    # (2a + 3b + 1)² - 1
    expected = {(2, 0): 4.0, (0, 2): 9.0, (1, 1): 12.0, (1, 0): 4.0, (0, 1): 6.0}
    assert dict(polynomial.top_terms(10)) == pytest.approx(expected)
    assert polynomial.num_monomials == 5
    assert float(polynomial.expression().subs(dict(zip(sympy.symbols("x:2", real=True), (1, -1), strict=True)))) == pytest.approx(-1.0)


def test_branches_batch_norm_and_products():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)
            self.act, self.drop = slaf.make("slaf(degree=2)", num_channels=3), nn.Dropout(0.5)

        def forward(self, x):
            h = self.drop(self.act(self.norm(self.inner(x))))
            return (h + x) * h - 0.5 * x

    torch.manual_seed(0)
    net = Residual().double()
    for _ in range(5):
        net(torch.randn(64, 3, dtype=torch.float64))
    x = torch.randn(40, 3, dtype=torch.float64)
    polynomial = slaf.expand(net.eval())
    torch.testing.assert_close(polynomial(x), net(x), rtol=1e-10, atol=1e-10)
    assert polynomial.degree == 4


def test_first_layer_that_is_not_polynomial_is_named():
    act = slaf.make("slaf", num_channels=2)
    for bad, name in ((nn.ReLU(), "ReLU"), (slaf.make("gelu"), "gelu"), (slaf.make("slaf(squash=tanh)", num_channels=2), "squash=tanh")):
        net = nn.Sequential(nn.Linear(2, 2), act, bad, nn.Linear(2, 1), nn.Sigmoid()).eval()
        with pytest.raises(SlafError, match=rf"layer '2'.*{name}"):
            slaf.expand(net)


def test_functional_calls_are_named():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return torch.relu(self.fc(x))

    with pytest.raises(SlafError, match="call of relu"):
        slaf.expand(Net().eval())


def test_explosion_is_refused_with_its_size():
    layers = [nn.Linear(100, 8), slaf.make("slaf(degree=2)", num_channels=8), nn.Linear(8, 8), slaf.make("slaf(degree=2)", num_channels=8)]
    with pytest.raises(SlafError, match=r"4598126 monomials .*degree 4 in 100 inputs"):
        slaf.expand(nn.Sequential(*layers).eval())


def test_training_mode_is_refused():
    with pytest.raises(SlafError, match="evaluation mode"):
        slaf.expand(nn.Linear(2, 1))


def test_missing_inputs():
    act = slaf.make("slaf(degree=2, input=identity, share=layer)").eval()
    with pytest.raises(SlafError, match="in_features"):
        slaf.expand(act)
    assert slaf.expand(act, in_features=2).degree == 2
