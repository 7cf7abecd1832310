"""Fits of one activation to another: against dense references, on inputs that were not seen."""

import numpy as np
import pytest
import torch
from torch import nn

import slaf
from slaf.core import SlafError
from slaf.fit import Measured
from slaf.surgery.fitting.fit_to import fit_to
from slaf.surgery.fitting.grid import grid_with_knots_at
from slaf.surgery.fitting.region import region_of
from slaf.surgery.sketch import Sketch

DENSITIES = ("narrow", "wide", "heavy", "shifted", "bimodal")
F = nn.functional


def drawn(density, seed, count=40_000):
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=count)
    x = {
        "narrow": lambda: normal,
        "wide": lambda: 3 * normal,
        "heavy": lambda: rng.standard_t(3, size=count),
        "shifted": lambda: 2 + normal,
        "bimodal": lambda: np.where(rng.random(count) < 0.5, -2.0, 2.0) + 0.4 * normal,
    }[density]()
    return torch.from_numpy(x)


def sketch(x):
    out = Sketch()
    out.update(x)
    return out


def held_out_error(fitted, target, density):
    """Root mean square of new - old on fresh inputs, relative to the standard deviation of old."""
    x = drawn(density, seed=99).float()
    with torch.no_grad():
        y, new = target(x).double(), fitted.module.eval()(x).double()
    return float((new - y).square().mean().sqrt() / y.std())


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize(("target", "most"), [(F.gelu, 3e-3), (F.silu, 5e-3), (torch.tanh, 3e-3), (F.relu, 1.5e-2)])
def test_a_rational_computes_the_same_on_inputs_that_were_not_seen(target, most, density):
    fitted = fit_to("rational(5, 4)", target, sketch(drawn(density, seed=0)), kinks=(0.0,) if target is F.relu else ())
    error = held_out_error(fitted, target, density)
    assert error < most
    assert fitted.weighted_error == pytest.approx(error, rel=0.35)
    far = fitted.module(torch.tensor([-1e6, 1e6]))
    slopes = torch.tensor([0.0, 0.0 if target is torch.tanh else 1.0])
    torch.testing.assert_close(far, slopes * torch.tensor([-1e6, 1e6]), rtol=1e-5, atol=2)


def test_heavy_tails_are_left_to_straight_lines():
    x = drawn("heavy", seed=0)
    assert float(x.abs().max() / x.std()) > 8
    fitted = fit_to("rational(5, 4)", F.gelu, sketch(x))
    assert fitted.high < 0.3 * float(x.abs().max())
    tail = torch.linspace(fitted.high, 2 * float(x.abs().max()), 101)
    assert float((fitted.module(tail) - tail).abs().max().detach()) < 0.02


def test_the_rational_is_the_best_of_its_form_on_these_inputs():
    """Against a general optimiser from many starts, on the same points."""
    optimize = pytest.importorskip("scipy.optimize")
    region = region_of(F.silu, sketch(drawn("narrow", seed=0)))
    points = region.points()
    x, weight = points.x.numpy(), points.weight.numpy()
    y = F.silu(points.x).numpy()
    h = max(abs(region.low), abs(region.high))

    def residual(theta):
        a, b = theta[:4], np.abs(theta[4:])
        return np.sqrt(weight) * (np.polyval(a[::-1], x / h) / (1 + b[0] * (x / h) ** 2) - y)

    rng = np.random.default_rng(0)
    best = min(optimize.least_squares(residual, rng.normal(size=5) * s, x_scale="jac").cost for s in (0.3, 1, 3, 10))
    module = fit_to("rational(3, 2, denominator=even)", F.silu, sketch(drawn("narrow", seed=0)), outside="extrapolate").module
    with torch.no_grad():
        found = module.double()(points.x).numpy()
    assert 0.5 * np.sum(weight * (found - y) ** 2) <= best * 1.001


