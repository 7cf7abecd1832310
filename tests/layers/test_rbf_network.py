"""RBFNetwork against its formula term by term in float64, and what a unit gives near its centre."""

import math

import pytest
import torch
from torch.nn import functional as F

import slaf
from slaf.core import SlafError
from slaf.layers import RBFNetwork
from slaf.layers.rbf_network import RADIAL_FUNCTIONS

WRITTEN = {
    "gaussian": lambda r: math.exp(-r * r / 2),
    "multiquadric": lambda r: math.hypot(r, 1),
    "inverse_multiquadric": lambda r: 1 / math.hypot(r, 1),
    "cubic": lambda r: r**3,
    "thin_plate": lambda r: r * r * math.log(r) if r else 0.0,
    "wendland": lambda r: max(1 - r, 0) ** 9 * (9 * r + 1),
}


def spread(dtype=torch.float64, **arguments):
    layer = RBFNetwork(5, 7, 2, dtype=dtype, **arguments)
    with torch.no_grad():
        layer.center.normal_()
        layer.log_precision.normal_(std=0.5)
    return layer


def one_unit(log_precision=0.0, center=0.3):
    layer = RBFNetwork(1, 1, 1, dtype=torch.float64)
    with torch.no_grad():
        layer.center.fill_(center)
        layer.log_precision.fill_(log_precision)
    return layer


@pytest.mark.parametrize("far", [0.0, 30.0])
def test_the_products_give_the_sum_of_squares(far):
    torch.manual_seed(0)
    layer = spread(torch.float32)
    with torch.no_grad():
        layer.center += far
    x = torch.randn(200, 5) + far
    wide = layer.center.double(), layer.log_precision.double()
    direct = (wide[1].exp() * (x.double()[:, None] - wide[0]) ** 2).sum(-1)
    got = layer.squared_distances(x)
    assert got.min() >= 0
    torch.testing.assert_close(got.double(), direct.detach(), rtol=1e-5, atol=1e-5)


def test_at_its_center_a_unit_gives_one():
    layer = spread()
    torch.testing.assert_close(layer.hidden(layer.center).diagonal(), torch.ones(7, dtype=torch.float64), rtol=0, atol=1e-12)


def test_one_unit_is_a_bell():
    layer = one_unit()
    away = layer.hidden(layer.center.detach() + torch.tensor([[1.0], [-1.0], [2.0], [-2.0]], dtype=torch.float64))[:, 0]
    torch.testing.assert_close(away, torch.tensor([0.60653, 0.60653, 0.13534, 0.13534], dtype=torch.float64), rtol=0, atol=5e-6)
    narrow = one_unit(math.log(4))
    half = narrow.hidden(narrow.center.detach() + 0.5)
    assert half.item() == pytest.approx(0.60653, abs=5e-6)  # half as wide


def test_parameters_are_counted():
    assert sum(p.numel() for p in RBFNetwork(16, 64, 3).parameters()) == 2243
    assert sum(p.numel() for p in RBFNetwork(8, 32, 3).parameters()) == 611


def test_rotations_matter_where_precisions_differ():
    torch.manual_seed(0)
    layer, x = spread(), torch.randn(20, 5, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q

    def turned():
        before = layer.hidden(x)
        kept = layer.center.detach().clone()
        with torch.no_grad():
            layer.center.copy_(kept @ turn)
        after = layer.hidden(x @ turn)
        with torch.no_grad():
            layer.center.copy_(kept)
        return (before - after).abs().max().item()

    assert turned() > 1e-2
    with torch.no_grad():
        layer.log_precision.fill_(0.7)
    assert turned() < 1e-12


@pytest.mark.parametrize("kernel", RADIAL_FUNCTIONS)
def test_every_kernel_is_as_written_and_smooth_at_its_center(kernel):
    assert set(WRITTEN) == set(RADIAL_FUNCTIONS)
    layer = one_unit()
    layer.kernel = kernel
    r = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.5, 3.0], dtype=torch.float64)
    got = layer.hidden(layer.center.detach() + r[:, None])[:, 0].detach()
    wanted = torch.tensor([WRITTEN[kernel](float(v)) for v in r], dtype=torch.float64)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    x = layer.center.detach().clone().requires_grad_()
    (slope,) = torch.autograd.grad(layer.hidden(x).sum(), x, create_graph=True)
    assert slope.item() == pytest.approx(0, abs=1e-6)
    (second,) = torch.autograd.grad(slope.sum(), x)
    assert torch.isfinite(second).all()


@pytest.mark.parametrize("kernel", RADIAL_FUNCTIONS)
def test_gradients(kernel):
    torch.manual_seed(1)
    layer, x = spread(kernel=kernel), torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *_: layer(x), (x, *layer.parameters()))
    assert torch.autograd.gradgradcheck(lambda *_: layer(x), (x, *layer.parameters()))


def test_autocast_keeps_distances_in_float32():
    torch.manual_seed(0)
    layer, x = spread(torch.float32), torch.randn(50, 5)
    with torch.autocast("cpu", torch.bfloat16):
        inside, y = layer.hidden(x), layer(x)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, layer.hidden(x))
    assert y.dtype == torch.bfloat16


def test_placed_units_cover_the_data():
    torch.manual_seed(0)
    x = torch.tensor([100.0, -3.0]) + torch.tensor([5.0, 0.1]) * torch.randn(500, 2)
    y = torch.sin(x[:, :1]) + 10 * x[:, 1:]
    losses = {}
    for placed in (False, True):
        layer = RBFNetwork(2, 64, 1)
        if placed:
            assert layer.place(x) is layer
            assert torch.isin(layer.center, x).all()
            assert layer.hidden(x).amax(1).quantile(0.1) > 0.1  # hardly a sample is far from every unit
        optimizer = torch.optim.Adam(layer.parameters(), 1e-2)
        for _ in range(200):
            loss = F.mse_loss(layer(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[placed] = loss.item()
    assert losses[True] < 0.2 * losses[False]


def test_errors_say_what_is_allowed():
    with pytest.raises(SlafError, match="units must be a positive integer; got 0"):
        RBFNetwork(2, 0, 1)
    with pytest.raises(SlafError, match="kernel"):
        RBFNetwork(2, 3, 1, kernel="gausian")
    with pytest.raises(SlafError, match="at least 8 finite samples"):
        slaf.layers.RBFNetwork(2, 8, 1).place(torch.randn(7, 2))
