"""Folding: the proven bound against random points, the table against quantisation spelt out, the behaviour outside, the contract."""

import copy
import math
from fractions import Fraction

import pytest
import torch

import slaf
from slaf.core import Activation, Facts, SlafError
from slaf.fit import fold
from slaf.fit.enclosures import ChebyshevForm, PowerForm, clenshaw_rounding, supremum
from slaf.fit.piecewise import chebyshev_values
from slaf.fit.proof import Target, prove
from slaf.testing import check_activation

pytest.importorskip("scipy")

FUNCTIONS = (
    "gelu", "silu", "tanh", "mish", "elu(alpha=0.7)", "relu", "hardswish", "softplus", "sigmoid", "softsign", "hardtanh", "selu",
    "slaf(input=identity, normalize=none, share=layer)", "prelu",
)  # fmt: skip
CONTINUOUS = ("polynomial", "piecewise_linear", "piecewise_polynomial")


def _float64(name):
    return slaf.make(name).double().eval().requires_grad_(False)


def _observed(name, module, points=100_000):
    """The largest error of the float32 module at random float32 points of the interval, breaks and ends among them."""
    generator = torch.Generator().manual_seed(0)
    low, high = module.interval
    x = (low + (high - low) * torch.rand(points, generator=generator, dtype=torch.float64)).float()
    marks = module._marks().float()
    x = torch.cat([x, marks, torch.nextafter(marks, marks + 1), torch.nextafter(marks, marks - 1), torch.tensor([low, high])]).clamp(
        low, high
    )
    with torch.no_grad():
        return float((module(x).double() - _float64(name)(x.double())).abs().max())


