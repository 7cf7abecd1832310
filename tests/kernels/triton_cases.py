"""The Triton kernels against the definition in float64, on CPU tensors. ``test_triton.py`` runs this file under Triton's interpreter.

The interpreter cuts a float32 to bfloat16 where a GPU rounds, so there a result may be off by twice as much. Its time goes with the
number of operations, not of elements, and a program makes them all: so tensors are as small as their layouts allow.
"""

import copy
import sys
from pathlib import Path

import pytest
import test_hinges_native
import test_pieces_native
import test_series_native
import torch
from triton.runtime import interpreter

import slaf
from slaf.bases import basis
from slaf.kernels import dispatch, gpu, moments, raw, series, use
from slaf.kernels.gpu import launch
from slaf.kernels.hinges import hinged

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # of numpy, inside the interpreter
READY = set()
F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16
HALF = {F32: 0.0, BF16: 2**-7, F16: 2**-11}


@pytest.fixture(autouse=True)
def _language_made_ready_once(monkeypatch):
    """The interpreter does so at every call of a helper, half of its time, though the kernel, or a first helper, has had it done."""
    of_triton = interpreter.InterpretedFunction.__call__

    def call(self, *args, **options):
        module = self.fn.__module__
        if module.startswith("slaf.") or module in READY:
            return self.rewrite()(*args, **options)
        READY.add(module)
        return of_triton(self, *args, **options)

    monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", call)


def close(got, exact, dtype, terms):
    """To the rounding of float32 in as many terms, relative to the largest value, and to that of the dtype."""
    size = float(exact.detach().abs().max())
    torch.testing.assert_close(got.double(), exact, rtol=2 * HALF[dtype] + 1e-5, atol=(4e-6 * terms + HALF[dtype] / 8) * size + 1e-7)


# -- values and gradients in every layout ------------------------------------------------------------------------------------------

LAYOUTS = {  # of 2 channels: long rows, short ones, columns, channels last
    "rows": (2, 2, 5, 7),
    "short": (5, 2, 3),
    "columns": (9, 2),
    "channels last": (2, 2, 3, 5),
}


def inputs(layout, dtype):
    x = torch.randn(LAYOUTS[layout])
    return (x.contiguous(memory_format=torch.channels_last) if layout == "channels last" else x).to(dtype)


def made(spec, **options):
    """With coefficients of which none is special."""
    act = slaf.make(spec, **options)
    with torch.no_grad():
        for p in act.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return act


def agree(act, x, exact=None, slack=2e-5):
    """y and all gradients with ``exact``, by default the definition, in float64; the statistics; and y's bits in a second run."""
    wide, w = copy.deepcopy(act).double(), torch.randn(x.shape).to(x.dtype)
    twin, x = x.double().requires_grad_(), x.requires_grad_()
    called, again, function = [], copy.deepcopy(act), gpu.function
    with use("triton"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "function", lambda name: called.append(name) or function(name))
        y = act(x)
        grads = torch.autograd.grad(y, [x, *act.parameters()], w)
        assert torch.equal(again(x.detach()), y)
    assert y.stride() == x.stride() == grads[0].stride()
    assert y.dtype == x.dtype
    with use("reference"):
        value = wide(twin) if exact is None else exact(wide, twin)
    wanted = torch.autograd.grad(value, [twin, *wide.parameters()], w.double())
    slack += 2 * HALF[x.dtype]
    for got, right in zip((y, *grads), (value, *wanted), strict=True):
        torch.testing.assert_close(got.double(), right, rtol=slack, atol=slack / 2 * float(right.detach().abs().max()) + 1e-6)
    for one, other in zip(act.buffers(), wide.buffers(), strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-4, atol=1e-6)
    return set(called)


SERIES = [  # shape of memory, the order that makes x of it, dtype, the channels' dimension, degree, family, whether with a map
    ((3, 2, 35), (0, 1, 2), F32, 1, 5, "power", True),
    ((7, 3), (0, 1), BF16, 1, 15, "chebyshev", False),
    ((3, 5, 2), (2, 0, 1), F16, 2, 3, "chebyshev", True),
    ((40, 2), (1, 0), F32, 0, 2, "power", False),
    ((1,), (0,), F32, None, 1, "chebyshev", True),
]


