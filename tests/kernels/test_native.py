"""The compiled kernels against float64 in numpy: every function, family, form, dtype, layout and instruction set of this machine."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slaf.kernels import native

pytestmark = pytest.mark.skipif(not native.available(), reason=f"no compiled kernels: {native.reason()}")

DTYPES = {0: torch.float32, 1: torch.bfloat16, 2: torch.float16}
EPS = {0: 1.2e-7, 1: 2.0**-8, 2: 2.0**-11}


def _call(name, *arguments):
    assert getattr(native.entries, name)(*(a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments))


@st.composite
def cases(draw):
    """(rng, n, c, s, dtype code, family, degree, center, rscale, threads); seldom more than 1e5 elements."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    c = draw(st.sampled_from([1, 2, 3, 7, 16, 17, 40, 64, 300]))
    s = draw(st.sampled_from([1, 1, 2, 5, 9, 31, 32, 33, 49, 100, 1025, 2500]))
    n = draw(st.integers(1, max(1, min(150, 100_000 // (c * s)))))
    code = draw(st.sampled_from([0, 0, 1, 2]))
    center = rng.normal(0, 0.1, c).astype(np.float32) if draw(st.booleans()) else None
    rscale = rng.uniform(0.6, 1, c).astype(np.float32) if draw(st.booleans()) else None
    return rng, n, c, s, code, draw(st.integers(0, 1)), draw(st.integers(0, 15)), center, rscale, draw(st.integers(1, 4))


def _terms(u, count, family):
    """φ_0 … φ_count, and their derivatives."""
    phi, slope = [np.ones_like(u), u], [np.zeros_like(u), np.ones_like(u)]
    while len(phi) <= count:
        j = len(phi)
        phi.append(phi[-1] * u if family == 0 else 2 * u * phi[-1] - phi[-2])
        slope.append(j * phi[j - 1] if family == 0 else 2 * phi[j - 1] + 2 * u * slope[-1] - slope[-2])
    return np.stack(phi[: count + 1]), np.stack(slope[: count + 1])


def _standardised(x, center, rscale):
    u = x.double().numpy()
    u = u if center is None else u - center.astype(float)[:, None]
    return u if rscale is None else u * rscale.astype(float)[:, None]


def _data(rng, n, c, s, code, bound=1.2):
    x = torch.from_numpy(rng.uniform(-bound, bound, (n, c, s))).to(DTYPES[code])
    return x, torch.from_numpy(rng.standard_normal((n, c, s))).to(DTYPES[code])


def _close(got, want, scale, code, steps):
    """|got - want| within ``steps`` roundings of ``scale`` in float32 and one of the result in the dtype."""
    got = got.double().numpy() if isinstance(got, torch.Tensor) else got
    with np.errstate(invalid="ignore"):
        got = np.where((code == 2) & np.isinf(got) & (np.abs(want) > 65_000), want, got)  # beyond float16
    excess = np.abs(got - want) - (steps * 1.2e-7 * scale + (EPS[code] * np.abs(want) + 6e-8 if code else 0))
    assert np.all(excess <= 1e-30), f"off by {excess.max():g} more than allowed"


def _roundings(degree, family):
    """Of φ up to ``degree``. That of u counts with the slope, which for Chebyshev's at the ends of the domain is the degree squared."""
    return 8 + 4 * degree + family * degree**2


def _run_series(case):
    rng, n, c, s, code, family, degree, center, rscale, threads = case
    x, g = _data(rng, n, c, s, code)
    coef = rng.standard_normal((c, degree + 1)).astype(np.float32)
    y, gx = torch.full_like(x, torch.nan), torch.full_like(x, torch.nan)
    gcoef, gu, guu = np.full((c, degree + 1), np.nan), np.full(c, np.nan), np.full(c, np.nan)
    common = (code, n, c, s, family, degree, coef, center, rscale)
    _call("series_forward", x, y, *common, threads)
    _call("series_backward", x, g, gx, *common, gcoef, gu, guu, threads)
    return x, g, coef, y, gx, gcoef, gu, guu


@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_series_and_its_gradients(case):
    _, _, _, _, code, family, degree, center, rscale, _ = case
    x, g, coef, y, gx, gcoef, gu, guu = _run_series(case)
    u, weight, r = _standardised(x, center, rscale), g.double().numpy(), 1 if rscale is None else rscale.astype(float)[:, None]
    phi, slope = _terms(u, degree, family)
    c64 = coef.astype(float)
    bound, _ = _terms(np.maximum(np.abs(u), 1), degree, family)  # grows as the rounding of the recurrence does
    size = np.einsum("jncs,cj->ncs", bound, np.abs(c64))
    _close(y, np.einsum("jncs,cj->ncs", phi, c64), size, code, _roundings(degree, family))
    p1 = np.einsum("jncs,cj->ncs", slope, c64)
    steep = np.abs(weight) * size * (1 + degree) ** 2
    _close(gx, weight * p1 * r, steep, code, 8 + 4 * degree)
    sums = np.einsum("ncs,jncs->cj", np.abs(weight), bound)
    _close(gcoef, np.einsum("ncs,jncs->cj", weight, phi), sums, 0, _roundings(degree, family))
    total = steep.sum((0, 2))
    _close(gu, (weight * p1).sum((0, 2)), total, 0, 16 + 4 * degree)
    _close(guu, (weight * p1 * u).sum((0, 2)), 1.5 * total, 0, 16 + 4 * degree)


@settings(max_examples=100, deadline=None)
@given(case=cases(), full=st.booleans(), other=st.integers(0, 29))
def test_input_gradient_of_a_normalised_series(case, full, other):
    rng, n, c, s, code, family, degree, center, rscale, threads = case
    degree_q = max(2 * degree - 1, 0) if full else other
    x, g = _data(rng, n, c, s, code, bound=1.0)
    coef, q = (rng.standard_normal((c, d + 1)).astype(np.float32) for d in (degree, degree_q))
    gx = torch.full_like(x, torch.nan)
    _call("series_backward_input", x, g, gx, code, n, c, s, family, degree, coef, degree_q, q, center, rscale, threads)
    u, weight, r = _standardised(x, center, rscale), g.double().numpy(), 1 if rscale is None else rscale.astype(float)[:, None]
    top = max(degree, degree_q)
    phi, slope = _terms(u, top, family)
    bound, _ = _terms(np.maximum(np.abs(u), 1), top, family)
    want = weight * np.einsum("jncs,cj->ncs", slope[: degree + 1], coef.astype(float)) * r
    want += np.einsum("jncs,cj->ncs", phi[: degree_q + 1], q.astype(float))
    size = np.abs(weight) * np.einsum("jncs,cj->ncs", bound[: degree + 1], np.abs(coef)) * (1 + degree) ** 2
    size += np.einsum("jncs,cj->ncs", bound[: degree_q + 1], np.abs(q))
    _close(gx, want, size, code, 16 + 4 * top)


@settings(max_examples=100, deadline=None)
@given(case=cases(), count=st.integers(1, 30))
def test_moments(case, count):
    rng, n, c, s, code, family, _, center, rscale, threads = case
    x, _ = _data(rng, n, c, s, code)
    t = np.full((c, count), np.nan)
    _call("moments", x, code, n, c, s, family, count, center, rscale, t, threads)
    u = _standardised(x, center, rscale)
    phi, _ = _terms(u, count, family)
    bound, _ = _terms(np.maximum(np.abs(u), 1), count, family)
    _close(t, phi[1:].sum((1, 3)).T, bound[1:].sum((1, 3)).T, 0, _roundings(count, family))


def _rational(x, num, den, form):
    """y and its parts in torch, which differentiates it."""
    p = sum(num[:, j, None] * x**j for j in range(num.shape[1]))
    magnitude = torch.where(den >= 0, den, -den)
    count = den.shape[1]
    if form < 2:
        base = x * x if form == 0 else x.abs()
        return p / (1 + sum(magnitude[:, k, None] * base ** (k + 1) for k in range(count)))
    inner = sum(den[:, k, None] * x ** (k + 1) for k in range(count)) + 0 * x
    return p / (1 + (torch.where(inner >= 0, inner, -inner) if form == 2 else inner**2))


@settings(max_examples=150, deadline=None)
@given(case=cases(), form=st.integers(0, 3), degrees=st.one_of(st.just((5, 4)), st.tuples(st.integers(0, 10), st.integers(0, 10))))
def test_rational_and_its_gradients(case, form, degrees):
    rng, n, c, s, code, _, _, _, _, threads = case
    m, d = degrees[0], degrees[1] // 2 * 2 if form in (0, 3) else degrees[1]
    count = d // 2 if form in (0, 3) else d
    x, g = _data(rng, n, c, s, code, bound=2.0)
    num, den = rng.standard_normal((c, m + 1)).astype(np.float32), (rng.standard_normal((c, count)) * 0.5).astype(np.float32)
    den[rng.uniform(size=den.shape) < 0.2] = 0
    if form == 2 and count:  # on a kink of |Σ b x^k| the sign, and with it the gradient, is a matter of rounding
        terms = [den[:, k, None] * x.double().numpy() ** (k + 1) for k in range(count)]
        g[torch.from_numpy(np.abs(sum(terms)) < 1e-5 * sum(map(np.abs, terms)))] = 0
    y, gx, gnum, gden = torch.full_like(x, torch.nan), torch.full_like(x, torch.nan), np.full(num.shape, np.nan), np.full(den.shape, np.nan)
    common = (code, n, c, s, form, m, d, num, den)
    _call("rational_forward", x, y, *common, threads)
    _call("rational_backward", x, g, gx, *common, gnum, gden, threads)
    x64, num64, den64 = x.double().requires_grad_(), torch.from_numpy(num).double().requires_grad_(), torch.from_numpy(den).double()
    den64.requires_grad_()
    want = _rational(x64, num64, den64, form)
    wants = torch.autograd.grad(want, (x64, num64, den64), g.double(), allow_unused=True)
    size = sum(num64.detach().abs()[:, j, None] * x64.detach().abs() ** j for j in range(m + 1)).numpy()
    inner = 1 + sum(den64.detach().abs()[:, k, None] * x64.detach().abs() ** ((k + 1) * (2 if form == 0 else 1)) for k in range(count))
    inner = np.asarray(inner) ** (2 if form == 3 else 1)  # what cancels inside Q
    _close(y, want.detach().numpy(), size * inner, code, 60)
    steep = np.abs(g.double().numpy()) * (size * inner + 1) * inner * (m + d + 1) * np.maximum(np.abs(x.double().numpy()), 1)
    _close(gx, wants[0].numpy() if wants[0] is not None else 0 * x64.detach().numpy(), steep, code, 120)
    powers = np.maximum(np.abs(x.double().numpy()), 1) ** max(m, d)
    total = (steep * inner * powers).sum((0, 2))[:, None]
    _close(gnum, wants[1].numpy(), total, 0, 60)
    if count:
        _close(gden, wants[2].numpy(), total, 0, 120)


@pytest.mark.parametrize("form", range(4))
@pytest.mark.parametrize("shape", [(3, 2, 40), (9, 20, 1)])
def test_far_inputs_overflow_only_where_the_quotient_does(form, shape):
    n, c, s = shape
    x = torch.full(shape, 0.5)
    x[1, 1, 0], x[2, 0, 0] = 1e30, -3e20
    num = np.tile(np.float32([0.1, 0.2, 0.3, -0.1, 0.5, 0.7]), (c, 1))
    den = np.tile(np.float32([0.5, 0.25, 0.125, 0.3][: 2 if form in (0, 3) else 4]), (c, 1))
    y, g, gx = torch.empty_like(x), torch.ones_like(x), torch.empty_like(x)
    gnum, gden = np.empty((c, 6)), np.empty(den.shape)
    common = (0, n, c, s, form, 5, 4, num, den)
    _call("rational_forward", x, y, *common, 1)
    _call("rational_backward", x, g, gx, *common, gnum, gden, 1)
    x64 = x.double().requires_grad_()
    want = _rational(x64, torch.from_numpy(num).double(), torch.from_numpy(den).double(), form)
    (slope,) = torch.autograd.grad(want.sum(), x64)
    assert torch.isfinite(y).all()
    torch.testing.assert_close(y.double(), want.detach(), rtol=2e-6, atol=0)
    torch.testing.assert_close(gx.double(), slope, rtol=1e-5, atol=0)
    assert np.isfinite(gnum).all()
    assert np.isfinite(gden).all()


@pytest.mark.parametrize("code", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 70), (37, 20, 1), (5, 6, 9)])
def test_nan_and_infinity_stay_where_they_are(code, shape):
    n, c, s = shape
    x = torch.linspace(-1, 1, n * c * s).reshape(shape).to(DTYPES[code])
    x[0, 1, 0], x[1, 2, s // 2] = torch.inf, torch.nan
    coef = np.tile(np.float32([0.5, -1, 2, 0.25]), (c, 1))
    y, g, gx, gcoef = torch.empty_like(x), torch.ones_like(x), torch.empty_like(x), np.empty((c, 4))
    _call("series_forward", x, y, code, n, c, s, 0, 3, coef, None, None, 1)
    _call("series_backward", x, g, gx, code, n, c, s, 0, 3, coef, None, None, gcoef, None, None, 1)
    assert torch.equal(torch.isnan(y), torch.isnan(x))
    assert torch.equal(torch.isinf(y), torch.isinf(x))
    assert torch.equal(torch.isnan(gx), torch.isnan(x))
    rows = [bool(torch.isfinite(x[:, k]).all()) for k in range(c)]
    assert np.isfinite(gcoef).all(1).tolist() == rows
    assert gcoef[1, 0] == pytest.approx(n * s)
    assert np.isposinf(gcoef[1, 1:]).all()


@pytest.mark.parametrize("isa", native.ISAS)
@pytest.mark.parametrize("family", native.FAMILIES.values())
@pytest.mark.parametrize(("n", "c", "s"), [(1, 1, 37), (2, 3, 33), (20, 17, 1)])
def test_the_definition_holds_where_x_is_not_finite(isa, family, n, c, s):
    """c₀ + 0·u is no number there, which compilers like to forget; the slope of a line is a number everywhere."""
    if not native.force_isa(isa):
        pytest.skip(f"this machine has no {isa}")
    try:
        x = torch.arange(n * c * s, dtype=torch.float32).reshape(n, c, s)
        x.view(-1)[::5], x.view(-1)[1::5] = math.nan, math.inf
        for degree in (0, 1):
            y, gx, coef = torch.empty_like(x), torch.empty_like(x), np.full((c, degree + 1), 2, np.float32)
            common = (0, n, c, s, family, degree, coef, None, None)
            _call("series_forward", x, y, *common, 1)
            _call("series_backward", x, torch.ones_like(x), gx, *common, None, None, None, 1)
            torch.testing.assert_close(y, 2 + 2 * x if degree else 2 + 0 * x, equal_nan=True)
            assert (gx == 2 * degree).all()
    finally:
        native.force_isa(None)


@pytest.mark.parametrize("isa", native.ISAS)
@pytest.mark.parametrize("shape", [(1, 1, 65536), (16, 64, 64), (256, 256, 1), (15, 17, 257), (257, 255, 1)], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_converted_as_torch_does(dtype, shape, isa):
    """Every bit pattern, in order and mixed: the identity, and the rounding of x + 1/3, 3x, x/10000 and of products with it."""
    if not native.force_isa(isa):
        pytest.skip(f"this machine has no {isa}")
    try:
        code = {v: k for k, v in DTYPES.items()}[dtype]
        patterns = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
        for order in (torch.arange(2**16), torch.randperm(2**16, generator=torch.Generator().manual_seed(0))):
            x = patterns[order][: math.prod(shape)].reshape(shape)
            for low, high in ([0.0, 1.0], [1 / 3, 1.0], [0.0, 3.0], [0.0, 1e-4]):
                coef, y, gx = np.float32([[low, high]] * shape[1]), torch.empty_like(x), torch.empty_like(x)
                _call("series_forward", x, y, code, *shape, 0, 1, coef, None, None, 1)
                _call("series_backward", torch.ones_like(x), x, gx, code, *shape, 0, 1, coef, None, None, None, None, None, 1)
                want = torch.addcmul(torch.tensor(low), torch.tensor(high), x.float()).to(dtype)
                torch.testing.assert_close(y, want, rtol=0, atol=0, equal_nan=True)
                torch.testing.assert_close(gx, (high * x.float()).to(dtype), rtol=0, atol=0, equal_nan=True)
    finally:
        native.force_isa(None)


@pytest.mark.parametrize("shape", [(6, 64, 1024), (3, 5, 70_001), (5000, 72, 1), (700, 30, 9), (1, 1, 300_001)])
@pytest.mark.parametrize("code", [0, 1])
def test_bitwise_equal_from_run_to_run_and_for_any_number_of_threads(shape, code):
    results = []
    for threads in (1, 1, 2, 3, 4):
        case = (np.random.default_rng(0), *shape, code, 0, 5, None, None, threads)
        results.append([np.asarray(r.view(torch.uint8)) if isinstance(r, torch.Tensor) else r for r in _run_series(case)])
        moments = np.empty((shape[1], 10))
        x = torch.from_numpy(results[0][0]).view(DTYPES[code])
        _call("moments", x, code, *shape, 0, 10, None, None, moments, threads)
        results[-1].append(moments)
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("isa", native.ISAS)
@settings(max_examples=40, deadline=None)
@given(case=cases(), count=st.integers(1, 30), form=st.integers(0, 3), degrees=st.tuples(st.integers(0, 10), st.integers(0, 10)))
def test_every_instruction_set(isa, case, count, form, degrees):
    if not native.force_isa(isa):
        pytest.skip(f"this machine has no {isa}")
    try:
        assert native.isa() == isa
        test_series_and_its_gradients.hypothesis.inner_test(case)
        test_input_gradient_of_a_normalised_series.hypothesis.inner_test(case, True, 0)
        test_moments.hypothesis.inner_test(case, count)
        test_rational_and_its_gradients.hypothesis.inner_test(case, form, degrees)
    finally:
        native.force_isa(None)


def test_sums_alone_and_input_gradient_alone():
    case = (np.random.default_rng(2), 40, 20, 1, 0, 0, 5, None, None, 1)
    x, g, coef, _, gx, gcoef, _, _ = _run_series(case)
    alone, gx_alone = np.empty_like(gcoef), torch.empty_like(gx)
    _call("series_backward", x, g, None, 0, 40, 20, 1, 0, 5, coef, None, None, alone, None, None, 1)
    _call("series_backward", x, g, gx_alone, 0, 40, 20, 1, 0, 5, coef, None, None, None, None, None, 1)
    np.testing.assert_allclose(alone, gcoef, rtol=1e-5, atol=1e-6)
    assert torch.equal(gx_alone, gx)


@pytest.mark.parametrize(
    "change", [{"dtype": 3}, {"n": 0}, {"c": -1}, {"s": 0}, {"family": 2}, {"degree": 16}, {"degree": -1}, {"threads": 0}, {"x": None}]
)
def test_arguments_out_of_range_are_refused(change):
    x = torch.ones(2, 2, 2)
    y, coef = torch.empty_like(x), np.ones((2, 2), np.float32)
    arguments = {"x": x, "y": y, "dtype": 0, "n": 2, "c": 2, "s": 2, "family": 0, "degree": 1, "coef": coef, "center": None, "rscale": None}
    arguments |= {"threads": 1} | change
    with pytest.raises(RuntimeError, match="series_forward refused its arguments"):
        _call("series_forward", *arguments.values())


def test_what_a_kernel_cannot_take_is_refused_before_it_runs():
    x, t = torch.ones(4), torch.empty(1, dtype=torch.float64)
    arguments = [x, 0, 1, 1, 4, 0, 1, None, None, t, 1]
    assert native.entries.moments(*arguments)
    assert t == 4
    for at, wrong, error in [(1, 0.0, TypeError), (1, 1 << 31, OverflowError), (2, 1 << 63, OverflowError), (0, "x", AttributeError)]:
        with pytest.raises(error):
            native.entries.moments(*arguments[:at], wrong, *arguments[at + 1 :])
    for wrong in (arguments[:-1], [*arguments, 1], []):
        with pytest.raises(TypeError, match=f"takes 11 arguments, not {len(wrong)}"):
            native.entries.moments(*wrong)
    with pytest.raises(RuntimeError, match="no kernel nothing"):
        native.entries.nothing()


def test_the_floating_point_mode_of_the_process_is_left_alone():
    _run_series((np.random.default_rng(0), 4, 64, 1024, 0, 0, 5, None, None, 2))
    tiny = np.float32(1e-40)  # subnormal
    assert tiny * np.float32(1.0) == tiny
    assert float(torch.tensor(1e-40) * 1.0) != 0
