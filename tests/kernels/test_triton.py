"""The Triton kernels where there is no GPU: their results under Triton's interpreter, and the machine code that they compile to."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import slaf
from slaf.kernels import gpu, raw, raw_norm, use
from slaf.kernels.dispatch import Layout
from slaf.kernels.gpu.launch import ROW, plan

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@needs_triton
def test_results_under_the_interpreter():
    """In a process of its own: Triton reads this variable when it is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "triton_cases.py")]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=HERE.parent.parent)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_triton
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="Triton interprets here, and compiles nothing")
def test_machine_code(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton_compiled

    triton_compiled.check_all()


def test_importing_slaf_and_asking_for_the_backend_does_not_import_triton():
    code = "import slaf, sys; str(slaf.kernels.backend()); sys.exit('triton' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 3000), st.sampled_from([512, 1024]), st.booleans())
def test_a_plan_covers_every_element_once(n, c, s, elements, sums):
    walk = plan(n, c, s, elements, sums)
    assert walk.uniform == (s >= ROW or c == 1)
    assert walk.a * walk.b <= elements
    width, groups = (s, c) if walk.uniform else (c * s, 1)
    across, down = -(-width // walk.b), -(-n // walk.a)
    assert walk.groups == (c if walk.uniform else across)
    tiles = across * down if walk.uniform else down
    assert (walk.rows - 1) * walk.loops < tiles <= walk.rows * walk.loops
    assert across * walk.b * down * walk.a * groups >= n * c * s


def test_huge_tensors_are_walked_over_in_64_bits():
    assert plan(1 << 20, 64, 64, 512, True).wide
    assert not plan(32, 64, 1024, 512, True).wide


def test_cuda_is_named_by_the_backend(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert slaf.kernels.backend().cuda == "no CUDA device"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    for why in ("triton cannot be imported: no", "its compute capability is below 8.0"):
        monkeypatch.setattr(gpu, "reason", lambda _, why=why: why)
        assert slaf.kernels.backend().cuda == f"plain torch: {why}"
        assert why in str(slaf.kernels.backend())
    monkeypatch.setattr(gpu, "reason", lambda _: "")
    monkeypatch.setattr(gpu, "version", lambda _: "3.7.1")
    assert str(slaf.kernels.backend()).endswith("CUDA: triton 3.7.1")


def test_why_a_device_cannot_run_them(monkeypatch):
    device = torch.device("cuda", 0)
    for absent, capability, expected in (("gone", (9, 0), "gone"), ("", (7, 5), "below 8.0"), ("", (9, 0), "")):
        gpu.reason.cache_clear()
        monkeypatch.setattr(gpu, "_absent", lambda absent=absent: absent)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, capability=capability: capability)
        assert gpu.reason(device).endswith(expected)
        assert bool(gpu.reason(device)) == bool(expected)
    gpu.reason.cache_clear()


def test_a_parameter_on_another_device_is_refused(monkeypatch):
    """On a machine with a GPU every tensor is looked at; a meta tensor stands for one that is elsewhere."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    x, layout = torch.randn(4, 3), Layout(4, 3, 1, (1,), (3,))
    with pytest.raises(RuntimeError, match="on the device of the input, cpu; got meta"):
        raw.series_forward(x, layout, 0, torch.empty(3, 4, device="meta"), None, None)
    with pytest.raises(RuntimeError, match="got meta"):
        raw_norm.gate_norm_forward(x, (4, 3, 1, False), 3, False, 1e-5, (None, torch.empty(3, device="meta"), None))


def test_without_the_interpreter_no_cpu_tensor_reaches_triton(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    act = slaf.make("slaf", num_channels=3)
    with use("triton"), pytest.raises(RuntimeError, match="TRITON_INTERPRET"):
        act(torch.randn(4, 3))
