"""Piecewise polynomials on the compiled kernels against a dense float64 reference: hats and truncated powers, no table, no look-up."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_checks import ISAS, ROUNDING, agree, needs_native, only_x_is_kept, same_bits, transforms, twice

import slaf
from slaf.kernels import native, use

pytestmark = needs_native


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
    grid = act.grid
    q = (x.float() - grid.center) * (1 / grid.step) + grid.cells / 2
    close = ((q - q.round()).abs() < 1e-4) & (q > -1) & (q < grid.cells + 1)  # of degree 1 there are two slopes there
    at = torch.empty_like(x).copy_(torch.where(close, -7, x))
    agree(act, at, 2e-5, reference)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("spec", ["piecewise_linear(knots=32)", "spline(knots=16)", "spline(knots=17, degree=2)", "spline(knots=90)"])
def test_knots_far_inputs_and_what_is_not_finite(spec, isa):
    native.force_isa(isa)
    torch.manual_seed(0)
    act = slaf.make(spec)
    with torch.no_grad():
        act.coefficients.normal_()
    knots = act.grid.breakpoints().float()
    around = [torch.nextafter(knots, torch.full_like(knots, side)) for side in (-torch.inf, torch.inf)]
    special = torch.tensor([0.0, -0.0, 1e-40, 4.0, -4.0, 1e30, -1e30, torch.inf, -torch.inf, torch.nan])
    x = torch.cat([knots, *around, special])
    out = []
    for mode, module, at in (("native", act, x), ("reference", act, x), ("reference", copy.deepcopy(act).double(), x.double())):
        leaf = at.clone().requires_grad_()
        with use(mode):
            y = module(leaf)
            out.append((y, torch.autograd.grad(y, leaf, torch.ones_like(y))[0]))
    for found, defined, exact in zip(*out, strict=True):
        same = torch.isclose(found, defined, rtol=1e-5, atol=2e-5, equal_nan=True)
        # by a knot the cell is that of rounded operations, and a bend takes the slope of either a little off
        assert (same | ((found - exact).abs() <= (defined - exact).abs())).all()


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
    same_bits(slaf.make(spec, num_channels=shape[1]), torch.randn(shape))


@pytest.mark.parametrize("spec", ["piecewise_linear(knots=9)", "spline(knots=8)"])
def test_second_derivatives_and_transforms(spec):
    torch.manual_seed(0)
    act = slaf.make(spec, num_channels=3)
    with torch.no_grad():
        act.coefficients.normal_()
    x = 2 * torch.randn(6, 3)
    transforms(act, x, twice(act, x))
    torch._dynamo.reset()  # the limit of recompilations counts those of other tests
    compiled = torch.compile(act, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), act(x), rtol=1e-5, atol=1e-6)


def test_only_the_input_is_kept():
    only_x_is_kept(slaf.make("spline(knots=16)", num_channels=8), torch.randn(512, 8, requires_grad=True))
