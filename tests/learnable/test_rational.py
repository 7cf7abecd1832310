"""Rational: values against mpmath, KAT's coefficients and sharing, sound bounds, large inputs, training."""

import math

import mpmath
import numpy as np
import pytest
import torch

import slaf
from slaf.learnable.rational import Rational
from slaf.learnable.rational_presets import PRESETS

FORMS = ("even", "per_term", "joint", "square")


def random_rational(form, seed=0, m=5, n=4, **options):
    act = Rational(m, n, form, **options).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in act.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return act


def reference(act, x, site=0):
    """P/Q by the definition, in 60 digits."""
    a = [mpmath.mpf(v) for v in act.numerator[site if len(act.numerator) > 1 else 0].tolist()]
    b = [mpmath.mpf(v) for v in act.denominator[site].tolist()]
    x = mpmath.mpf(x)
    q = {
        "even": lambda: 1 + sum(abs(c) * x ** (2 * k) for k, c in enumerate(b, 1)),
        "per_term": lambda: 1 + sum(abs(c) * abs(x) ** k for k, c in enumerate(b, 1)),
        "joint": lambda: 1 + abs(sum(c * x**k for k, c in enumerate(b, 1))),
        "square": lambda: 1 + sum(c * x**k for k, c in enumerate(b, 1)) ** 2,
    }[act.form]()
    return sum(c * x**k for k, c in enumerate(a)) / q


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("m", "n"), [(5, 4), (2, 6), (3, 4), (4, 4)])
def test_values_over_forty_decades(form, m, n):
    act = random_rational(form, m=m, n=n)
    x = [s * 10.0**e for e in range(-20, 21) for s in (-1, 1)] + [0.0]
    with mpmath.workdps(60):
        wanted = torch.tensor([float(reference(act, v)) for v in x], dtype=torch.float64)
    torch.testing.assert_close(act(torch.tensor(x, dtype=torch.float64)).detach(), wanted, rtol=1e-12, atol=1e-13)
    single, narrow = act.float(), torch.tensor(x, dtype=torch.float32)
    with mpmath.workdps(60):
        wanted = torch.tensor([float(reference(single, v)) for v in narrow.tolist()], dtype=torch.float64).float()
    got = single(narrow).detach()
    assert torch.isfinite(got[torch.isfinite(wanted)]).all()
    torch.testing.assert_close(got, wanted, rtol=3e-5, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_large_inputs_are_exact(form):
    """x is scaled inside in float32 from 1e6 on; the derivatives must not notice."""
    act = random_rational(form).float()
    x = torch.tensor([-3e6, -2.0, 0.7, 2e6, 1e9], requires_grad=True)
    first = act.derivative(x)
    wanted = act.double().derivative(x.detach().double())
    torch.testing.assert_close(first.detach().double(), wanted, rtol=2e-4, atol=1e-5)
    act = act.float()
    act(x).sum().backward()
    grads = [p.grad.clone() for p in act.parameters()]
    act.double().zero_grad()
    act(x.detach().double()).sum().backward()
    for got, parameter in zip(grads, act.parameters(), strict=True):
        torch.testing.assert_close(got.double(), parameter.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_do_not_overflow_where_the_value_fits(dtype):
    act = slaf.make("rational").to(dtype)
    x = torch.tensor([-6e4, -1e4, 1e4, 6e4], dtype=dtype, requires_grad=True)
    y = act(x)
    y.sum().backward()
    torch.testing.assert_close(y.double(), act.double()(x.detach().double()), rtol=1e-2, atol=0)
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("form", FORMS)
def test_the_denominator_is_at_least_one(form):
    x = torch.linspace(-50, 50, 20001, dtype=torch.float64)
    for seed in range(5):
        assert (random_rational(form, seed).denominator_at(x) >= 1).all()


# -- KAT -----------------------------------------------------------------------------------------------------------------------


def test_kat_identity_is_exact_and_its_denominator_learns():
    act = slaf.make("rational(preset=kat_identity)")
    x = torch.tensor([-1e5, -1e4, -2.5, 0.0, 1e-8, 3.0, 1e5], requires_grad=True)
    torch.testing.assert_close(act(x), x, rtol=0, atol=0)
    torch.testing.assert_close(act.derivative(x), torch.ones(7), rtol=0, atol=0)
    far = torch.tensor([-1e12, -1e9, 1e9, 1e12])
    torch.testing.assert_close(act(far), far)
    act.zero_grad()
    act(torch.tensor([1.0, 2.0])).sum().backward()
    torch.testing.assert_close(act.denominator.grad[0], -torch.tensor([1.0**k * 1 + 2.0**k * 2 for k in range(1, 5)]))


def test_kat_swish_values():
    act = slaf.make("rational(preset=kat_swish)").double()
    x = torch.arange(-3.0, 4.0, dtype=torch.float64)
    wanted = torch.tensor([-0.1423, -0.2384, -0.2689, 0.0, 0.7311, 1.7616, 2.8577], dtype=torch.float64)
    torch.testing.assert_close(act(x).detach(), wanted, rtol=0, atol=5e-5)
    assert act.second_moment() ** -1 == pytest.approx(2.8108, abs=1e-4)


@pytest.mark.parametrize(
    ("preset", "name", "error"),
    [("swish", "silu", 1.3e-6), ("tanh", "tanh", 4.2e-5), ("sigmoid", "sigmoid", 1.95e-5), ("relu", "relu", 0.0301),
     ("gelu", "gelu", 0.003), ("gelu_old", "gelu", 0.0042)],
)  # fmt: skip
def test_kat_presets_represent_their_function(preset, name, error):
    x = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    act = slaf.make(f"rational(preset=kat_{preset})", dtype=torch.float64)
    worst = (act(x) - slaf.make(name)(x)).abs().max().item()
    assert 0.5 * error < worst < error


def test_the_gelu_that_kat_ships_needs_the_joint_form():
    a = (-0.00153969, 0.51692871, 0.44075827, 0.0972553, -0.00884418, -0.00378675)
    b = (-0.14171056, -0.06481231, -0.0444695, 0.01283776)
    values = {}
    for form in ("per_term", "joint"):
        act = Rational(5, 4, form, dtype=torch.float64)
        with torch.no_grad():
            act.numerator.copy_(torch.tensor([a]))
            act.denominator.copy_(torch.tensor([b]))
        values[form] = act(torch.tensor([2.0, 3.0], dtype=torch.float64)).tolist()
    assert values["per_term"] == pytest.approx([1.574, 1.531], abs=1e-3)
    assert values["joint"] == pytest.approx([1.954, 2.996], abs=4e-3)


def test_relu_preset_gain():
    assert slaf.make("rational(preset=kat_relu)").double().second_moment() ** -1 == pytest.approx(2.0, abs=1e-3)


def test_kat_groups():
    act = slaf.make("rational(preset=kat_swish, share=group, groups=8, numerator_share=layer)", num_channels=64)
    assert (act.numerator.shape, act.denominator.shape) == ((1, 6), (8, 4))
    x = torch.randn(16, 64)
    order = torch.cat([g * 8 + torch.randperm(8) for g in range(8)])
    torch.testing.assert_close(act(x[:, order]), act(x)[:, order])
    before = act(x)
    with torch.no_grad():
        act.denominator[3] += 0.5
    changed = (act(x) != before).any(0)
    assert changed.nonzero()[:, 0].tolist() == list(range(24, 32))


def test_summed_coefficient_gradients_in_float32():
    act = slaf.make("rational(preset=kat_gelu, share=group, groups=8, numerator_share=layer)", num_channels=64)
    x = torch.randn(256, 64)
    act(x).square().mean().backward()
    got = [p.grad.double() for p in act.parameters()]
    twin = slaf.make(repr(act)).double()
    twin(x.double()).square().mean().backward()
    for ours, wanted in zip(got, (p.grad for p in twin.parameters()), strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-6, atol=1e-6 * wanted.abs().max().item())


def test_gradients_of_the_released_form_are_the_papers():
    """∂F/∂x = P'/Q - P Q'/Q², ∂F/∂a_i = x^i/Q, ∂F/∂b_i = -P sign(b_i)|x|^i/Q², written out, and summed over a coefficient's elements."""
    act = random_rational("per_term", seed=3)
    x = torch.randn(500, dtype=torch.float64, requires_grad=True)
    g = torch.randn(500, dtype=torch.float64)
    (got_x, got_a, got_b) = torch.autograd.grad(act(x), [x, act.numerator, act.denominator], g)
    with torch.no_grad():
        a, b, size, sign = act.numerator[0], act.denominator[0], x.abs(), x.sign()
        p = sum(a[i] * x**i for i in range(6))
        q = 1 + sum(b[i - 1].abs() * size**i for i in range(1, 5))
        slope_p = sum(i * a[i] * x ** (i - 1) for i in range(1, 6))
        slope_q = sign * sum(i * b[i - 1].abs() * size ** (i - 1) for i in range(1, 5))
        torch.testing.assert_close(got_x, g * (slope_p / q - p * slope_q / q**2))
        torch.testing.assert_close(got_a[0], torch.stack([(g * x**i / q).sum() for i in range(6)]))
        torch.testing.assert_close(got_b[0], torch.stack([-(g * p * b[i - 1].sign() * size**i / q**2).sum() for i in range(1, 5)]))


def test_presets_have_six_and_four_numbers():
    assert all((len(a), len(b)) == (6, 4) for a, b in PRESETS.values())


# -- construction ----------------------------------------------------------------------------------------------------------------


def test_init_is_the_fit():
    act = slaf.make("rational(init=gelu)", dtype=torch.float64)
    x = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    assert (act(x) - slaf.make("gelu")(x)).abs().max() < 4e-3
    assert act.domain == (-6.0, 6.0)
    custom = Rational(init=lambda t: torch.cos(t), interval=(-2.0, 2.0), dtype=torch.float64)
    x = torch.linspace(-2, 2, 401, dtype=torch.float64)
    assert (custom(x) - x.cos()).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rational(0, 4)", "numerator_degree must be an integer from 1 to 10; got 0"),
        ("rational(5, 12)", "denominator_degree must be an integer from 0 to 10; got 12"),
        ("rational(5, 3)", "denominator_degree must be even for denominator=even; got 3; use 4"),
        ("rational(denominator=jont)", "did you mean 'joint'"),
        ("rational(preset=kat_swsh)", "did you mean 'kat_swish'"),
        ("rational(preset=kat_swish, init=tanh)", "leave out init"),
        ("rational(preset=kat_swish, denominator=even)", "leave out denominator"),
        ("rational(numerator_share=group)", "numerator_share must be one of layer"),
        ("rational(interval=(2, 1))", "interval must be two finite numbers"),
        ("rational(init=geluu)", "did you mean 'gelu'"),
    ],
)
def test_bad_arguments(spec, message):
    with pytest.raises(slaf.SlafError, match=message):
        slaf.make(spec)


