"""The fixed closed forms against torch, against numbers published elsewhere, and against each other."""

import math

import mpmath
import pytest
import sympy
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.core import SlafError
from slaf.testing import check_activation

X = torch.cat([torch.linspace(-20, 20, 4001, dtype=torch.float64), torch.tensor([-1e4, -300.0, 300.0, 1e4], dtype=torch.float64)])

TORCH = {
    "absolute": torch.abs,
    "arctan": torch.atan,
    "asinh": torch.asinh,
    "bipolar_sigmoid": lambda x: 2 * torch.sigmoid(x) - 1,
    "clipped_relu(ceiling=6.0)": F.relu6,
    "cosine(omega=3.0)": lambda x: torch.cos(3 * x),
    "cube": lambda x: x**3,
    "e_swish(beta=2.0)": lambda x: 2 * F.silu(x),
    "erf": torch.erf,
    "exponential": torch.exp,
    "gaussian": lambda x: torch.exp(-x.square()),
    "hardsigmoid_binary": lambda x: F.hardsigmoid(3 * x),
    "penalized_tanh(alpha=1.0)": torch.tanh,
    "repu(power=2.0)": lambda x: F.relu(x) ** 2,
    "shifted_relu": lambda x: F.relu(x + 1) - 1,
    "sign": torch.sign,
    "sinc(omega=3.141592653589793)": torch.sinc,
    "sine": torch.sin,
    "square": torch.square,
    "squared_relu": lambda x: F.relu(x) ** 2,
    "step": lambda x: torch.heaviside(x, torch.ones_like(x)),
    "super_gaussian(a=0.7071067811865476, b=1.0)": lambda x: torch.exp(-x.square()),
}


@pytest.mark.parametrize("spec", TORCH)
def test_agrees_with_torch(spec):
    torch.testing.assert_close(slaf.make(spec)(X), TORCH[spec](X), rtol=1e-12, atol=1e-11 if "omega=3" in spec else 1e-14)


RELATIONS = {
    "telu": lambda x: x * torch.tanh(torch.exp(x)),
    "serf": lambda x: x * torch.erf(F.softplus(x)),
    "phish": lambda x: x * torch.tanh(F.gelu(x)),
    "smish": lambda x: x * torch.tanh(torch.log1p(torch.sigmoid(x))),
    "lisht": lambda x: x * torch.tanh(x),
    "sgelu": lambda x: 2 * F.gelu(x) - x,
    "elliott": lambda x: (1 + F.softsign(x)) / 2,
    "gudermannian": lambda x: torch.atan(torch.sinh(x)),
    "rootsig": lambda x: torch.tanh(torch.asinh(x) / 2),
    "cloglog": lambda x: 1 - slaf.functional.loglog(-x),
    "calu": lambda x: x * torch.atan2(torch.ones_like(x), -x) / math.pi,
    "squareplus": lambda x: (x + torch.sqrt(x * x + 4)) / 2,
    "soft_clipping(alpha=3.0)": lambda x: (F.softplus(3 * x, threshold=50) - F.softplus(3 * x - 3, threshold=50)) / 3,
    "smoothstep(gamma=2.0)": lambda x: 0.5 + 0.25 * x.clamp(-1, 1) * (3 - x.clamp(-1, 1) ** 2),
    "dsilu": lambda x: slaf.make("silu").derivative(x),
    "gelu_sigmoid": lambda x: F.silu(1.702 * x) / 1.702,
    "minsin": lambda x: torch.minimum(x, torch.sin(x)),
    "flatted_t_swish": lambda x: F.silu(F.relu(x)) - 0.2,
}


@pytest.mark.parametrize("spec", RELATIONS)
def test_relations(spec):
    x = X[X.abs() < 300]
    torch.testing.assert_close(slaf.make(spec)(x), RELATIONS[spec](x), rtol=1e-12, atol=2e-14)