def series_case(shape, order, dtype, channel, degree, name, mapped):
    torch.manual_seed(degree)
    x = torch.randn(shape).clamp(-1.2, 1.2).to(dtype).permute(order)
    return x, tuple(size if d == channel else 1 for d, size in enumerate(x.shape)), degree, name, mapped


@pytest.mark.parametrize("case", SERIES)
def test_series_and_all_its_gradients(case):
    test_series_native.agrees_with_float64(series_case(*case), "triton", close)


@pytest.mark.parametrize("case", SERIES)
def test_moments_are_means(case):
    x, shape, degree, name, mapped = series_case(*case)
    maps = (0.3 * torch.randn(shape), torch.rand(shape) / 3 + 0.2) if mapped else (None, None)
    wide = (None, None) if maps[0] is None else (maps[0].double(), maps[1].double())
    with use("triton"):
        t = moments(x, degree, shape, *maps, basis(name).recurrence)
    with use("reference"):
        exact = moments(x.double(), degree, shape, *wide, basis(name).recurrence)
    close(t, exact, torch.float32, degree**2)


def in_turn(*specs):
    """Every layout and every entry once."""
    places = list(zip(LAYOUTS, (F32, BF16, F32, F16), strict=True))
    return [(specs[i % len(specs)], *places[i % 4]) for i in range(max(len(specs), 4))]


FAMILIES = [
    *in_turn(
        *(f"rational({m}, {n}, denominator={f})" for m, n, f in ((5, 4, "even"), (3, 2, "per_term"), (2, 3, "joint"), (4, 4, "square")))
    ),
    *in_turn("prelu", "apl(hinges=3)", "apl(hinges=11)"),
    *in_turn("piecewise_linear(knots=12)", "spline(knots=6)", "spline(knots=5, degree=2)", "slaf(basis=bspline, terms=6, input=identity)"),
    *in_turn("slaf(basis=rbf, terms=5, input=identity)", "slaf(basis=rbf, terms=4)", "slaf(basis=rbf, terms=3, share=channel)"),
]


@pytest.mark.parametrize(("spec", "layout", "dtype"), FAMILIES)
def test_elementwise_families_and_all_their_gradients(spec, layout, dtype):
    torch.manual_seed(0)
    called = agree(made(spec, num_channels=2), inputs(layout, dtype), slack=1e-4)
    assert {name.rsplit("_", 1)[1] for name in called} == {"forward", "backward"}


EVONORMS = ("evonorm_b0", "evonorm_b1", "evonorm_b2", "evonorm_s0(groups=1)", "evonorm_s1(groups=2)", "evonorm_s2(groups=1)")


@pytest.mark.parametrize(("spec", "layout", "dtype"), in_turn(*EVONORMS))
def test_layers_that_normalise_and_activate(spec, layout, dtype):
    torch.manual_seed(0)
    called = agree(made(spec, num_channels=2), 1 + inputs(layout, dtype), slack=1e-4)
    assert called == ({"gate_norm_forward", "gate_norm_backward"} if "_s" in spec else {"sample_spreads", "quotient_norm"})


