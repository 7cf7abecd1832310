"""Parametric closed forms: golden values, relations between families, and what the contract does not see: other θ, and θ gone astray."""

import math

import pytest
import torch

import slaf
from slaf.testing import check_activation

X = torch.linspace(-12, 12, 481, dtype=torch.float64)


def _at(spec, x=X):
    return slaf.make(spec, dtype=torch.float64).eval()(x).detach()


def test_crrelu_has_the_computed_values():
    x = torch.tensor([-2, -1, -0.5, 0, 0.5, 1, 2], dtype=torch.float64)
    wanted = [-0.0027067, -0.0060653, -0.0044125, 0, 0.5044125, 1.0060653, 2.0027067]
    assert _at("crrelu", x).tolist() == pytest.approx(wanted, abs=5e-8)


def test_crrelus_correction_is_odd_and_gone_far_out():
    correction = _at("crrelu") - X.clamp(min=0)
    assert torch.allclose(correction, -correction.flip(0), rtol=0, atol=1e-14)
    assert float(correction[X.abs() > 6.5].abs().max()) < 1e-6 * 0.01
    assert _at("crrelu", torch.tensor([-math.inf, math.inf], dtype=torch.float64)).tolist() == [0, math.inf]


def test_crrelu_without_correction_is_relu_bit_for_bit():
    act = slaf.make("crrelu(epsilon=0.0)")
    x = torch.cat([torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 10**k for k in range(-6, 5)])
    assert torch.equal(act(x).detach(), torch.relu(x))
    assert [p.numel() for p in slaf.make("crrelu").parameters()] == [1]


def test_crrelus_slopes_at_0():
    x = torch.tensor([-1e-9, 1e-9], dtype=torch.float64)
    act = slaf.make("crrelu(epsilon=0.3)", dtype=torch.float64)
    assert act.derivative(x).tolist() == pytest.approx([0.3, 1.3], abs=1e-12)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (8.0, 8.0), (0.3, 2.0)])
def test_snake_beta_has_the_tabulated_antiderivative(alpha, beta):
    act = slaf.make(f"snake_beta(alpha={alpha}, beta={beta})", dtype=torch.float64)
    wanted = X**2 / 2 + X / (2 * beta) - torch.sin(2 * alpha * X) / (4 * alpha * beta)
    assert torch.allclose(act.antiderivative(X).detach(), wanted, rtol=1e-13, atol=1e-13)


RELATIONS = [
    ("swish(beta=1.0)", "silu", 1),
    ("acon_c(p1=1.0, p2=0.0, beta=1.7)", "swish(beta=1.7)", 1),
    ("swish_t(beta=1.3, alpha=0.0)", "swish(beta=1.3)", 1),
    ("snake_beta(alpha=1.7, beta=1.7)", "snake(alpha=1.7)", 1),
    ("snake(alpha=0.0)", "identity", 1),
    ("star_relu(scale=1.0, bias=0.0)", "squared_relu", 1),
    ("shilu(alpha=1.0, beta=-0.4)", "frelu(b=-0.4)", 1),
    ("pelu(a=1.0, b=1.0)", "elu", 1),
    ("pelu(a=1.7, b=1.7)", "celu(alpha=1.7)", 1),
    ("mpelu(alpha=1.7, beta=1.0)", "elu(alpha=1.7)", 1),
    ("felu(alpha=1.7)", "elu(alpha=1.7)", 1),
    ("mpelu(alpha=0.0, beta=1.0)", "relu", 1),
    ("dprelu(alpha=1.0, beta=0.25)", "prelu(weight=0.25)", 1),
    ("dual_line(alpha=1.0, beta=0.25, m=0.0)", "prelu(weight=0.25)", 1),
    ("rprelu(gamma=0.0, zeta=0.0, weight=0.25)", "prelu(weight=0.25)", 1),
    ("lelelu(alpha=1.0, negative_slope=0.3)", "leaky_relu(negative_slope=0.3)", 1),
    ("srelu(t_left=-1.0, a_left=0.0, t_right=1.0, a_right=0.0)", "hardtanh", 1),
    ("plu(alpha=0.0, c=1.0)", "hardtanh", 1),
    ("pact(alpha=6.0)", "relu6", 1),
    ("drelu(delta=0.0)", "relu", 1),
    ("smu(a=0.0, mu=0.70710678118654752)", "gelu", 1),
    ("smu_1(a=0.25, mu=0.0)", "leaky_relu(negative_slope=0.25)", 1),
    ("tanhsoft_2(beta=1.0, gamma=1.0)", "telu", 1),
    ("pserf(gamma=1.0, delta=1.0)", "serf", 1),
    ("xgelu(alpha=0.0)", "gelu", 1),
    ("xsilu(alpha=0.0)", "silu", 1),
    ("aria2(alpha=1.0, beta=1.0)", "silu", 1),
    ("leaf(p1=1.0, p2=0.0, p3=1.0, p4=0.0)", "silu", 1),
    ("leaf(p1=0.0, p2=1.0, p3=1.0, p4=0.0)", "sigmoid", 1),
    ("dyt(alpha=1.0)", "tanh", 1),
    ("derf(alpha=1.0)", "erf", 1),
    ("adaptive_tanh(a=0.5, n=2.0)", "tanh", 1),
    ("scaled_softsign", "softsign", 1),
    ("tangma", "lisht", 1),
    ("blu(beta=0.0)", "identity", 1),
    ("rsigelud(alpha=0.0, beta=1.0)", "elu", 1),
    ("hexpo", "elu", -1),  # for x < 0, where the two agree
]


