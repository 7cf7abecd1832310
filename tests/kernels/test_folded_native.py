"""Folded forms on the compiled kernels: the piece, the code, the proven bound, the definition's gradients, and what is made only once."""

import copy
import gc
import io
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_checks import ISAS, laid, needs_native, only_x_is_kept, same_bits, twice

import slaf
from slaf.core import Sharing
from slaf.fit import fold
from slaf.fit.folded import FoldedPieces
from slaf.fit.tables import FoldedTable
from slaf.kernels import folded as kernel
from slaf.kernels import native, use
from slaf.surgery.folded_per_channel import per_channel

pytestmark = needs_native
INF = float("inf")


def with_neighbours(x):
    """``x`` and the float32 numbers beside."""
    x = np.asarray(x, np.float32)
    return np.concatenate([x, np.nextafter(x, np.float32(INF)), np.nextafter(x, np.float32(-INF))])


def step(act, x, mode, g=None):
    x = x.detach().requires_grad_()
    with use(mode):
        y = act(x)
        return y.detach(), torch.autograd.grad(y, x, torch.ones_like(y) if g is None else g)[0]


# -- which piece ---------------------------------------------------------------------------------------------------------------------------


def numbered(breaks, outside):
    """Piece i has the value i."""
    count = len(breaks) - 1
    coefficients = torch.stack([torch.arange(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)], 1)
    common = "numbers", (float(breaks[0]), float(breaks[-1])), outside, (0.0, 0.0)
    return FoldedPieces(common, torch.from_numpy(breaks), torch.zeros(count), coefficients)


@st.composite
def break_points(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.sampled_from([0, 1, 2, 7, 15, 16, 31, 32, 63, 64, 127, 128, 200, 1000]))
    low, high = draw(st.sampled_from([(-4.0, 4.0), (0.0, 1.0), (-1e-38, 1e-38), (-3e38, 3e38), (1.0, 1.0001), (-8.0, 0.5)]))
    kind = draw(st.sampled_from(["even", "crowded", "neighbours", "twice"]))
    at = rng.random(count) ** (8 if kind == "crowded" else 1) * (np.float64(high) - low) + low
    at = at.astype(np.float32)
    if kind == "neighbours":
        for i in range(1, min(count, 40)):
            at[i] = np.nextafter(at[i - 1], np.float32(high))
    if kind == "twice":
        at[::2] = at[: len(at[::2])]
    low, high = np.float32(low), np.float32(high)
    return np.concatenate([[low], np.sort(at.clip(low, high)), [high]]).astype(np.float32)


@settings(deadline=None, max_examples=150)
@given(break_points(), st.sampled_from(["clamp", "extrapolate"]), st.sampled_from(ISAS), st.integers(0, 2**31))
def test_the_piece_is_the_one_right_of_the_last_break_that_x_reaches(breaks, outside, isa, seed):
    native.force_isa(isa)
    act = numbered(breaks, outside)
    far = [0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, *([INF, -INF] if outside == "clamp" else [])]
    between = np.random.default_rng(seed).uniform(0, 1, 500) * (np.float64(breaks[-1]) - breaks[0]) + breaks[0]
    x = np.concatenate([with_neighbours(breaks), between.astype(np.float32), np.float32(far)])
    inner = x.clip(breaks[0], breaks[-1]) if outside == "clamp" else x
    with use("native"):
        y = act(torch.from_numpy(x))
    np.testing.assert_array_equal(y.numpy(), np.searchsorted(breaks[1:-1], inner, side="right"))


@pytest.mark.parametrize("count", [5, 30, 100, 400])
def test_what_is_not_a_number_is_right_of_all_breaks(count):
    """Beyond the ends a line has a slope everywhere, so in its gradient the piece shows."""
    act = numbered(np.linspace(-1, 1, count + 1, dtype=np.float32), "extrapolate")
    act.coefficients[1] = torch.arange(count) + 1.0
    for isa in ISAS:
        native.force_isa(isa)
        assert step(act, torch.tensor([torch.nan, INF, -INF]), "native")[1].tolist() == [count, count, 1.0]


# -- the proven bound ----------------------------------------------------------------------------------------------------------------------


BOUNDED = [
    ("gelu", "piecewise_linear", {}), ("silu", "piecewise_linear", {"pieces": 100}), ("tanh", "piecewise_linear", {"pieces": 300}),
    ("silu", "piecewise_polynomial", {}), ("mish", "piecewise_polynomial", {"degree": 2, "pieces": 25}),
    ("hardshrink", "piecewise_polynomial", {"degree": 1}), ("gelu", "piecewise_polynomial", {"degree": 6}),
    ("gelu", "polynomial", {}), ("silu", "polynomial", {"degree": 17}), ("tanh", "int8", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "to", "options"), BOUNDED)
