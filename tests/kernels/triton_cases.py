"""The Triton kernels against the definition in float64, on CPU tensors. ``test_triton.py`` runs this file under Triton's interpreter.

The interpreter cuts a float32 to bfloat16 where a GPU rounds, so there a result may be off by twice as much.
"""

import copy

import pytest
import test_rational_native
import test_series_native
import torch
from hypothesis import HealthCheck, given, settings

import slaf
from slaf.bases import basis
from slaf.kernels import dispatch, gpu, moments, raw, series, use
from slaf.kernels.gpu import launch

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # of numpy, inside the interpreter
few = settings(deadline=None, max_examples=7, suppress_health_check=list(HealthCheck))
HALF = {torch.float32: 0.0, torch.bfloat16: 2**-7, torch.float16: 2**-11}


def close(got, exact, dtype, terms):
    """To the rounding of float32 in as many terms, relative to the largest value, and to that of the dtype."""
    size = float(exact.detach().abs().max())
    torch.testing.assert_close(got.double(), exact, rtol=2 * HALF[dtype] + 1e-5, atol=(4e-6 * terms + HALF[dtype] / 8) * size + 1e-7)


@few
@given(test_series_native.cases())
def test_series_and_all_its_gradients(case):
    test_series_native.agrees_with_float64(case, "triton", close)


@few
@given(test_series_native.cases())
def test_moments_are_means(case):
    x, shape, degree, name, mapped = case
    maps = (0.3 * torch.randn(shape), torch.rand(shape) / 3 + 0.2) if mapped else (None, None)
    wide = (None, None) if maps[0] is None else (maps[0].double(), maps[1].double())
    with use("triton"):
        t = moments(x, degree, shape, *maps, basis(name).recurrence)
    with use("reference"):
        exact = moments(x.double(), degree, shape, *wide, basis(name).recurrence)
    close(t, exact, torch.float32, degree**2)


@few
@given(test_rational_native.modules())
def test_rational_and_all_its_gradients(case):
    act, x = case
    wide, w = copy.deepcopy(act).double(), torch.randn(x.shape).to(x.dtype)
    x, twin = x.requires_grad_(), x.detach().double().requires_grad_()
    with use("triton"):
        y = act(x)
        grads = torch.autograd.grad(y, [x, *act.parameters()], w)
    assert y.stride() == x.stride() == grads[0].stride()
    exact = wide(twin)
    wanted = torch.autograd.grad(exact, [twin, *wide.parameters()], w.double())
    slack = 2 * HALF[x.dtype] + 1e-4
    for got, value in zip((y, *grads), (exact, *wanted), strict=True):
        torch.testing.assert_close(got.double(), value, rtol=slack, atol=slack / 2 * float(value.detach().abs().max()) + 1e-6)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("spec", ["slaf(basis=power, degree=3, normalize=batch)", "slaf(basis=legendre, degree=4, input=batch)"])
def test_a_normalised_module_in_training(spec, memory):
    torch.manual_seed(0)
    act = slaf.make(spec, num_channels=3, share="channel")
    wide = copy.deepcopy(act).double()
    x = torch.randn(8, 3, 6, 6).contiguous(memory_format=memory).requires_grad_()
    twin, w = x.detach().double().requires_grad_(), torch.randn(x.shape)
    with use("triton"):
        y = act(x)
        grads = torch.autograd.grad(y, [x, *act.parameters()], w)
    exact = wide(twin)
    for got, wanted in zip((y, *grads), (exact, *torch.autograd.grad(exact, [twin, *wide.parameters()], w.double())), strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-3, atol=2e-5 * float(wanted.detach().abs().max()) + 1e-6)
    for one, other in zip(act.buffers(), wide.buffers(), strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("spec", ["slaf(basis=power, degree=3, input=identity, share={})", "rational(3, 2, share={})"])
@pytest.mark.parametrize("share", ["group", "unit"])
def test_parameters_that_serve_several_channels_or_lie_in_another_order(spec, share):
    torch.manual_seed(0)
    options = {"num_channels": 4, "groups": 2} if share == "group" else {"num_features": (4, 3, 5)}
    act = slaf.make(spec.format(share), **options).eval()
    with torch.no_grad():
        for p in act.parameters():
            p.add_(0.1 * torch.randn_like(p))
    wide = copy.deepcopy(act).double()
    x = torch.randn(2, 4, 3, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    twin, w = x.detach().double().requires_grad_(), torch.randn(x.shape)
    with use("triton"):
        found = torch.autograd.grad(act(x), [x, *act.parameters()], w)
    for got, exact in zip(found, torch.autograd.grad(wide(twin), [twin, *wide.parameters()], w.double()), strict=True):
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


@pytest.mark.parametrize("name", ["power", "chebyshev"])
@pytest.mark.parametrize("columns", [False, True])
def test_nan_and_infinity_stay_where_they_are(name, columns):
    torch.manual_seed(0)
    x = torch.randn(40, 5).T if columns else torch.randn(5, 40)
    x[1, 3], x[2, 0], x[4, 39] = float("nan"), float("inf"), -float("inf")

    def run(x, c):
        x, c = x.detach().requires_grad_(), c.detach().requires_grad_()
        y = series(x, c, None, None, basis(name).recurrence)
        return y, *torch.autograd.grad(y.sum(), (x, c))

    differences(run, x, torch.randn(4, 5, 1))


@pytest.mark.parametrize("form", ["even", "per_term", "joint", "square"])
def test_rational_far_from_zero(form):
    """Where powers of x leave float32, and where x is not finite."""
    act = slaf.make(f"rational(5, 4, denominator={form}, init=identity)", num_channels=1)
    with torch.no_grad():
        act.numerator.copy_(torch.tensor([[0.1, -0.5, 0.3, 0.2, 0.1, 0.4]]))
        act.denominator.copy_(torch.tensor([0.3, -0.2, 0.1, 0.5])[: act.denominator.shape[1]])
    x = torch.tensor([0.0, -0.0, 1e-30, 1e4, -1e4, 1e7, -1e7, float("nan"), float("inf"), -float("inf")] * 7)[:, None]
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
    monkeypatch.setattr(launch, "PROGRAMS", 2)
    monkeypatch.setattr(launch, "MOST", 3)
    monkeypatch.setattr(launch, "THREADS", 8)
    launch.plan.cache_clear()
    torch.manual_seed(0)
    for n, c, s in ((7, 2, 45), (41, 3, 1), (29, 5, 3)):
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