@pytest.mark.parametrize(("spec", "other", "side"), RELATIONS, ids=lambda v: str(v))
def test_special_cases(spec, other, side):
    x = X if side == 1 else X[X < 0]
    wanted = _at(other, x)
    assert torch.allclose(_at(spec, x), wanted, rtol=1e-12, atol=1e-14)


def test_limits_of_sharpness():
    away = X[X.abs() > 0.1]
    assert torch.allclose(_at("swish(beta=1000.0)", away), away.clamp(min=0), atol=1e-12)
    assert torch.allclose(_at("acon_c(p1=1.2, p2=-0.8, beta=1000.0)", away), torch.maximum(1.2 * away, -0.8 * away), atol=1e-12)
    assert torch.allclose(_at("smu(a=0.25, mu=1000.0)", away), torch.maximum(away, 0.25 * away), atol=1e-12)


def test_star_relu_has_mean_0_and_variance_1():
    z = torch.linspace(-14, 14, 200_001, dtype=torch.float64)
    weight = torch.exp(-z * z / 2)
    y = _at("star_relu", z)
    assert float((y * weight).sum() / weight.sum()) == pytest.approx(0, abs=1e-4)
    assert slaf.make("star_relu").second_moment() == pytest.approx(1, abs=2e-4)


def test_swish_is_no_longer_an_alias():
    assert slaf.facts("swish").name == "swish"
    assert [n for n, _ in slaf.make("swish").named_parameters()] == ["beta"]
    assert not list(slaf.make("silu").parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("alpha", [0.0, 1e-30, 1e-12, 1e-6, 1e-3, -1e-3])
def test_snake_is_accurate_as_its_frequency_vanishes(alpha, dtype):
    """f → x + α x², and ∂f/∂α → x²: neither NaN nor lost to rounding."""
    act = slaf.make("snake", dtype=dtype)
    with torch.no_grad():
        act.alpha.fill_(alpha)
    alpha = float(act.alpha.detach())
    x = torch.tensor([-3.0, -0.5, 0.25, 2.0], dtype=dtype)
    y = act(x)
    assert y.tolist() == pytest.approx([v + alpha * v * v for v in x.tolist()], rel=2e-5 if dtype == torch.float32 else 1e-3)
    for i, v in enumerate(x.tolist()):
        (gradient,) = torch.autograd.grad(act(x)[i], act.alpha)
        assert float(gradient) == pytest.approx(v * v, rel=1e-3)


ASTRAY = {
    "snake_beta": {"beta": -1.0},
    "pelu": {"b": -0.5},
    "mpelu": {"beta": -2.0},
    "preu": {"beta": -2.0},
    "tanhsoft_3": {"alpha": -1.0},
    "scaled_softsign": {"beta": 0.0},
    "pact": {"alpha": -1.0},
    "srelu": {"t_left": 1.0, "t_right": -1.0},
    "arelu": {"alpha": 3.0, "beta": -1000.0},
    "smu_1": {"mu": 0.0},
    "blu": {"beta": 4.0},
}


@pytest.mark.parametrize("name", ASTRAY)
def test_a_parameter_that_training_drives_out_of_its_interval_does_no_harm(name):
    act = slaf.make(name, dtype=torch.float64)
    with torch.no_grad():
        for parameter, value in ASTRAY[name].items():
            getattr(act, parameter).fill_(value)
    x = torch.cat([X, torch.tensor([-1e4, -1e-8, 0.0, 1e-8, 1e4], dtype=torch.float64)]).requires_grad_()
    y = act(x)
    gradients = torch.autograd.grad(y.sum(), [x, *act.parameters()])
    assert all(bool(torch.isfinite(t).all()) for t in (y, *gradients))
    assert math.isfinite(act.second_moment())
    low, high = act.bounds(X[:-1], X[1:])
    middle = act((X[:-1] + X[1:]) / 2).detach()
    assert bool(((low <= middle) & (middle <= high)).all())


SEVERAL = ["swish", "snake", "crrelu", "acon_c", "srelu", "pelu", "ptelu", "smu", "sinlu", "dyt", "blu"]


@pytest.mark.parametrize("name", SEVERAL)
def test_bounds_and_antiderivative_with_another_parameter_in_every_channel(name):
    act = slaf.make(name, num_channels=3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, parameter in act.named_parameters():
            low = act.claims.params[key].low
            parameter.copy_(0.1 + torch.rand(3, generator=generator) if low > -1 else torch.rand(3, generator=generator) * 2 - 1)
    edges = torch.linspace(-5, 5, 11, dtype=torch.float64)[:, None].expand(-1, 3)
    low, high = act.bounds(edges[:-1], edges[1:])
    inside = edges[:-1] + torch.linspace(0, 1, 301, dtype=torch.float64)[:, None, None]
    y = act(inside.reshape(-1, 3)).detach().reshape(301, 10, 3)
    assert bool(((low <= y) & (y <= high)).all())
    assert torch.allclose(low, y.amin(0), atol=1e-2)
    assert torch.allclose(high, y.amax(0), atol=1e-2)
    h = 1e-5
    slope = (act.antiderivative(edges + 0.3 + h) - act.antiderivative(edges + 0.3 - h)) / (2 * h)
    assert torch.allclose(slope.detach(), act(edges + 0.3).detach(), atol=1e-6)


VARIANTS = [
    "swish(-1.5)", "swish(0)", "snake(-2.5)", "snake(0)", "snake_beta(2, 0.5)", "crrelu(-4)", "crrelu(3)", "acon_c(1.2, -0.8, 2)",
    "acon_c(1, 0.5, -1)", "star_relu(-1, 0.3)", "star_relu(0, 0.3)", "pelu(2, 0.5)", "mpelu(-0.5, 2)", "preu(-1, 0.5)",
    "hexpo(1, 2, 3, 0.5)", "ptelu(0.5, 2)", "ptelu(-1, 0.7)", "erf_relu(-0.5)", "rsigelu(0)", "lelelu(-0.5, 0)", "dual_line(1, -1, 0.5)",
    "arelu(0.3, -1)", "rprelu(0.5, -0.3, -0.2)", "srelu(-0.5, -0.3, 2, 0)", "plu(0, 2)", "pact(1.5)", "smu(0, 2)", "smu(0.05, -1)",
    "smu_1(0, 0.5)", "smu_1(0.25, 0)", "tanhsoft_1(-0.3)", "tanhsoft_2(0.3, -0.7)", "tanhsoft_3(4)", "pserf(0.5, -2)", "xgelu(0.2)",
    "xatlu(0.1)", "swish_t(-2, 0.3)", "tangma(0.5, 0.2)", "sinlu(-0.5, 2)", "coslu(2, 0.5)", "aria2(0.5, 1)", "dyt(-1, 2, 0.5)",
    "derf(1, 0.5, -2, 0.3)", "scaled_softsign(-2, 0.5)", "soft_plus_plus(2, 0.7)", "blu(-1)", "blu(1)",
]  # fmt: skip
CLAIMS = ["range", "lipschitz", "monotone", "parity", "smoothness", "kinks", "critical_points", "value_float64", "antiderivative_method"]


@pytest.mark.parametrize("spec", VARIANTS)
def test_claims_hold_at_other_parameters(spec):
    report = check_activation(spec, checks=CLAIMS)
    assert report.passed, report