def test_the_proven_bound_holds_of_the_kernel(name, to, options):
    pytest.importorskip("scipy")
    act = fold(name, to, (-5.0, 4.0), **options)
    marks = act._joints().numpy()
    x = torch.from_numpy(np.concatenate([np.linspace(-5, 4, 200_001, dtype=np.float32), with_neighbours(marks)]).clip(-5, 4))
    wanted = slaf.make(name).double()(x.double())
    for isa in ISAS:
        native.force_isa(isa)
        with use("native"), torch.no_grad():
            assert float((act(x).double() - wanted).abs().max()) <= act.error_bound


# -- codes ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("scale", "zero"), [(0.05, 3), (1 / 3, -128), (1e-4, 127), (7.0, 0), (1e36, 5), (1e-40, -1)])
def test_codes_have_the_bits_of_float32_division_and_rounding_to_even(scale, zero, isa):
    native.force_isa(isa)
    rng = np.random.default_rng(0)
    scale, out = float(np.float32(scale)), float(np.float32(0.037))
    act = FoldedTable("random", (-3.0, 3.0), torch.from_numpy(rng.integers(-128, 128, 256)).to(torch.int8), (scale, zero), (out, 11))
    halves = with_neighbours((np.arange(-300, 300, 0.5) * scale).clip(-3.4e38, 3.4e38))
    x = np.concatenate([halves, np.float32([-0.0, 1e-45, 3e38, INF, -INF])])
    with np.errstate(over="ignore"):
        q = np.rint(x.astype(np.float32) / np.float32(scale))
    entry = (np.nan_to_num(q, posinf=1e6, neginf=-1e6).clip(-1e6, 1e6) + zero).clip(-128, 127).astype(np.int64) + 128
    wanted = (act.table.numpy()[entry].astype(np.float32) - np.float32(11)) * np.float32(out)
    with use("native"):
        np.testing.assert_array_equal(act(torch.from_numpy(x)).numpy(), wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_codes_of_every_number_of_a_half_type(dtype):
    act = FoldedTable("random", (-3.0, 3.0), (torch.arange(256) * 37 % 256 - 128).to(torch.int8), (0.031, -7), (0.21, 3))
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    for isa in ISAS:
        native.force_isa(isa)
        for got, wanted in zip(step(act, x, "native"), step(act, x, "reference"), strict=True):
            assert torch.equal(got.nan_to_num(nan=77.0), wanted.nan_to_num(nan=77.0))


# -- gradients ---------------------------------------------------------------------------------------------------------------------------


def forms(outside="linear", degree=3, sizes=(9, 5, 20), slopes=((-0.5, 1.0), (0.0, 2.0), (0.25, 0.0))):
    torch.manual_seed(0)
    made = []
    for count, slope in zip(sizes, slopes, strict=True):
        breaks = torch.cat([torch.tensor([-2.0]), 3 * torch.rand(count - 1).sort().values - 1.5, torch.tensor([2.0])])
        slope = slope if outside == "linear" else (0.0, 0.0)
        form = FoldedPieces(("random", (-2.0, 2.0), outside, slope), breaks, breaks[:-1], torch.randn(count, degree + 1))
        form.proof, form.error_bound = None, 0.0
        made.append(form)
    return made


def stacked(**options):
    return per_channel(forms(**options), torch.tensor([0, 2, 1, 0, 2, 1]), Sharing("channel", 6))


SPECIAL = torch.tensor([-2.0, 2.0, torch.nextafter(torch.tensor(-2.0), torch.tensor(-3.0)), 0.0, 1e30, -1e30, INF, -INF, torch.nan])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("outside", ["linear", "clamp"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_values_and_gradients_at_the_ends_and_beyond(outside, isa, layout):
    native.force_isa(isa)
    torch.manual_seed(1)
    x = torch.cat([SPECIAL, *(f.breaks for f in forms()), 2 * torch.randn(40)])[:, None, None].expand(-1, 6, 3)
    x, g = laid(x.contiguous(), layout), torch.randn(x.shape)
    for act in (stacked(outside=outside), forms(outside)[0]):
        for got, wanted in zip(step(act, x, "native", g), step(act, x, "reference", g), strict=True):
            assert got.stride() == x.stride()
            torch.testing.assert_close(got, wanted, rtol=2e-6, atol=2e-5, equal_nan=True)


def test_units_in_memory_of_another_order():
    act = per_channel(forms(), torch.arange(12) % 3, Sharing("unit", num_features=(3, 4)))
    x = torch.randn(4, 3, 50).permute(2, 1, 0)
    for got, wanted in zip(step(act, x, "native"), step(act, x, "reference"), strict=True):
        torch.testing.assert_close(got, wanted, rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("shape", [(64, 6, 40, 40), (9000, 6)])
def test_the_same_bits_whatever_the_threads(shape):
    same_bits(stacked(), torch.randn(shape))


@pytest.mark.filterwarnings("ignore:torch.searchsorted")  # of what vmap makes of it
def test_second_derivatives_and_transforms():
    act, x = stacked(), 2 * torch.randn(7, 6)
    twice(act, x)
    by_kernel = act(x)
    torch.testing.assert_close(torch.func.vmap(lambda v: act(v[None])[0])(x), by_kernel)
    tangent = torch.func.jvp(act, (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(tangent, step(act, x, "native")[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("act", [stacked(), fold("silu", "polynomial"), fold("silu", "int8")], ids=["pieces", "polynomial", "codes"])
def test_only_the_input_is_kept(act):
    only_x_is_kept(act, torch.randn(512, 6, requires_grad=True))


def test_compilers_and_exporters_see_the_definition():
    act, x = stacked(), torch.randn(40, 6)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(act, backend="aot_eager", fullgraph=True)(x), act(x))
    torch.testing.assert_close(torch.export.export(act, (x,)).module()(x), act(x))


def test_what_no_kernel_may_see_has_the_definition():
    act = forms()[0]
    for x in (torch.tensor(0.3), torch.empty(0, 6), torch.randn(1).expand(70), torch.randn(5).double(), torch.randn(9)[::2]):
        with use("reference"):
            wanted = act(x)
        assert torch.equal(act(x), wanted) or x.dim() == 1
        torch.testing.assert_close(act(x), wanted)


# -- made once -----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch):
    """How often the kernels' numbers were made."""
    calls, plain = [], kernel._forms
    monkeypatch.setattr(kernel, "_forms", lambda *a: calls.append(a) or plain(*a))
    return calls


def right(act, x):
    with use("native"):
        y = act(x)
    with use("reference"):
        torch.testing.assert_close(y, act(x))
    return y


def test_numbers_are_made_once_and_again_after_every_change(made):
    act, x = forms()[0], 2 * torch.randn(100)
    before = right(act, x)
    right(act, x)
    assert len(made) == 1
    act.coefficients.mul_(2)
    assert not torch.equal(right(act, x), before)
    state = {k: v + 0.25 for k, v in act.state_dict().items()}
    act.load_state_dict(state)
    right(act, x)
    act.load_state_dict({k: v - 0.25 for k, v in state.items()}, assign=True)
    right(act, x)
    act.center = act.center + 0.1
    right(act, x)
    act.center.data = act.center + 0.1
    right(act, x)
    assert len(made) == 6
    act.reset_parameters()
    assert torch.equal(right(act, x), before)
    right(act.double().float(), x)
    with torch.inference_mode():
        act.center = act.center + 0.5
        right(act, x)
        act.center.add_(0.5)
        right(act, x)


def test_a_copy_makes_its_own(made):
    act, x = stacked(), torch.randn(50, 6)
    right(act, x)
    twin, stored = copy.deepcopy(act), io.BytesIO()
    twin.coefficients.neg_()
    right(twin, x)
    right(act, x)
    assert len(made) == 2
    torch.save(act, stored)
    stored.seek(0)
    right(torch.load(stored, weights_only=False), x)
    assert len(made) == 3


def test_numbers_of_what_is_gone_are_gone():
    act = forms()[0]
    right(act, torch.randn(9))
    rows = weakref.ref(act._derived._kept[1].rows)
    del act
    gc.collect()
    assert rows() is None


def test_numbers_that_are_learned_or_make_no_pieces_are_left_to_the_definition():
    act, x = forms()[0], torch.randn(30)
    act.coefficients.requires_grad_()
    with use("native"):
        found = torch.autograd.grad(act(x).sum(), act.coefficients)[0]
    assert found.abs().sum() > 0
    for broken in (torch.nan, 7.0, -INF, INF):
        act = forms()[0]
        act.breaks[3] = broken
        assert act._for_kernels() is None
        right(act, x)