ALIASES = {
    "quick_gelu": "gelu_sigmoid", "tanhexp": "telu", "eswish": "e_swish", "relu_squared": "squared_relu", "cubed_relu": "repu",
    "modulus": "absolute", "atan": "arctan", "arcsinh": "asinh", "heaviside": "step", "growing_cosine": "gcu", "siren": "sine",
    "ricker": "mexican_hat",
}  # fmt: skip


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases(alias):
    assert repr(slaf.make(alias)) == ALIASES[alias]


# Computed from the published formulas by hand or in arbitrary precision, independent of the code.
GOLDEN = [
    ("mexican_hat", 2.0, -3 * math.exp(-2)),
    ("quad", -1.0, 0.375),
    ("ncu", 2.0, -6.0),
    ("squ", -0.5, -0.25),
    ("isrlu(alpha=3.0)", -1.0, -0.5),
    ("isru(alpha=3.0)", 1.0, 0.5),
    ("sqnl", 1.0, 0.75),
    ("sqnl", -5.0, -1.0),
    ("smelu(beta=2.0)", 0.0, 0.5),
    ("softmodulus_q", 0.5, 0.375),
    ("bent_identity", math.sqrt(3), 0.5 + math.sqrt(3)),
    ("hard_mish", -1.0, -0.5),
    ("hard_elish", 0.5, 0.375),
    ("serlu", -1.0, -1.07862 * 2.90427 / math.e),
    ("hardsigmoid_keras", 1.0, 0.7),
    ("seagull", 2.0, math.log(5)),
    ("nlrelu(beta=2.0)", 1.0, math.log(3)),
    ("inverse_multiquadric(a=2.0)", 1.0, 1 / math.sqrt(5)),
    ("fpflu", -1.0, -1 + math.sqrt(0.5)),
    ("gcu", math.pi, -math.pi),
    ("cosid", 0.0, 1.0),
    ("step", 0.0, 1.0),
    ("sign", 0.0, 0.0),
]


@pytest.mark.parametrize(("spec", "x", "wanted"), GOLDEN, ids=lambda v: str(v))
def test_golden_values(spec, x, wanted):
    assert float(slaf.make(spec)(torch.tensor(x, dtype=torch.float64))) == pytest.approx(wanted, rel=1e-15)


def test_lecun_tanh_maps_one_to_one():
    assert float(slaf.functional.lecun_tanh(torch.tensor(1.0))) == pytest.approx(1.0, rel=1e-5)


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6, allow_subnormal=False))
def test_symlog_asinh_and_isru_invert(value):
    x = torch.tensor(value, dtype=torch.float64)
    y = slaf.functional.symlog(x)
    assert float(torch.sign(y) * torch.expm1(y.abs())) == pytest.approx(value, rel=1e-13, abs=1e-300)
    assert float(torch.sinh(slaf.functional.asinh(x))) == pytest.approx(value, rel=1e-13, abs=1e-300)
    z = slaf.functional.isru(x * 1e-4)
    assert float(z / torch.sqrt((1 - z) * (1 + z))) == pytest.approx(value * 1e-4, rel=1e-11, abs=1e-300)


@settings(max_examples=100, deadline=None)
@given(st.floats(-100, 100), st.floats(0.1, 60))
def test_the_sine_keeps_its_phase_in_float32(value, omega):
    """Naively sin(30x) in float32 is off by the rounding of 30x, 1e-5 at x = 10; here both products carry their rounding error."""
    x = torch.tensor(value, dtype=torch.float32)
    exact = mpmath.sin(mpmath.mpf(omega) * mpmath.mpf(float(x)))
    assert abs(float(slaf.functional.sine(x, omega)) - exact) < 4e-7
    size = mpmath.mpf(float(x))
    assert abs(float(slaf.functional.finer(x)) - mpmath.sin((abs(size) + 1) * size)) < 4e-7


