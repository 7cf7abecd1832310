"""Piecewise polynomials on the compiled kernels against a dense float64 reference: hats and truncated powers, no table, no look-up."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.kernels import native, use

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled kernels are not there")
ROUNDING = {torch.float32: 0.0, torch.bfloat16: 2**-8, torch.float16: 2**-11}
ISAS = [name for name in native.ISAS if native.force_isa(name)] if native.available() else []
native.force_isa(None)


@pytest.fixture(autouse=True)
def _best_again():
    yield
    native.force_isa(None)


def bsplines(x, low, step, count, degree):
    """B_i(x), i < count, by truncated powers: B = Σ_r (-1)^r binom(p + 1, r) (u - r)^p_+ / p!; straight beyond the grid."""
    cells = count - degree
    u = ((x - low) / step)[..., None]

    def dense(v):
        shifted = v - (torch.arange(count, dtype=v.dtype) - degree)
        return sum((-1) ** r * math.comb(degree + 1, r) * torch.relu(shifted - r) ** degree for r in range(degree + 2)) / math.factorial(
            degree
        )

    inside = u.clamp(0, cells)
    ends, h = torch.tensor([0.0, float(cells)], dtype=u.dtype)[:, None], 1e-3
    # a polynomial of degree 3 at most: these differences are exact up to rounding
    inward = torch.tensor([1.0, -1.0], dtype=u.dtype)[:, None] * h
    v = [dense(ends + k * inward) for k in range(4)]
    slopes = (-11 * v[0] + 18 * v[1] - 9 * v[2] + 2 * v[3]) / (6 * inward)
    return dense(inside) + (u - inside) * torch.where(u < 0, slopes[0], slopes[1])


def reference(act, x):
    theta, grid = act.coefficients.double(), act.grid
    basis = bsplines(x, grid.low, grid.step, theta.shape[1], act.degree)
    rows = act.sharing.per_site(theta)
    shape = act.sharing.shape(x, act.sharing.sites) if len(rows) > 1 else (1,) * x.dim()
    return (basis * rows.reshape(*shape, -1)).sum(-1)


@st.composite
def modules(draw):
    degree, knots = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([2, 3, 9, 16, 17, 18, 32, 33, 34, 70]))
    share = draw(st.sampled_from(["channel", "layer", "group", "unit"]))
    shape = draw(st.sampled_from([(1, 6), (37, 6), (3, 6, 5), (2, 6, 7, 5), (2, 6, 1, 1), (2, 6, 33, 31), (1100, 6)]))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    sizes = {"num_channels": 6, "groups": 3} if share == "group" else {"num_channels": 6}
    if share == "unit":
        sizes = {"num_features": shape[1:]}
    act = slaf.make(f"spline(knots={knots}, degree={degree}, low=-2.0, high=3.0, share={share})", **sizes)
    with torch.no_grad():
        act.coefficients.normal_()
    x = 2 * torch.randn(shape) + 0.5
    if len(shape) == 4 and draw(st.booleans()):
        x = x.contiguous(memory_format=torch.channels_last)
    return act, x.to(draw(st.sampled_from(list(ROUNDING)))), draw(st.sampled_from(ISAS))


@settings(deadline=None, max_examples=60)
@given(modules())
def test_values_and_all_gradients(case):
    act, x, isa = case
    native.force_isa(isa)
    wide, w = copy.deepcopy(act).double(), torch.randn(x.shape).to(x.dtype)
    grid = act.grid
    q = (x.float() - grid.center) * (1 / grid.step) + grid.cells / 2
    near = ((q - q.round()).abs() < 1e-4) & (q > -1) & (q < grid.cells + 1)  # of degree 1 there are two slopes there
    x, w = torch.where(near, torch.zeros_like(x) - 7, x), w
    x = x.contiguous(memory_format=torch.channels_last) if case[1].stride() != x.stride() else x
    x, twin = x.requires_grad_(), x.detach().double().requires_grad_()
    with use("native"):
        y = act(x)
        grads = torch.autograd.grad(y, [x, act.coefficients], w)
    assert y.stride() == x.stride() == grads[0].stride()
    assert y.dtype == x.dtype
    exact = reference(wide, twin)
    wanted = torch.autograd.grad(exact, [twin, wide.coefficients], w.double())
    slack = 2 * ROUNDING[x.dtype] + 2e-5
    for got, value in zip((y, *grads), (exact, *wanted), strict=True):
        torch.testing.assert_close(got.double(), value, rtol=slack, atol=slack * float(value.detach().abs().max()) + 1e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("spec", ["piecewise_linear(knots=32)", "spline(knots=16)", "spline(knots=17, degree=2)", "spline(knots=90)"])
def test_knots_far_inputs_and_what_is_not_finite(spec, isa):
    native.force_isa(isa)
    act = slaf.make(spec)
    with torch.no_grad():
        act.coefficients.normal_()
    knots = act.grid.breakpoints().float()
    around = [torch.nextafter(knots, torch.full_like(knots, side)) for side in (-torch.inf, torch.inf)]
    special = torch.tensor([0.0, -0.0, 1e-40, 4.0, -4.0, 1e30, -1e30, torch.inf, -torch.inf, torch.nan])
    x = torch.cat([knots, *around, special])
    out = []
    for mode in ("native", "reference"):
        leaf = x.clone().requires_grad_()
        with use(mode):
            y = act(leaf)
            out.append((y, torch.autograd.grad(y, leaf, torch.ones_like(y))[0]))
    for a, b in zip(*out, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_an_element_far_out_leaves_inner_coefficients_their_digits():
    act = slaf.make("spline(knots=16)")
    x = torch.tensor([1e30, -1e30, 0.1, 0.2])
    with use("native"):
        act(x).sum().backward()
    inner = act.coefficients.grad[0, 6:12]
    wanted = torch.autograd.grad(reference(act, x[2:].double()).sum(), act.coefficients)[0][0, 6:12]
    torch.testing.assert_close(inner, wanted, rtol=1e-5, atol=1e-6)


def test_what_is_not_finite_stays_in_its_channel():
    act = slaf.make("spline(knots=16)", num_channels=3)
    x = torch.randn(40, 3)
    x[3, 1] = torch.nan
    with use("native"):
        act(x).sum().backward()
    assert act.coefficients.grad.isfinite().all(1).tolist() == [True, False, True]


@pytest.mark.parametrize("shape", [(64, 24, 40, 40), (9000, 40), (300, 40, 9)])
@pytest.mark.parametrize("spec", ["piecewise_linear(knots=32)", "spline(knots=16)"])
def test_the_same_bits_whatever_the_threads(spec, shape):
    act = slaf.make(spec, num_channels=shape[1])
    x, w, before = torch.randn(shape, requires_grad=True), torch.randn(shape), torch.get_num_threads()
    out = []
    try:
        for threads in (1, 2, 3, 1):
            torch.set_num_threads(threads)
            with use("native"):
                y = act(x)
                out.append((y, *torch.autograd.grad(y, [x, act.coefficients], w)))
    finally:
        torch.set_num_threads(before)
    for other in out[1:]:
        assert all(torch.equal(a, b) for a, b in zip(out[0], other, strict=True))


@pytest.mark.parametrize("spec", ["piecewise_linear(knots=9)", "spline(knots=8)"])
def test_second_derivatives_and_transforms(spec):
    torch.manual_seed(0)
    act = slaf.make(spec, num_channels=3)
    with torch.no_grad():
        act.coefficients.normal_()
    wide, x = copy.deepcopy(act).double(), 2 * torch.randn(6, 3)
    found = []
    for module, leaf in ((act, x.clone().requires_grad_()), (wide, x.double().requires_grad_())):
        inputs = [leaf, module.coefficients]
        first = torch.autograd.grad(module(leaf).sin().sum(), inputs, create_graph=True)
        found.append([*first, *torch.autograd.grad(sum(f.square().sum() for f in first), inputs)])
    for got, exact in zip(*found, strict=True):
        torch.testing.assert_close(got.double(), exact, rtol=1e-3, atol=1e-5 * float(exact.detach().abs().max()))
    slope = wide.derivative(x.double())
    torch.testing.assert_close(torch.func.jvp(act, (x,), (torch.ones_like(x),))[1].double(), slope, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.func.vmap(lambda v: act(v[None])[0])(x), act(x), rtol=1e-5, atol=1e-6)
    torch._dynamo.reset()  # the limit of recompilations counts those of other tests
    compiled = torch.compile(act, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), act(x), rtol=1e-5, atol=1e-6)


def test_only_the_input_is_kept():
    kept = []
    act = slaf.make("spline(knots=16)", num_channels=8)
    x = torch.randn(512, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t), use("native"):
        act(x)
    assert sum(kept) <= 1.05 * x.numel()
