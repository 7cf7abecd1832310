"""Outputs that go past the caches: the same bits, and only where they are large and in memory already."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from native_checks import ISAS, needs_native

import slaf
from slaf.kernels import native, use

pytestmark = needs_native

SPECS = [
    "slaf(basis=power, degree=5, share=channel, normalize=none, input=identity)",
    "slaf(basis=chebyshev, degree=9, share=channel)",
    "slaf(basis=power, degree=12, normalize=batch, input=identity)",
    "rational(5, 4)",
    "piecewise_linear(knots=32)",
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
    goes = native.entries.goes_past
    written, small = torch.ones(1 << 22), torch.ones(1 << 20)
    large = 4 * written.numel()
    assert goes(written, large) == sys.platform.startswith("linux")
    assert not goes(small, 4 * small.numel())
    assert not goes(written, large - 4)
    assert not goes(None, large)
    with native.past_caches_from(1 << 20):
        assert goes(small, 4 * small.numel()) == sys.platform.startswith("linux")
    with native.past_caches_from(0):
        assert goes(torch.empty(1), 4)
    assert not goes(small, 4 * small.numel())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says what is in memory")
def test_memory_that_nobody_has_touched_is_written_as_ever():
    import mmap

    size = 64 << 20
    with mmap.mmap(-1, size) as fresh:
        address = torch.frombuffer(fresh, dtype=torch.uint8).data_ptr()
        assert not native.entries.goes_past(address, size)
        fresh[size // 2] = 1
        assert native.entries.goes_past(address, size)


@pytest.mark.parametrize(
    ("value", "status", "told"),
    [
        ("0", 0, "True"),
        (str(10**20), 0, "False"),
        ("16M", 1, "SLAF_PAST_CACHES_FROM must be a number of bytes; got '16M'"),
    ],
)
def test_the_environment_says_from_where(value, status, told):
    code = "import torch; from slaf.kernels.native import entries; print(entries.goes_past(torch.ones(1 << 23), 1 << 25))"
    environment = os.environ | {"SLAF_PAST_CACHES_FROM": value}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status
    assert told in done.stdout + done.stderr
