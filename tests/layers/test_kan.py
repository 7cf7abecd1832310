"""Kolmogorov–Arnold layers against dense float64 references that know nothing of slaf's bases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from slaf import SlafError
from slaf.layers import KANConv1d, KANConv2d, KANConv3d, KANLinear

BASES = ["bspline", "bspline(degree=1)", "bspline(degree=2)", "piecewise_linear", "relu_kan", "chebyshev", "power", "legendre", "hermite"]
BASES += ["rbf", "gp", "fourier", "wavelet", "mixture(relu, sine, tanh)"]
LAYERS = [(KANConv1d, (4, 9)), (KANConv2d, (4, 6, 7)), (KANConv3d, (4, 5, 4, 3))]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def _scipy_terms(x: np.ndarray, grid: int, degree: int, low: float, high: float) -> np.ndarray:
    """All B-splines but the middle one on [low, high], straight lines beyond: (*x.shape, grid + degree - 1)."""
    step = (high - low) / grid
    knots = low + step * np.arange(-degree, grid + degree + 1)
    inside = np.clip(x, low, np.nextafter(high, low))
    out = []
    for k in range(grid + degree):
        one = BSpline(knots, np.eye(grid + degree)[k], degree)
        out.append(one(inside) + one(inside, 1) * (x - inside))
    return np.delete(np.stack(out, -1), (grid + degree) // 2, -1)


@pytest.mark.parametrize(("grid", "degree"), [(5, 3), (8, 2), (64, 3), (3, 1), (4, 5)])
def test_a_spline_layer_is_de_boors_splines_plus_silu_and_straight_beyond_the_grid(grid: int, degree: int) -> None:
    layer = KANLinear(6, 5, f"bspline(degree={degree})", grid=grid, interval=(-1.5, 2.0), dtype=torch.float64)
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
    x = torch.linspace(-4, 5, 50 * 6, dtype=torch.float64).reshape(50, 6)
    terms = _scipy_terms(x.numpy(), grid, degree, -1.5, 2.0)
    weight = layer.weight.detach().numpy()
    wanted = np.einsum("nik,kio->no", terms, weight[:-1]) + _silu(x.numpy()) @ weight[-1] + layer.bias.detach().numpy()
    assert np.allclose(layer(x).detach(), wanted, rtol=1e-10, atol=1e-10)
    assert torch.allclose(layer.float()(x.float()).double(), torch.from_numpy(wanted), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("basis", BASES)
def test_a_layer_is_the_sum_of_its_edges_which_are_linear_in_the_terms(basis: str) -> None:
    layer = KANLinear(3, 4, basis, interval=(-2, 2), base="tanh", dtype=torch.float64)
    x = torch.randn(7, 3, dtype=torch.float64)
    total = torch.zeros(7, 4, dtype=torch.float64) + layer.bias
    for i in range(3):
        u = (x[:, i] / 2 * layer.basis.half_width).clamp(-layer.basis.half_width, layer.basis.half_width)
        inside = x[:, i].abs() <= 2
        terms = layer.basis.evaluate(x[:, i] / 2 * layer.basis.half_width if "mixture" in basis else u, layer.num_terms)
        edge = terms @ layer.coefficients[:, i] + torch.tanh(x[:, i, None]) @ layer.base_weight[None, i]
        own = layer.edges(x)[:, i]
        assert torch.allclose(own[inside], edge[inside], rtol=1e-9, atol=1e-9)
        total = total + own
    assert torch.allclose(layer(x), total, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("basis", [b for b in BASES if "mixture" not in b])
def test_beyond_the_interval_every_edge_is_a_line_and_not_zero(basis: str) -> None:
    layer = KANLinear(2, 3, basis, base=None, dtype=torch.float64)
    for side in (-1.0, 1.0):
        x = side * torch.tensor([1.0, 2.0, 3.0, 50.0], dtype=torch.float64)[:, None].expand(4, 2)
        y = layer.edges(x)
        assert torch.allclose(y[2] - y[1], y[1] - y[0], atol=1e-8)
        assert torch.allclose(y[3] - y[2], 47 * (y[1] - y[0]), rtol=1e-6, atol=1e-6)
        # C^1 at the end, kinks of degree 1 aside
        near, far = (layer.edges(side * torch.full((1, 2), 1 + e, dtype=torch.float64)) for e in (-1e-6, 1e-6))
        assert float((far - near).detach().abs().max()) < 1e-3
    assert float(layer.edges(torch.full((1, 2), 1e3, dtype=torch.float64)).detach().abs().min()) > 1e-3


@pytest.mark.parametrize("basis", BASES)
def test_only_the_input_is_kept_for_backward(basis: str) -> None:
    layer, x = KANLinear(3, 4, basis), torch.randn(9, 3).requires_grad_()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(x)
    own = {x.data_ptr(), *(p.data_ptr() for p in layer.parameters())}
    assert {t.data_ptr() for t in kept} <= own


def test_any_number_of_leading_dimensions() -> None:
    layer = KANLinear(3, 4)
    x = torch.randn(2, 5, 3)
    assert torch.allclose(layer(x)[1, 2], layer(x[1, 2]), atol=1e-6)


def test_the_state_of_a_moved_grid_is_lossless() -> None:
    layer = KANLinear(3, 4, grid=8, track_range=True)
    x = 3 * torch.randn(50, 3)
    layer(x)
    layer.refit()
    other = KANLinear(3, 4, grid=8, track_range=True)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))


# -- starts -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("base", ["silu", None])
def test_the_start_preserves_the_variance_of_inputs_on_the_interval(basis: str, base: str | None) -> None:
    x = 3 * torch.rand(500, 200) - 1
    layer = KANLinear(200, 300, basis, interval=(-1, 2), base=base)
    ratio = float(layer(x).detach().square().mean() / x.var())
    assert ratio == pytest.approx(1, abs=0.2)


def test_the_papers_starts() -> None:
    layer = KANLinear(200, 100, init="kan")
    assert float(layer.coefficients.detach().std()) == pytest.approx(0.1, rel=0.02)
    assert float(layer.base_weight.detach().abs().max()) == pytest.approx(math.sqrt(6 / 300), rel=0.01)
    assert float(KANLinear(200, 100, "chebyshev", degree=4, init="chebykan").coefficients.detach().std()) == pytest.approx(1e-3, rel=0.02)
    assert float(KANLinear(200, 100, "rbf", init="fast_kan").coefficients.detach().abs().max()) <= 2  # cut at +-2
    assert float(KANLinear(20, 10, init="zero").coefficients.detach().abs().max()) == 0


# -- the grid -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("basis", "old", "new"), [("bspline", {"grid": 5}, {"grid": 20}), ("chebyshev", {"degree": 4}, {"degree": 9})])
def test_refining_into_a_larger_space_keeps_the_function(basis: str, old: dict[str, int], new: dict[str, int]) -> None:
    layer = KANLinear(4, 3, basis, **old)
    x = 2 * torch.randn(100, 4)
    before = layer(x)
    found = layer.refine(**new)
    assert layer.grid == new.get("grid")
    assert found.error < 1e-9 * found.scale
    assert torch.allclose(layer(x), before, atol=2e-5)


def test_refitting_moves_the_grid_to_the_data_and_reports_what_it_cost() -> None:
    layer = KANLinear(4, 3, grid=20, interval=(-1, 1), init="zero")
    x = torch.rand(400, 4) * torch.tensor([0.5, 1.0, 1.5, 2.0]) + torch.tensor([-0.25, -0.5, 0.0, 1.0])
    with torch.no_grad():
        for i in range(4):
            layer.coefficients[:, i] = torch.sin(torch.linspace(-2, 2, layer.num_terms))[:, None]
    before = layer.edges(x)
    assert 0.2 < float(layer.outside(x)) < 0.8
    found = layer.refit(x)
    assert float(layer.outside(x)) == 0
    assert torch.allclose(layer.low, x.amin(0), atol=1e-6)
    assert torch.allclose(layer.high, x.amax(0), atol=1e-6)
    centred = (layer.edges(x) - before).detach()
    centred = centred - centred.mean(0)  # constants go to the bias
    assert float(centred.abs().max()) <= 2 * found.error + 1e-5
    assert found.error < 0.05 * found.scale


def test_a_refit_of_an_unchanged_range_changes_nothing_and_a_constant_input_keeps_a_length() -> None:
    layer = KANLinear(2, 3)
    x = torch.tensor([[-1.0, 0.5], [1.0, 0.5]])
    before = layer(x)
    layer.refit(x)
    assert torch.allclose(layer(x), before, atol=1e-3)
    assert float(layer.high[1] - layer.low[1]) == pytest.approx(2)


def test_tracked_ranges_are_those_seen_in_training() -> None:
    layer = KANConv2d(2, 3, 3, track_range=True)
    layer(torch.full((1, 2, 4, 4), 2.0))
    layer.eval()(torch.full((1, 2, 4, 4), 9.0))
    layer.train()(torch.full((1, 2, 4, 4), -3.0))
    layer.refit(margin=0.1)
    assert torch.allclose(layer.high, torch.tensor(2.5))
    assert torch.allclose(layer.low, torch.tensor(-3.5))


# -- penalties ----------------------------------------------------------------------------------------------------------------------


def test_penalties_are_sums_over_edges() -> None:
    layer, x = KANLinear(3, 4), torch.randn(50, 3)
    sizes = layer.edge_sizes(x)
    assert torch.allclose(sizes, layer.edges(x).abs().mean(0), atol=1e-6)
    p = (sizes / sizes.sum()).double()
    wanted = 2 * sizes.sum() - (p * p.log()).sum()
    assert float(layer.regularization(x, l1=2.0).detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    layer.regularization(smoothness=1.0).backward()
    assert bool(torch.isfinite(layer.weight.grad).all())


def test_smoothness_is_the_mean_square_of_the_second_derivative() -> None:
    layer = KANLinear(1, 1, "power", degree=2, base=None, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 3.0]).reshape(2, 1, 1))
    # 3u^2 + u, u = 2t - 1: the second derivative in t is 24
    assert float(layer.regularization(l1=0, entropy_=0, smoothness=1.0).detach()) == pytest.approx(24**2, rel=1e-6)


# -- convolutions -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_is_a_dense_layer_on_unfolded_patches(groups: int, mode: str) -> None:
    kind = {"stride": 2, "padding": (1, 2), "dilation": (2, 1), "groups": groups, "padding_mode": mode}
    conv = KANConv2d(4, 6, (3, 2), **kind, dtype=torch.float64)
    x = torch.randn(2, 4, 8, 9, dtype=torch.float64)
    padded = torch.nn.functional.pad(x, (2, 2, 1, 1), mode="constant" if mode == "zeros" else mode)
    y = conv(x)
    wanted = torch.empty_like(y)
    for group in range(groups):
        channels = padded[:, group * 4 // groups : (group + 1) * 4 // groups]
        patches = torch.nn.functional.unfold(channels, (3, 2), dilation=(2, 1), stride=2).mT  # (n, places, channels * 6)
        dense = KANLinear(patches.shape[-1], 6 // groups, dtype=torch.float64)
        own = slice(group * 6 // groups, (group + 1) * 6 // groups)
        with torch.no_grad():
            dense.weight.copy_(conv.weight[own].flatten(2).permute(1, 2, 0))
            dense.bias.copy_(conv.bias[own])
        wanted[:, own] = dense(patches).mT.reshape(2, -1, *y.shape[2:])
    assert torch.allclose(y, wanted, atol=1e-10)


@pytest.mark.parametrize(("kind", "shape"), LAYERS)
def test_convolutions_of_every_dimension(kind: type[KANConv2d], shape: tuple[int, ...]) -> None:
    conv = kind(4, 6, 3, padding="same", groups=2, basis="rbf", terms=5, base=None)
    x = 2 * torch.rand(2, *shape) - 1
    assert conv(x).shape == (2, 6, *shape[1:])
    assert torch.allclose(conv(x[0]), conv(x)[0], atol=1e-5)
    before = conv(x)
    found = conv.refine(terms=9)
    assert float((conv(x) - before).detach().abs().max()) < found.error * 2 * 27 + 1e-5
    edges = conv.to_edges(conv.weight)
    assert torch.equal(conv.from_edges(edges), conv.weight)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: KANLinear(0, 3), "in_features must be a positive integer; got 0"),
        (lambda: KANLinear(2, 3, grid=0), "grid, the number of intervals"),
        (lambda: KANLinear(2, 3, degree=4), "degree=4 is not for basis bspline, which takes grid"),
        (lambda: KANLinear(2, 3, "chebyshev", grid=4), "which takes degree"),
        (lambda: KANLinear(2, 3, interval=(1, 1)), "interval must be two finite numbers"),
        (lambda: KANLinear(2, 3, init="he"), "init must be one of"),
        (lambda: KANLinear(2, 3, basis=("relu", "prelu")), "without parameters; prelu is not"),
        (lambda: KANLinear(2, 3)(torch.zeros(4, 5)), r"input of \(…, 2\); got shape \(4, 5\)"),
        (lambda: KANLinear(2, 3).refit(), "refit needs x"),
        (lambda: KANLinear(2, 3).refit(torch.full((2, 2), math.nan)), "finite"),
        (lambda: KANLinear(2, 3).refine(), "refine needs the new size"),
        (lambda: KANConv2d(3, 4, 3, groups=2), "groups must divide"),
        (lambda: KANConv2d(3, 4, 3, padding="same", stride=2), "needs stride=1"),
        (lambda: KANConv2d(3, 4, 3)(torch.zeros(3)), "takes an input of"),
    ],
)
def test_bad_arguments_are_refused_in_words(make: object, words: str) -> None:
    with pytest.raises(SlafError, match=words):
        make()