@pytest.mark.parametrize(
    "spec",
    ["telu", "gish", "loglog", "cloglog", "colu", "phish", "finer", "sinc", "soft_clipping(alpha=50.0)", "mexican_hat", "exponential"],
)
def test_no_nan_at_the_largest_float16(spec):
    x = torch.tensor([-65504.0, -1000.0, -0.0, 0.0, 1000.0, 65504.0], dtype=torch.float16, requires_grad=True)
    y = slaf.make(spec)(x)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.sum(), x)
    for t in (y, g, h):
        assert not bool(torch.isnan(t).any()), t


@pytest.mark.parametrize(
    "spec",
    ["clipped_relu(ceiling=20.0)", "squareplus(b=0.1)", "smelu(beta=0.4)", "isrlu(alpha=3.0)", "laplacian(scale=0.4)", "repu(power=2.5)",
     "penalized_tanh(alpha=1.0)", "penalized_tanh(alpha=0.0)", "soft_clipping(alpha=50.0)", "super_gaussian(a=0.5, b=3.0)",
     "hosc(beta=2.0, omega=1.5)", "sine(omega=5.0)", "finer(omega=2.0)", "smoothstep(gamma=3.0)", "softmodulus_t(alpha=0.5)",
     "flatted_t_swish(t=0.5)", "e_swish(beta=2.0)", "sinc(omega=3.1)", "nlrelu(beta=0.3)", "inverse_quadratic(a=3.0)"],
)  # fmt: skip
def test_claims_hold_at_other_parameters(spec):
    checks = ["value_float64", "first_derivative", "range", "lipschitz", "monotone", "parity", "smoothness", "kinks", "critical_points",
              "antiderivative_method", "value_float32", "finite_second_gradients"]  # fmt: skip
    report = check_activation(spec, checks=checks)
    assert report.passed, report


ANTIDERIVATIVES = [
    *(n for n in slaf.list() if isinstance(getattr(slaf.core.activations[n], "claims", None), slaf.Facts)
      and slaf.core.activations[n].claims.at().antiderivative is not None),
    "hardtanh(0.5, 2)", "hardtanh(-3, -1)", "threshold(-1.5, 0.3)", "hardshrink(1.3)", "elu(alpha=2.0)", "celu(alpha=0.3)",
    "squareplus(b=0.1)", "smelu(beta=0.4)", "smoothstep(gamma=3.0)", "isru(alpha=3.0)", "isrlu(alpha=3.0)", "repu(power=2.5)",
]  # fmt: skip


@pytest.mark.parametrize("spec", ANTIDERIVATIVES)
def test_antiderivatives_are_exact_and_do_not_cancel(spec):
    """Against a quadrature of the formula in arbitrary precision, by mpmath, far out too: no overflow, no lost digits."""
    act = slaf.make(spec).eval().double()
    points = [-200.0, -6.1, -1.3, -1e-3, 0.0, 1e-5, 0.45, 2.7, 33.7]
    expression = act.expression()
    f = sympy.lambdify(sympy.Symbol("x", real=True), expression, "mpmath")
    got = act.antiderivative(torch.tensor(points, dtype=torch.float64)).tolist()
    with mpmath.workdps(25):
        for end, value in zip(points, got, strict=True):
            panels = max(1, int(abs(end) / 4))
            inner = {float(k) for k in act.facts.kinks or () if min(0, end) < k < max(0, end)}
            ends = sorted({0.0, end} | inner | {end * i / panels for i in range(panels)}, reverse=end < 0)
            wanted = float(mpmath.quad(f, ends)) if end else 0.0
            assert value == pytest.approx(wanted, rel=1e-13, abs=2e-15), (end, value, wanted)


REFUSED = {"squareplus(b=0)": "b", "repu(power=1.5)": "power", "soft_clipping(alpha=-1)": "alpha", "sine(omega=0)": "omega"}


@pytest.mark.parametrize("spec", REFUSED)
def test_parameters_outside_their_interval_are_refused(spec):
    with pytest.raises(SlafError, match=REFUSED[spec]):
        slaf.make(spec)
