"""SelectableKAN: a pool of bases, of which training selects."""

import copy

import pytest
import torch
from torch import nn

import slaf
from slaf.layers import KANConv2d, KANLinear, SelectableKAN

PAIR = {"chebyshev": {"degree": 3}, "mixture(relu)": {}}


def test_a_sum_of_its_members():
    layer = SelectableKAN(KANLinear, 4, 3, dtype=torch.float64)
    layer.selector.data.normal_()
    x = torch.randn(6, 4, dtype=torch.float64)
    w = layer.selector.exp() / layer.selector.exp().sum()
    torch.testing.assert_close(layer(x), sum(w[i] * m(x) for i, m in enumerate(layer.members)))
    assert sum(layer.selection.values()) == pytest.approx(1)


def test_one_hot_is_that_member_and_so_is_what_is_kept():
    layer = SelectableKAN(KANLinear, 4, 3)
    x = torch.randn(6, 4)
    with torch.no_grad():
        layer.selector.copy_(torch.tensor([-torch.inf, 0.0, -torch.inf, -torch.inf]))
    masked, member = layer(x), layer.members[1]
    kept = copy.deepcopy(layer).keep()
    assert torch.equal(masked, member(x))
    assert torch.equal(kept(x), masked)
    assert kept.names == ["rbf"]
    assert sum(p.numel() for p in kept.parameters()) == sum(p.numel() for p in member.parameters())


def test_keep_by_threshold():
    layer = SelectableKAN(KANLinear, 2, 2)
    layer.selector.data = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    assert layer.keep(4, threshold=0.1).names == ["bspline", "rbf", "chebyshev"]
    assert layer.keep(2).names == ["bspline", "rbf"]
    assert layer.keep(2, threshold=1.0).names == ["bspline"]


@pytest.mark.parametrize(("target", "best"), [(lambda t: 4 * t**3 - 3 * t, "chebyshev"), (lambda t: t.clamp(min=0), "mixture(relu)")])
def test_training_selects_the_basis_that_the_target_is_in(target, best):
    torch.manual_seed(0)
    layer = SelectableKAN(KANLinear, 1, 1, pool=PAIR, base=None)
    t = torch.linspace(-1, 1, 200)[:, None]
    optimizer = torch.optim.Adam(layer.parameters(), 2e-2)
    for _ in range(300):
        loss = (layer(t) - target(t)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert max(layer.selection, key=layer.selection.get) == best
    assert layer.keep().names == [best]


@pytest.mark.parametrize(("size", "kernel", "stride", "padding", "out"), [(28, 5, 1, 0, 24), (28, 3, 2, 1, 14)])
def test_convolutions(size, kernel, stride, padding, out):
    layer = SelectableKAN(KANConv2d, 2, 3, kernel, stride=stride, padding=padding, pool=PAIR)
    assert layer(torch.randn(1, 2, size, size)).shape == (1, 3, out, out)


def test_a_linear_basis_is_a_convolution():
    layer = SelectableKAN(KANConv2d, 2, 3, 3, pool={"mixture(identity)": {}}, base=None)
    (member,) = layer.members
    x = torch.rand(2, 2, 5, 6) - 0.5  # inside the interval, beyond which every term is a line of its own
    torch.testing.assert_close(layer(x), nn.functional.conv2d(x, member.weight[:, 0], member.bias))


def test_arguments_that_are_refused():
    for wrong in ({}, "bspline", ["bspline"]):
        with pytest.raises(slaf.SlafError, match="pool must have"):
            SelectableKAN(KANLinear, 2, 2, pool=wrong)
    with pytest.raises(slaf.SlafError, match="layer must be a class"):
        SelectableKAN(nn.Linear, 2, 2)
    layer = SelectableKAN(KANLinear, 2, 2)
    with pytest.raises(slaf.SlafError, match="best must be"):
        layer.keep(0)
    with pytest.raises(slaf.SlafError, match="threshold must be"):
        layer.keep(threshold=2)