def test_the_polynomial_is_the_weighted_least_squares_one():
    sample = sketch(drawn("bimodal", seed=0))
    region = region_of(F.gelu, sample)
    points = region.points()
    x = points.x.numpy()
    t = (2 * x - region.low - region.high) / (region.high - region.low)
    reference = np.polynomial.chebyshev.chebfit(t, F.gelu(points.x).numpy(), 9, w=np.sqrt(points.weight.numpy()))
    fitted = fit_to("slaf(degree=9)", F.gelu, sample, num_channels=3, outside="extrapolate")
    assert fitted.module.interval == (region.low, region.high)
    with torch.no_grad():
        y = fitted.module(points.x.float()[:, None].expand(-1, 3)).double().numpy()
    np.testing.assert_allclose(y, np.polynomial.chebyshev.chebval(t, reference)[:, None].repeat(3, 1), atol=3e-5)


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize(
    ("spec", "most"), [("slaf(degree=9)", 0.06), ("slaf(degree=9, input=affine)", 0.06), ("slaf(basis=bspline)", 0.01)]
)
def test_a_slaf_computes_nearly_the_same_and_is_finite_everywhere(spec, most, density):
    fitted = fit_to(spec, F.gelu, sketch(drawn(density, seed=0)), num_channels=4)
    x = drawn(density, seed=99).float().reshape(-1, 4)
    y = F.gelu(x)
    with torch.no_grad():
        error = (fitted.module.eval()(x) - y).square().mean().sqrt() / y.std()
        assert float(error) < most
        far = torch.tensor([-1e8, -1e3, 1e3, 1e8])[:, None].expand(-1, 4)
        assert bool(((fitted.module(far) - far.clamp(min=0)).abs() <= 1 + 1e-6 * far.abs()).all())


def test_a_slaf_over_an_interval_computes_the_same_in_training():
    fitted = fit_to("slaf(degree=9)", F.gelu, sketch(drawn("narrow", seed=0)), num_channels=4)
    x = 3 * torch.randn(64, 4)
    before = fitted.module.eval()(x)
    torch.testing.assert_close(fitted.module.train()(x), before, rtol=0, atol=0)