# -- what is derived ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_bounds_are_sound_and_tight_for_random_coefficients(form, dtype):
    generator = torch.Generator().manual_seed(1)
    for seed in range(6):
        act = random_rational(form, seed, share="channel", num_channels=4).to(dtype)
        lower = (6 * torch.rand(8, 4, generator=generator, dtype=torch.float64) - 4).to(dtype)
        upper = lower + (10 ** (3 * torch.rand(8, 4, generator=generator, dtype=torch.float64) - 2.5)).to(dtype)
        low, high = act.bounds(lower, upper)
        t = torch.linspace(0, 1, 2001, dtype=dtype)[:, None, None]
        y = act((lower + t * (upper - lower)).clamp(lower, upper).reshape(-1, 4)).reshape(2001, 8, 4).detach()
        assert (y >= low).all()
        assert (y <= high).all()
        if dtype == torch.float64:
            steepest = act.lipschitz(lower, upper)
            slack = 1e-9 + steepest * (upper - lower) / 2000
            assert (y.amin(0) - low <= slack).all()
            assert (high - y.amax(0) <= slack).all()
            quotients = ((y[1:] - y[:-1]) / ((upper - lower) / 2000)).abs().amax(0)
            assert (quotients <= steepest * (1 + 1e-5) + 1e-6).all()
            assert (quotients >= steepest * (1 - 2e-2) - 1e-6).all()