def test_evonorm_in_evaluation_and_far_from_zero():
    torch.manual_seed(0)
    for spec in ("evonorm_b0", "evonorm_s0(groups=1)"):
        act = made(spec, num_channels=2).eval()
        wide, x = copy.deepcopy(act).double(), 1000 + torch.randn(2, 2, 40)
        with use("triton"):
            y = act(x)
        torch.testing.assert_close(y.double(), wide(x.double()), rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize(("size", "dtype"), [(1.0, F32), (1e9, F32), (1.0, BF16)])
def test_polynorm_whatever_the_size(size, dtype):
    torch.manual_seed(0)
    called = agree(made("polynorm"), (size * torch.randn(2, 40)).to(dtype), slack=1e-4)
    assert called == {"moments", "series_forward", "series_backward", "series_input"}


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("spec", ["slaf(basis=power, degree=3, normalize=batch)", "slaf(basis=legendre, degree=4, input=batch)"])
def test_a_normalised_module_in_training(spec, memory):
    torch.manual_seed(0)
    x = torch.randn(3, 2, 6, 6).contiguous(memory_format=memory)
    agree(made(spec, num_channels=2, share="channel"), x, slack=1e-3)


@pytest.mark.parametrize(
    "spec", ["slaf(basis=power, degree=3, input=identity, share={})", "rational(3, 2, share={})", "spline(knots=4, share={})"]
)
@pytest.mark.parametrize("share", ["group", "unit"])
def test_parameters_that_serve_several_channels_or_lie_in_another_order(spec, share):
    torch.manual_seed(0)
    options = {"num_channels": 4, "groups": 2} if share == "group" else {"num_features": (4, 3, 2)}
    act = made(spec.format(share), **options).eval()
    agree(act, torch.randn(2, 4, 3, 2).contiguous(memory_format=torch.channels_last), slack=1e-4)


# -- oracles that are no table and no look-up -----------------------------------------------------------------------------------------


def test_splines_are_truncated_powers_and_beyond_them_lines():
    torch.manual_seed(0)
    act = made("spline(knots=5)", num_channels=4)
    agree(act, 4 * torch.randn(9, 4), exact=test_pieces_native.reference)


def test_hinges_of_any_number_and_any_of_the_lines():
    torch.manual_seed(0)
    x, w = torch.randn(9, 4), torch.randn(9, 4)
    given = {"place": torch.randn(1, 4), "height": torch.randn(1, 1), "slopes": torch.randn(19, 1, 4) / 9, "places": torch.randn(19, 1, 4)}
    found = []
    for mode, wide in (("triton", torch.float32), ("reference", torch.float64)):
        leaf, *own = (t.to(wide).requires_grad_() for t in (x, *given.values()))
        named = dict(zip(given, own, strict=True))
        with use(mode):
            y = hinged(leaf, test_hinges_native.formula, **named) if mode == "triton" else test_hinges_native.formula(leaf, **named)
        found.append((y, *torch.autograd.grad(y, [leaf, *own], w.to(wide))))
    for got, exact in zip(*found, strict=True):
        torch.testing.assert_close(got.double(), exact, rtol=1e-4, atol=1e-5)


# -- what no random case meets ---------------------------------------------------------------------------------------------------


def differences(run, *inputs):
    """The results of Triton's kernels minus those of the definition in float64, NaN where only one of them is; infinities are equal."""
    with use("triton"):
        found = run(*inputs)
    with use("reference"):
        wanted = run(*(t.double() for t in inputs))
    for got, exact in zip(found, wanted, strict=True):
        torch.testing.assert_close(got.double(), exact.float().double(), rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize(("name", "columns"), [("power", True), ("chebyshev", False)])
def test_nan_and_infinity_stay_where_they_are(name, columns):
    torch.manual_seed(0)
    x = torch.randn(40, 5).T if columns else torch.randn(5, 40)
    x[1, 3], x[2, 0], x[4, 39] = float("nan"), float("inf"), -float("inf")

    def run(x, c):
        x, c = x.detach().requires_grad_(), c.detach().requires_grad_()
        y = series(x, c, None, None, basis(name).recurrence)
        return y, *torch.autograd.grad(y.sum(), (x, c))

    differences(run, x, torch.randn(4, 5, 1))


def on_special_values(act, x):
    """y and its slope beside those of the definition in float32."""
    out = []
    for mode in ("triton", "reference"):
        leaf = x.clone().requires_grad_()
        with use(mode):
            y = act(leaf)
            out.append((y, torch.autograd.grad(y.nan_to_num(0, 0, 0).sum(), leaf)[0]))
    for a, b in zip(*out, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5, equal_nan=True)


SPECIAL = torch.tensor([0.0, -0.0, 1e-40, 4.0, -4.0, 1e30, -1e30, torch.nan, torch.inf, -torch.inf])


@pytest.mark.parametrize("spec", ["piecewise_linear(knots=5)", "spline(knots=4)"])
def test_knots_far_inputs_and_what_is_not_finite(spec):
    torch.manual_seed(0)
    act = made(spec)
    knots = act.grid.breakpoints().float()
    around = [torch.nextafter(knots, torch.full_like(knots, side)) for side in (-torch.inf, torch.inf)]
    on_special_values(act, torch.cat([knots, *around, SPECIAL]))


@pytest.mark.parametrize("spec", ["prelu", "apl(hinges=3)"])
def test_kinks_far_inputs_and_what_is_not_finite(spec):
    act = slaf.make(spec)
    if spec != "prelu":
        with torch.no_grad():
            act.slopes.copy_(torch.tensor([[0.5, -0.25, 0.125]]))
            act.places.copy_(torch.tensor([[-1.0, 0.0, 1.5]]))
    on_special_values(act, torch.cat([torch.tensor([-1.0, 1.5]), SPECIAL]))


def test_far_out_gaussians_leave_the_bias():
    act = made("slaf(basis=rbf, terms=4, input=identity, share=layer)")
    x = torch.tensor([1e3, -1e30, torch.inf, -torch.inf, torch.nan], requires_grad=True)
    with use("triton"):
        y = act(x)
        (gx,) = torch.autograd.grad(y[:4].sum(), x)
    torch.testing.assert_close(y[:4], act.coefficients()[1].float().expand(4))
    assert bool(y[4].isnan())
    assert float(gx[:2].abs().max()) < 1e-30


def test_an_element_far_out_leaves_inner_coefficients_their_digits():
    act = slaf.make("spline(knots=16)")
    x = torch.tensor([1e30, -1e30, 0.1, 0.2])
    with use("triton"):
        act(x).sum().backward()
    inner = act.coefficients.grad[0, 6:12]
    wanted = torch.autograd.grad(test_pieces_native.reference(act, x[2:].double()).sum(), act.coefficients)[0][0, 6:12]
    torch.testing.assert_close(inner, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", ["even", "per_term", "joint", "square"])
def test_rational_far_from_zero(form):
    """Where powers of x leave float32, and where x is not finite."""
    act = slaf.make(f"rational(5, 4, denominator={form}, init=identity)", num_channels=1)
    with torch.no_grad():
        act.numerator.copy_(torch.tensor([[0.1, -0.5, 0.3, 0.2, 0.1, 0.4]]))
        act.denominator.copy_(torch.tensor([0.3, -0.2, 0.1, 0.5])[: act.denominator.shape[1]])
    x = torch.tensor([0.0, -0.0, 1e-30, 1e4, -1e4, 1e7, -1e7, float("nan"), float("inf"), -float("inf")])[:, None]
    twin = copy.deepcopy(act).double()

    def run(x):
        x = x.detach().requires_grad_()
        y = (act if x.dtype == torch.float32 else twin)(x)
        return y, *torch.autograd.grad(y.nan_to_num(0, 0, 0).sum(), x)

    differences(run, x)


def test_far_elements_count_in_the_gradients_of_the_coefficients():
    torch.manual_seed(0)
    act = slaf.make("rational(3, 4, init=identity)", num_channels=2)
    with torch.no_grad():
        act.denominator.copy_(torch.tensor([[0.5, 1.0]]).expand(2, 2))
    wide = copy.deepcopy(act).double()
    x = torch.randn(2, 2, 40)
    x[0, 1, ::3] *= 1e12
    with use("triton"):
        found = torch.autograd.grad(act(x).sum(), [*act.parameters()])
    for got, exact in zip(found, torch.autograd.grad(wide(x.double()).sum(), [*wide.parameters()]), strict=True):
        torch.testing.assert_close(got.double(), exact, rtol=1e-4, atol=1e-4)


def test_a_line_has_a_slope_where_the_input_is_not_finite():
    def run(x):
        x, c = x.detach().requires_grad_(), torch.tensor([[[0.5]], [[2.0]]], dtype=x.dtype)
        return torch.autograd.grad(series(x, c, None, None, basis("power").recurrence).sum(), x)

    differences(run, torch.tensor([[1.0, float("inf"), float("nan")]]))


def test_many_tiles_for_a_program_and_a_second_run(monkeypatch):
    monkeypatch.setattr(launch, "PROGRAMS", 1)
    monkeypatch.setattr(launch, "MOST", 3)
    monkeypatch.setattr(launch, "THREADS", 8)
    launch.plan.cache_clear()
    torch.manual_seed(0)
    for n, c, s in ((4, 2, 35), (50, 2, 1), (9, 3, 3)):
        layout = dispatch.Layout(n, c, s, (1,), (c,))
        x, g, coef = torch.randn(n, c, s).clamp(-1, 1), torch.randn(n, c, s), torch.randn(c, 4)
        walk = launch.rows_of(x, layout, 4)
        assert walk.loops > 1
        assert walk.rows > 1
        with use("triton"):
            gx, sums, _ = raw.series_backward(x, g, layout, 0, coef, None, None)
            again = raw.series_backward(x, g, layout, 0, coef, None, None)
        powers = x.double()[..., None] ** torch.arange(4)
        torch.testing.assert_close(sums, (g.double()[..., None] * powers).sum((0, 2)), rtol=1e-5, atol=1e-5)
        assert torch.equal(gx, again[0])
        assert torch.equal(sums, again[1])
    launch.plan.cache_clear()


def test_many_tiles_for_a_program_that_collects_the_sums_of_some_pieces(monkeypatch):
    monkeypatch.setattr(launch, "PROGRAMS", 4)
    monkeypatch.setattr(launch, "THREADS", 8)
    launch.plan.cache_clear()
    torch.manual_seed(0)
    for x in (torch.randn(3, 2, 35), torch.randn(50, 2)):
        layout = dispatch.Layout(len(x), 2, x[0, 0].numel(), (1,), (2,))
        assert launch.rows_of(x, layout, 16, 3).loops > 1
        agree(made("piecewise_linear(knots=19)", num_channels=2), x)
    launch.plan.cache_clear()


def test_offsets_beyond_32_bits_are_taken_in_64(monkeypatch):
    """The same numbers come out when a small tensor is walked over as a huge one is."""
    torch.manual_seed(0)
    narrow = launch.plan
    for n, c, s in ((3, 2, 45), (21, 3, 1)):
        layout = dispatch.Layout(n, c, s, (1,), (c,))
        x, g, coef = torch.randn(n, c, s), torch.randn(n, c, s), torch.randn(c, 4)
        with use("triton"):
            expected = raw.series_backward(x, g, layout, 0, coef, None, None)
            monkeypatch.setattr(launch, "plan", lambda *a: narrow(*a)._replace(wide=True))
            for a, b in zip(raw.series_backward(x, g, layout, 0, coef, None, None)[:2], expected[:2], strict=True):
                assert torch.equal(a, b)
        monkeypatch.setattr(launch, "plan", narrow)


def test_what_the_kernels_do_not_take_is_said():
    power, c = basis("power").recurrence, torch.randn(3, 1)
    assert gpu.interpreted()
    with use("triton"):
        series(torch.randn(4), c, None, None, power)
        with pytest.raises(RuntimeError, match=r"triton kernels cannot take .* its dtype"):
            series(torch.randn(4).double(), c, None, None, power)
    assert series(torch.empty(0, 3), torch.randn(3, 1, 1), None, None, power).shape == (0, 3)


def test_the_benchmark_compares_its_families_here():
    """On all its layouts, and sees that the kernels ran."""
    import gpu as benchmark

    assert benchmark.interpreted(["polynomial 3", "PReLU, ours"]) is None