def test_statistics_that_follow_the_channels_start_warm():
    fitted = fit_to("slaf(degree=5, input=affine)", F.gelu, sketch(drawn("shifted", seed=0)), num_channels=2)
    statistics = fitted.module.inner.input_statistics
    torch.testing.assert_close(statistics.mean, torch.full((2,), 2.0), atol=0.05, rtol=0)
    before = statistics.mean.clone()
    fitted.module.train()(torch.randn(512, 2))
    assert float((statistics.mean - before).abs().max()) < 0.05  # 1 % of the way to 0, not all of it


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("knots", [3, 16, 32, 33])
def test_piecewise_linear_is_relu_exactly(density, knots):
    fitted = fit_to(f"piecewise_linear(knots={knots})", "relu", sketch(drawn(density, seed=0)))
    assert held_out_error(fitted, F.relu, density) < 1e-6
    x = torch.linspace(-1e3, 1e3, 2001)
    torch.testing.assert_close(fitted.module(x), F.relu(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("target", "kinks"), [("relu6", (0.0, 6.0)), ("hardtanh", (-1.0, 1.0)), ("leaky_relu(negative_slope=0.3)", (0.0,))]
)
def test_piecewise_linear_meets_other_piecewise_linear_functions(target, kinks):
    old = slaf.make(target)
    fitted = fit_to("piecewise_linear(knots=64)", lambda x: old(x), sketch(drawn("wide", seed=0)), kinks=kinks)
    assert held_out_error(fitted, old, "wide") < 1e-5


@pytest.mark.parametrize("spec", ["spline(knots=16)", "spline(knots=16, degree=2)", "piecewise_linear(knots=32)"])
def test_splines_go_on_with_the_target_s_slopes(spec):
    fitted = fit_to(spec, F.silu, sketch(drawn("narrow", seed=0)))
    assert held_out_error(fitted, F.silu, "narrow") < 5e-3
    assert not isinstance(fitted.module, type(slaf.make("extended")))
    far = torch.tensor([-500.0, 500.0])
    assert float((fitted.module(far) - F.silu(far)).abs().max().detach()) < 0.3


def test_a_grid_has_knots_at_the_kinks_and_covers_the_interval():
    for kinks, low, high, knots in (
        ((0.0,), -3.3, 9.1, 12),
        ((-3.0, 3.0), -8.0, 5.0, 40),
        ((0.0, 1.0, 3.0), -2.0, 7.0, 32),
        ((0.7,), 0.6, 9, 3),
    ):
        a, b = grid_with_knots_at(kinks, low, high, knots)
        grid = np.linspace(a, b, knots)
        assert a <= low + 1e-9
        assert b >= high - 1e-9
        assert max(np.abs(grid - k).min() for k in kinks) < 1e-9
    assert grid_with_knots_at((5.0,), -1.0, 1.0, 8) == (-1.0, 1.0)


def test_few_parameters_are_fitted_whatever_they_mean():
    sample = sketch(drawn("wide", seed=0))
    assert fit_to("swish", F.silu, sample).module.beta.item() == pytest.approx(1, abs=1e-6)
    assert fit_to("prelu", lambda x: F.leaky_relu(x, 0.37), sample).module.weight.item() == pytest.approx(0.37, abs=1e-6)
    start, snake = slaf.make("snake"), slaf.make("snake(alpha=1.7)")
    fitted = fit_to("snake", snake, sketch(drawn("narrow", seed=0)))
    assert fitted.weighted_error < 1e-5
    assert repr(fitted.module) == repr(start)
    mixed = fit_to("mixture(identity, relu, tanh)", lambda x: 0.5 * x - 0.25 * torch.tanh(x), sample)
    assert held_out_error(mixed, lambda x: 0.5 * x - 0.25 * torch.tanh(x), "wide") < 1e-6
    assert fit_to("apl", F.gelu, sample).weighted_error < 0.02


def test_fixed_entries_report_their_errors():
    x = drawn("narrow", seed=0)
    fitted = fit_to("hardswish", F.silu, sketch(x))
    dense = torch.linspace(float(x.min()), float(x.max()), 20001, dtype=torch.float64)
    assert fitted.spec == "hardswish"
    assert fitted.max_error == pytest.approx(float((F.hardswish(dense) - F.silu(dense)).abs().max()), rel=1e-3)
    wanted = float((F.hardswish(x) - F.silu(x)).square().mean().sqrt() / F.silu(x).std())
    assert fitted.weighted_error == pytest.approx(wanted, rel=0.02)
    constant = sketch(torch.full((9,), 2.0))
    assert fit_to("relu", F.relu, constant).max_error == 0


def test_the_string_makes_the_same_with_the_state():
    sample = sketch(drawn("narrow", seed=0))
    for spec in (
        "rational(5, 4)",
        "slaf(degree=9)",
        "piecewise_linear",
        "gp",
        "apl",
        "rational(share=group, groups=2)",
        "mixture(relu, slaf)",
    ):
        fitted = fit_to(spec, F.gelu, sample, num_channels=4, channel_dim=-1)
        again = slaf.make(fitted.spec)
        again.load_state_dict(fitted.module.state_dict())
        x = torch.randn(3, 5, 4)
        torch.testing.assert_close(again.eval()(x), fitted.module.eval()(x), rtol=0, atol=0)


def test_sizes_are_those_that_make_would_give():
    sample = sketch(drawn("narrow", seed=0))
    assert fit_to("rational", F.gelu, sample, num_channels=6, channel_dim=-1).module.inner.numerator.shape == (6, 6)
    assert fit_to("rational(share=layer)", F.gelu, sample, num_channels=6).module.inner.numerator.shape == (1, 6)
    assert fit_to("rational(share=unit)", F.gelu, sample, num_channels=6, num_features=(6, 2)).module.inner.numerator.shape == (12, 6)
    assert fit_to("rational", F.gelu, sample, num_channels=6, num_features=(6, 2)).module.inner.numerator.shape == (6, 6)
    assert fit_to("gelu", F.relu, sample, num_channels=6).spec == "gelu"


def test_what_the_string_says_stays():
    sample = sketch(drawn("wide", seed=0))
    given = fit_to("rational(5, 4, denominator=joint, interval=(-2.0, 2.0))", F.gelu, sample)
    assert given.module.inner.form == "joint"
    assert (given.low, given.high) == given.module.domain == (-2.0, 2.0)
    named = fit_to("rational(init=tanh)", F.gelu, sample)
    torch.testing.assert_close(named.module(torch.ones(1)), slaf.make("rational(init=tanh)")(torch.ones(1)))
    assert fit_to("spline(low=-1.0, high=1.0)", F.gelu, sample).module.domain == (-1.0, 1.0)
    inner = fit_to("extended(rational, low=-3.0, high=4.0, right_slope=0.5)", F.gelu, sample)
    assert (inner.low, inner.high, inner.module.right_slope, inner.module.left_slope) == (-3.0, 4.0, 0.5, 0.0)


@pytest.mark.parametrize("spec", ["rational(5, 4)", "slaf(degree=7)", "spline", "gp"])
def test_outside_is_linear_clamped_or_left_to_the_family(spec):
    sample = sketch(drawn("narrow", seed=0))
    far = torch.tensor([300.0])
    clamped = fit_to(spec, F.gelu, sample, outside="clamp")
    torch.testing.assert_close(clamped.module(far), clamped.module(torch.tensor([clamped.high])))
    bare = fit_to(spec, F.gelu, sample, outside="extrapolate")
    assert repr(bare.module).startswith(spec.partition("(")[0])
    assert (bare.outside, clamped.outside) == ("extrapolate", "clamp")


def test_the_old_function_is_not_changed_and_may_be_in_place():
    old = nn.Sequential(nn.ReLU(inplace=True), nn.LeakyReLU(0.1, inplace=True)).train()
    fitted = fit_to("piecewise_linear", old, sketch(drawn("narrow", seed=0)), kinks=(0.0,))
    assert fitted.weighted_error < 1e-6
    assert old.training
    assert old[0].inplace
    weight = torch.tensor([0.2])
    assert fit_to("prelu", lambda x: F.prelu(x, weight), sketch(drawn("narrow", seed=0))).weighted_error < 1e-6
    inplace = fit_to("piecewise_linear", lambda x: x.relu_(), sketch(drawn("narrow", seed=0)), kinks=(0.0,))
    assert inplace.weighted_error < 1e-6


class Given:
    """Inputs of which only this is known."""

    def __init__(self, points, weights):
        self.min, self.max, self._weights, self._points = float(min(points)), float(max(points)), weights, points

    def density(self):
        return Measured(torch.tensor(self._points), torch.tensor(self._weights))


@pytest.mark.parametrize(
    ("spec", "target", "words"),
    [
        ("relo", F.relu, "did you mean 'relu'"),
        ("rational(denominatr=even)", F.relu, "did you mean 'denominator'"),
        ("rational", lambda x: torch.softmax(x, 0), "not elementwise"),
        ("rational", lambda x: x.sum(), "elementwise"),
        ("rational", torch.log, "not finite"),
        ("rational", nn.PReLU(3), "every element"),
        ("polynorm", F.relu, "mixes elements"),
    ],
)
def test_refuses_in_words(spec, target, words):
    with pytest.raises(SlafError, match=words):
        fit_to(spec, target, sketch(drawn("narrow", seed=0)))


def test_refuses_inputs_that_say_nothing():
    with pytest.raises(SlafError, match="inputs are all 2"):
        fit_to("rational", F.relu, sketch(torch.full((9,), 2.0)))
    with pytest.raises(SlafError, match="finite"):
        fit_to("rational", F.relu, Given([0.0, float("nan")], [0.5, 0.5]))
    with pytest.raises(SlafError, match="outside must be one of"):
        fit_to("rational", F.relu, sketch(torch.randn(9)), outside="straight")


@pytest.mark.parametrize("center", [0.0, 1e-3, 30.0, -200.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_any_place_and_scale_of_the_inputs_is_met(center, scale):
    sample = sketch(center + scale * drawn("narrow", seed=0))
    for spec in ("rational(5, 4)", "spline(knots=32)", "slaf(degree=9)"):
        fitted = fit_to(spec, F.gelu, sample)
        assert np.isfinite(fitted.max_error)
        assert fitted.weighted_error < 0.06, spec