@pytest.mark.parametrize("form", FORMS)
def test_expression_of_every_channel(form):
    act = random_rational(form, num_channels=3, numerator_share="layer")
    x = torch.tensor([-2.0, -0.5, 1.5], dtype=torch.float64)
    y = act(x[:, None].expand(3, 3))
    for site in range(3):
        for i, v in enumerate(x.tolist()):
            assert float(_value(act.expression(site), v)) == pytest.approx(float(y[i, site].detach()))


def _value(expression, v):
    return expression.subs(next(iter(expression.free_symbols)), v)


def test_pole_distance_in_closed_form():
    act = Rational(1, 2, "even", dtype=torch.float64)
    with torch.no_grad():
        act.denominator.fill_(0.25)  # zeros at ±2i
    assert act.pole_distance((-1.0, 1.0)) == pytest.approx(2)
    assert act.pole_distance((3.0, 4.0)) == pytest.approx(math.sqrt(13))
    act = Rational(1, 1, "per_term", dtype=torch.float64)
    with torch.no_grad():
        act.denominator.fill_(0.5)  # 1 + x/2 for x >= 0 has its zero at -2, 2 from there
    assert act.pole_distance((-4.0, 4.0)) == pytest.approx(2)


def test_max_slope_is_that_of_a_dense_grid():
    act = random_rational("even", 3)
    x = torch.linspace(-6, 6, 200001, dtype=torch.float64)
    assert act.max_slope() == pytest.approx(float(act.derivative(x).detach().abs().max()), rel=1e-5)


# -- training ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", ["rational", "rational(preset=kat_identity)", "rational(denominator=joint)", "rational(denominator=square)"]
)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_training_stays_finite(spec, scale):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), slaf.make(spec, num_channels=32), torch.nn.Linear(32, 1))
    x = scale * torch.randn(128, 8)
    target = torch.sin(x[:, :1] / scale)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(x) - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert all(torch.isfinite(p).all() for p in model.parameters())
    if scale == 1:
        assert losses[-1] < losses[0]
