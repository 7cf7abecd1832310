"""Outputs that go past the caches: the same bits, and only where they are large and in memory already."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from native_checks import ISAS, needs_native

import slaf
from slaf.fit import fold
from slaf.kernels import native, use
from slaf.kernels.native.caches import last_level, outputs_past

pytestmark = needs_native

SPECS = [
    "slaf(basis=power, degree=5, share=channel, normalize=none, input=identity)",
    "slaf(basis=chebyshev, degree=9, share=channel)",
    "slaf(basis=power, degree=12, normalize=batch, input=identity)",
    "rational(5, 4)",
    "piecewise_linear(knots=32)",
    "slaf(basis=bspline, terms=12, share=channel)",
    "slaf(basis=rbf, terms=8, share=channel, input=identity)",
    "prelu",
    "apl",
    "evonorm_s0",
    "evonorm_b0",
]


@pytest.fixture(params=ISAS)
def isa(request):
    native.force_isa(request.param)
    yield request.param
    native.force_isa(None)


def step(act, x, w):
    act, x = copy.deepcopy(act), x.detach().requires_grad_()
    with use("native"):
        y = act(x)
        return (y, *torch.autograd.grad(y, [x, *act.parameters()], w))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("shape", [(3, 16, 8, 40), (70, 48), (5, 32, 4, 4), (3, 6, 7, 5)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_same_bits(spec, shape, dtype, isa):  # noqa: ARG001 - chosen by the fixture
    torch.manual_seed(0)
    act = slaf.make(spec, num_channels=shape[1])
    x, w = torch.randn(shape).to(dtype), torch.randn(shape).to(dtype)
    for at in (x, x.movedim(1, -1).contiguous().movedim(-1, 1)):
        ordinary = step(act, at, w)
        with native.past_caches_from(0):
            past = step(act, at, w)
        assert all(torch.equal(a, b) for a, b in zip(ordinary, past, strict=True))


@pytest.mark.parametrize("to", ["piecewise_linear", "piecewise_polynomial", "polynomial", "int8"])
def test_folded_forms_have_the_same_bits(to):
    act = fold("silu", to)
    for shape in [(3, 16, 512), (5, 77), (3, 40, 30)]:
        x, w = 2 * torch.randn(shape), torch.randn(shape)
        ordinary = step(act, x, w)
        with native.past_caches_from(0):
            past = step(act, x, w)
        assert all(torch.equal(a, b) for a, b in zip(ordinary, past, strict=True))


def test_far_inputs_and_what_is_not_finite_keep_their_bits():
    torch.manual_seed(0)
    x, w = 3 * torch.randn(64, 32), torch.randn(64, 32)
    x[::7, ::5], x[3, 4], x[5, 6] = 1e30, torch.inf, torch.nan
    for spec in SPECS[:1] + SPECS[3:4]:
        act = slaf.make(spec, num_channels=32)
        ordinary = step(act, x, w)
        with native.past_caches_from(0):
            past = step(act, x, w)
        assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(ordinary, past, strict=True))


def test_where_outputs_go():
    goes, linux = native.entries.goes_past, sys.platform.startswith("linux")
    written = torch.ones(1 << 20)
    size = 4 * written.numel()
    with native.past_caches_from(size):
        assert goes(written, size) == linux
        assert not goes(written, size - 4)
        assert not goes(None, size)
    with native.past_caches_from(native.NEVER):
        assert not goes(written, size)
    with native.past_caches_from(0):
        assert goes(torch.empty(1), 4)


def test_from_a_quarter_of_the_last_cache_on(tmp_path):
    assert last_level(tmp_path) is None
    for index, level, size in (("index0", "1", "48K"), ("index2", "2", "1024K"), ("index3", "3", "65536K\n"), ("index4", "much", "1K")):
        (tmp_path / index).mkdir()
        (tmp_path / index / "level").write_text(level)
        (tmp_path / index / "size").write_text(size)
        found = last_level(tmp_path)
        assert found == (64 << 20 if index >= "index3" else None)
    assert [outputs_past(cache) for cache in (None, 0, 4 << 20, 64 << 20)] == [None, None, 8 << 20, 16 << 20]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says what is in memory")
def test_memory_that_nobody_has_touched_is_written_as_ever():
    import mmap

    size = 64 << 20
    with mmap.mmap(-1, size) as fresh, native.past_caches_from(size):
        address = torch.frombuffer(fresh, dtype=torch.uint8).data_ptr()
        assert not native.entries.goes_past(address, size)
        fresh[size // 2] = 1
        assert native.entries.goes_past(address, size)


@pytest.mark.parametrize(
    ("value", "status", "told"),
    [
        ("0", 0, "0"),
        (str(10**20), 0, str(2**63 - 1)),
        ("", 0, str(outputs_past(last_level()) or 16 << 20)),
        ("16M", 1, "SLAF_PAST_CACHES_FROM must be a number of bytes; got '16M'"),
    ],
)
def test_the_environment_says_from_where(value, status, told):
    code = "from slaf.kernels.native import entries; print(entries.go_past_from(1))"
    environment = os.environ | {"SLAF_PAST_CACHES_FROM": value}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status
    assert told in (done.stderr if status else done.stdout.split())