@pytest.mark.parametrize("to", CONTINUOUS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_bound_holds_and_is_tight(name, to):
    for interval in ((-4.0, 4.0), (-1.3, 6.1)) if name in ("gelu", "relu", "tanh") else ((-4.0, 4.0),):
        module = fold(name, to, interval)
        observed = _observed(name, module)
        assert observed <= module.error_bound
        scale = float(_float64(name)(torch.linspace(*interval, 999, dtype=torch.float64)).abs().max())
        # beside 1.1 times what is seen, the rounding of float32: some dozen units in the last place
        assert module.error_bound <= 1.1 * observed + 48 * 2.0**-24 * max(scale, 1.0)
        assert module.proof.observed <= module.error_bound


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_table_is_the_quantised_function(name):
    module = fold(name, "int8")
    q = torch.arange(-128, 128, dtype=torch.float64)
    y = _float64(name)(module.input_scale * (q - module.input_zero)).detach() / module.output_scale
    wanted = (torch.round(y) + module.output_zero).clamp(-128, 127)
    assert torch.equal(module.table.double(), wanted)
    at = ((q - module.input_zero) * module.input_scale).float()
    assert torch.equal(module.codes(at).double(), q)
    assert torch.equal(module(at).double(), ((wanted.float() - module.output_zero) * module.output_scale).double())
    observed = _observed(name, module)
    assert observed <= module.error_bound <= 1.1 * observed + 1e-6
    generator = torch.Generator().manual_seed(1)
    x = 12 * torch.rand(20_000, generator=generator) - 6
    seen = (module.codes(x).float() - module.input_zero) * module.input_scale
    torchs = torch.fake_quantize_per_tensor_affine(x, module.input_scale, module.input_zero, -128, 127)
    assert float((seen != torchs).float().mean()) < 1e-3  # torch multiplies by 1/scale: halves may differ


def test_halves_go_to_the_even_code():
    module = fold("identity", "int8", (-64.0, 63.5), input_scale=0.5, input_zero=0, output_scale=1.0, output_zero=0)
    assert module.table[128 + torch.tensor([1, 3, 5, -1, -3])].tolist() == [0, 2, 2, 0, -2]
    assert module.codes(torch.tensor([0.25, 0.75, -0.25])).tolist() == [0, 2, 0]
    assert 0.75 <= module.error_bound <= 0.7501  # half a step of the input and half a step of the output


def test_a_table_for_given_scales_saturates_soundly():
    module = fold("relu", "int8", (-4.0, 4.0), input_scale=0.01, input_zero=3, output_scale=0.02, output_zero=-128)
    observed = _observed("relu", module)
    assert observed == pytest.approx(4 - (127 - 3) * 0.01, abs=0.03)
    assert observed <= module.error_bound <= 1.01 * observed


@pytest.mark.parametrize(("to", "tolerance"), [("polynomial", 1e-3), ("piecewise_linear", 5e-4), ("piecewise_polynomial", 1e-6)])
@pytest.mark.parametrize("name", ["gelu", "tanh", "hardswish"])
def test_tolerance_finds_the_smallest_size(name, to, tolerance):
    if (name, to) == ("hardswish", "polynomial"):
        tolerance = 2e-2
    module = fold(name, to, (-5.0, 5.0), tolerance=tolerance)
    assert _observed(name, module) <= module.error_bound <= tolerance
    if module.size > 1 + len(module.proof.where) and name != "hardswish":
        option = "degree" if to == "polynomial" else "pieces"
        assert fold(name, to, (-5.0, 5.0), **{option: module.size - 2}).error_bound > tolerance


def test_many_pieces_without_a_linear_program(monkeypatch):
    by_program = fold("gelu", pieces=64)
    monkeypatch.setattr("slaf.fit.folding.PROGRAM_PIECES", 0)
    by_chords = fold("gelu", pieces=64)
    assert by_chords.error_bound <= 1.3 * by_program.error_bound
    assert _observed("gelu", by_chords) <= by_chords.error_bound
    fine = fold("gelu", pieces=1024)
    assert _observed("gelu", fine) <= fine.error_bound <= 4e-6


def test_without_scipy(monkeypatch):
    best = fold("silu", "polynomial", degree=9)
    monkeypatch.setattr("slaf.fit.folding.find_spec", lambda _: None)
    near = fold("silu", "polynomial", degree=9)
    assert best.error_bound < near.error_bound < 2.5 * best.error_bound
    assert _observed("silu", near) <= near.error_bound


def test_linear_functions_fold_to_themselves():
    for to in CONTINUOUS:
        module = fold("identity", to, (-3.0, 3.0), **({"degree": 1} if to == "polynomial" else {}))
        assert module.error_bound < 2e-6
        x = torch.linspace(-100, 100, 999)
        assert torch.allclose(module(x), x, rtol=1e-6, atol=1e-6)


def test_behaviour_outside():
    x = torch.tensor([-50.0, -8.0, 8.0, 50.0])
    for to in CONTINUOUS:
        far = fold("gelu", to)
        assert far.outside == "asymptote"
        ends = far(torch.tensor([-4.0, 4.0])).double()
        assert torch.allclose(far(x).double(), torch.stack([ends[0], ends[0], ends[1] + 4, ends[1] + 46]), atol=1e-5)
        assert float((far(x) - torch.nn.functional.gelu(x)).abs().max()) <= far.error_bound + 2e-4
        flat = fold("gelu", to, outside="clamp")
        assert flat(x).tolist() == flat(torch.tensor([-4.0, -4.0, 4.0, 4.0])).tolist()
        tangent = fold("softplus", to, (-1.0, 1.0), outside="linear")
        slope = 1 / (1 + math.exp(-1))
        assert float(tangent(torch.tensor(3.0)) - tangent(torch.tensor(1.0))) == pytest.approx(2 * slope, abs=1e-4)
        assert torch.isfinite(far(torch.tensor([-math.inf, 1e30]))).all()
    wild = fold("gelu", "polynomial", outside="extrapolate")
    u = torch.tensor([2.0], dtype=torch.float64)
    exact = chebyshev_values(u, 7) @ wild.coefficients.double()
    assert float(wild(torch.tensor(8.0))) == pytest.approx(float(exact), rel=1e-5)


def test_expression_is_the_module():
    import sympy

    x = sympy.Symbol("x", real=True)
    for to in CONTINUOUS:
        module = fold("silu", to, (-3.0, 2.0), **({"degree": 5} if to == "polynomial" else {"pieces": 5})).double()
        expression = module.expression()
        for value in (-4.0, -3.0, -2.2, 0.3, 1.9, 2.0, 7.5):
            got = module(torch.tensor(value, dtype=torch.float64))
            assert float(expression.subs(x, sympy.Rational(value))) == pytest.approx(float(got), abs=1e-12)
        again = fold(module, "piecewise_linear", (-5.0, 3.0), pieces=200)  # a folded one can be folded: its kinks are found
        assert again.error_bound < 2e-3


@pytest.mark.parametrize("to", [*CONTINUOUS, "int8"])
def test_bounds_of_folded_modules(to):
    module = fold("gelu", to)
    generator = torch.Generator().manual_seed(2)
    centre, width = 12 * torch.rand(50, generator=generator) - 6, 3 * torch.rand(50, generator=generator)
    for dtype in (torch.float64, torch.float32):
        cast, lower, upper = copy.deepcopy(module).to(dtype), (centre - width).to(dtype), (centre + width).to(dtype)
        low, high = cast.bounds(lower, upper)
        x = (lower + torch.linspace(0, 1, 2001, dtype=dtype)[:, None] * (upper - lower)).clamp(lower, upper)
        y = cast(x)
        assert bool((y >= low).all() and (y <= high).all())
        assert float((y.amin(0) - low).abs().max()) < 2e-2
        assert float((high - y.amax(0)).abs().max()) < 2e-2
    with pytest.raises(SlafError, match="lower"):
        module.bounds(torch.ones(1), torch.zeros(1))


OPTIONS = [
    ("polynomial", {"degree": 15, "outside": "clamp"}), ("polynomial", {"outside": "extrapolate"}), ("piecewise_linear", {}),
    ("piecewise_linear", {"breakpoints": "uniform", "pieces": 20, "outside": "linear"}), ("piecewise_polynomial", {}), ("int8", {}),
]  # fmt: skip


def test_contract_of_a_jump():
    module = fold("hardshrink", "piecewise_polynomial")
    assert module.facts.smoothness == -1
    assert {-0.5, 0.5} <= set(module.facts.kinks)
    report = check_activation(module, checks=["kinks", "smoothness", "antiderivative_method", "second_moment", "kink_gradients"])
    assert report.passed, report


@pytest.mark.parametrize(("to", "options"), OPTIONS)
def test_contract(to, options):
    report = check_activation(fold("silu", to, **options))
    assert report.passed, report


def test_half_types_keep_the_stored_numbers():
    module = fold("gelu", "piecewise_polynomial")
    half = copy.deepcopy(module).half()
    assert all(b.dtype == torch.float32 for b in half.buffers())
    x = torch.linspace(-6, 6, 500).half()
    assert torch.equal(half(x), module(x.float()).half())


# -- the proof itself -------------------------------------------------------------------------------------------------------


def test_rounding_of_clenshaw_is_bounded_and_not_absurd():
    generator = torch.Generator().manual_seed(5)
    for degree in (1, 3, 8, 24):
        c = torch.randn(degree + 1, generator=generator).double() / torch.arange(1, degree + 2)
        u = (2 * torch.rand(20_000, generator=generator) - 1).float()
        later, y = torch.zeros_like(u), torch.full_like(u, float(c[-1].float()))
        c = c.float().double()
        for k in range(degree - 1, -1, -1):
            y, later = (float(c[k]) + (2 if k else 1) * y * u) - later, y
        exact = chebyshev_values(u.double(), degree) @ c
        error = float((y.double() - exact).abs().max())
        bound = clenshaw_rounding(c, 2.0**-24)
        assert error <= bound <= 100 * error


def test_the_supremum_is_one():
    for degree in (1, 2, 7, 24):
        c = torch.zeros(degree + 1, dtype=torch.float64)
        c[-1] = 1
        assert 1 <= supremum(c) < 1.001


def _exactly(form, x):
    """A power form in rational arithmetic."""
    i = min(int(torch.searchsorted(form.breaks[1:-1].contiguous(), torch.tensor(x, dtype=torch.float64), right=True)), len(form.center) - 1)
    t = Fraction(x) - Fraction(float(form.center[i]))
    return i, sum(Fraction(float(c)) * t**k for k, c in enumerate(form.coefficients[i]))


def _derivative(row, order):
    for _ in range(order):
        row = [k * c for k, c in enumerate(row)][1:]
    return row


def test_enclosures_contain_exact_values():
    form = fold("mish", "piecewise_polynomial", pieces=6).form_of()
    a = torch.linspace(-4, 3.9, 40, dtype=torch.float64)
    b = a + 0.01
    piece = torch.bucketize(a + 0.005, form.breaks[1:-1].contiguous(), right=True)
    for order in (0, 1, 2):
        low, high = form.derivative(piece, a, b, order)
        rows = [
            [math.prod(range(k - order + 1, k + 1)) * Fraction(float(c)) for k, c in enumerate(form.coefficients[i])][order:] for i in piece
        ]
        for i, row in enumerate(rows):
            for x in (float(a[i]), float(b[i]), float(a[i]) / 3 + 2 * float(b[i]) / 3):
                t = Fraction(x) - Fraction(float(form.center[piece[i]]))
                value = sum((c * t**k for k, c in enumerate(row)), Fraction(0))
                assert Fraction(float(low[i])) <= value <= Fraction(float(high[i]))
    low, high = form.value(piece, a)
    for i, x in enumerate(a.tolist()):
        if _exactly(form, x)[0] == int(piece[i]):
            assert Fraction(float(low[i])) <= _exactly(form, x)[1] <= Fraction(float(high[i]))


class _Opaque(Activation):
    """An activation without an expression, with bounds."""

    name = "opaque"

    def __init__(self, monotone="nondecreasing"):
        super().__init__()
        self.facts = Facts("opaque", monotone=monotone)

    def forward(self, x):
        return torch.atan(x)


def test_bounds_prove_where_there_is_no_expression():
    module = fold(_Opaque(), "piecewise_linear", pieces=12)
    x = torch.linspace(-4, 4, 100_001)
    observed = float((module(x).double() - torch.atan(x.double())).abs().max())
    assert observed <= module.error_bound <= 1.05 * observed


def test_no_proof_is_said():
    with pytest.raises(SlafError, match="no proof"):
        fold(_Opaque(monotone=None))


def test_a_jump_counts_half():
    module = fold("hardshrink(lambd=0.5)", "piecewise_linear", pieces=24)
    assert 0.249 <= _observed("hardshrink(lambd=0.5)", module) <= module.error_bound <= 0.26


def test_a_removable_singularity_of_the_expression():
    class Sinc(Activation):
        name = "my_sinc"
        facts = Facts("my_sinc", formula="where(abs(x) > 0, sin(x)/x, 1)", smoothness=math.inf, lipschitz=0.4361818172714585, kinks=())

        def forward(self, x):
            return torch.where(x == 0, 1.0, torch.sin(x) / torch.where(x == 0, 1.0, x))

    module = fold(Sinc(), "piecewise_linear", pieces=20)
    x = torch.linspace(-4, 4, 100_001)
    observed = float((module(x).double() - Sinc()(x.double())).abs().max())
    assert observed <= module.error_bound <= 1.05 * observed


def test_a_kink_is_not_skipped():
    # |f - 0| has its peak at a kink that no grid contains
    form = PowerForm(torch.tensor([0.0, 1.0]).double(), torch.zeros(1).double(), torch.zeros(1, 1).double())

    class Tent(Activation):
        name = "tent"
        facts = Facts("tent", formula="max(0, 1 - 1e6*abs(x - 1/3))")

        def forward(self, x):
            return (1 - 1e6 * (x - 1 / 3).abs()).clamp(min=0)

    proof = prove(Target(Tent()), form)
    assert 1 <= proof.bound <= 1.02


def test_chebyshev_form_is_proven_to_its_rounding():
    # f is the polynomial itself: nothing but float32's rounding is left
    form = ChebyshevForm((-1.0, 1.0), 0.0, 1.0, torch.tensor([0.0, 0.0, 1.0]).double())

    class Square(Activation):
        name = "square"
        facts = Facts("square", formula="2*x**2 - 1")

        def forward(self, x):
            return 2 * x * x - 1

    proof = prove(Target(Square()), form)
    assert proof.observed < 1e-14
    assert proof.bound < 32 * 2.0**-24


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"to": "quartic"}, "to must be one of"),
        ({"interval": (1.0, 1.0)}, "interval must be"),
        ({"interval": (0.0, math.inf)}, "interval must be"),
        ({"degree": 3}, "degree is not for to=piecewise_linear"),
        ({"to": "polynomial", "pieces": 3}, "pieces is not for to=polynomial"),
        ({"to": "polynomial", "degree": 25}, "degree must be an integer from 1 to 24"),
        ({"pieces": 0}, "pieces must be an integer"),
        ({"pieces": 8, "tolerance": 0.1}, "not both"),
        ({"tolerance": -1.0}, "tolerance must be a positive number"),
        ({"outside": "asymptotic"}, "did you mean 'asymptote'"),
        ({"to": "int8", "outside": "linear"}, "outside must be clamp"),
        ({"to": "int8", "input_scale": -1.0}, "input_scale must be a positive number"),
        ({"to": "int8", "input_zero": 400}, "input_zero must be an integer"),
        ({"to": "int8", "tolerance": 1e-9}, "above tolerance"),
        ({"to": "polynomial", "tolerance": 1e-9, "activation": "relu"}, "no size up to 24"),
        ({"input_scale": 0.1}, "input_scale is not for"),
        ({"activation": 3}, "activation must be"),
        ({"activation": "relu6", "pieces": 1, "interval": (-1.0, 7.0)}, "pieces must be at least 3"),
    ],
)
def test_errors_are_told(arguments, match):
    with pytest.raises(SlafError, match=match):
        fold(**({"activation": "gelu"} | arguments))


def test_the_callers_module_is_left_alone():
    act = slaf.make("prelu")
    assert act.weight.dtype == torch.float32
    fold(act.train())
    assert act.weight.dtype == torch.float32
    assert act.training


def test_several_functions_need_a_site():
    act = slaf.make("prelu", num_channels=3)
    with torch.no_grad():
        act.weight.copy_(torch.tensor([0.1, 0.5, 0.9]))
    with pytest.raises(SlafError, match="site"):
        fold(act)
