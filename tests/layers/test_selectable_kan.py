"""SelectableKAN: a pool of bases, of which training selects."""

import copy

import pytest
import torch
from torch import nn

import slaf
from slaf.layers import KANConv2d, KANLinear, SelectableKAN
from slaf.layers.kan.selectable import POOL

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
    t = torch.linspace(-1, 1, 100)[:, None]
    optimizer = torch.optim.Adam(layer.parameters(), 4e-2)
    for _ in range(150):
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


def test_the_best_basis_of_each_target_beats_any_one_for_all():
    """A smooth, a kinked and an oscillating target, as many steps of training for the selected as for every fixed basis."""
    torch.manual_seed(0)
    t = torch.linspace(-1, 1, 100)[:, None]
    y = torch.cat([t * (-2 * t * t).exp(), (t - 0.15).abs() - (t + 0.4).clamp(min=0), (10 * t + 1).sin()], 1)

    def trained(layer, wanted, steps):
        """The root mean square of what is missing, by target."""
        optimizer = torch.optim.Adam(layer.parameters(), 1e-1)
        for _ in range(steps):
            loss = (layer(t) - wanted).square().mean(0).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return (layer(t) - wanted).detach().square().mean(0).sqrt()

    fixed = [trained(KANLinear(1, 3, name, base=None, **options), y, 100).mean() for name, options in POOL.items()]
    selected = []
    for wanted in y.mT[..., None]:
        layer = SelectableKAN(KANLinear, 1, 1, base=None)
        trained(layer, wanted, 50)
        selected.append(trained(layer.keep(), wanted, 50))
    assert torch.cat(selected).mean() < 0.9 * min(fixed)


@pytest.mark.parametrize("best", [2, 1])
def test_a_state_brings_its_members(best):
    whole = SelectableKAN(KANLinear, 3, 2, dtype=torch.float64)
    whole.selector.data = torch.tensor([0.1, 0.3, 0.2, 0.4], dtype=torch.float64).log()
    x = torch.randn(5, 3, dtype=torch.float64)
    kept = copy.deepcopy(whole).keep(best)
    last = copy.deepcopy(kept).keep(1)
    for wanted in (kept, whole, last):
        for other in (SelectableKAN(KANLinear, 3, 2, dtype=torch.float64), *map(copy.deepcopy, (kept, whole, last))):
            other.load_state_dict(wanted.state_dict())
            assert torch.equal(other(x), wanted(x))
            assert other.names == wanted.names
            assert list(other.state_dict()) == list(wanted.state_dict())
            assert {p.dtype for p in other.parameters()} == {torch.float64}
    with pytest.raises(RuntimeError, match="kept is for a pool of 4 bases; this layer has 2: chebyshev, "):
        SelectableKAN(KANLinear, 3, 2, pool=PAIR).load_state_dict(last.state_dict())


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
