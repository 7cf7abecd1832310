"""The benchmark of the Triton kernels on a machine without a GPU."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def run(*arguments, **environment):
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment}
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, env=hidden)


def test_it_says_in_one_sentence_that_there_is_no_device():
    done = run()
    assert done.returncode == 1
    assert done.stderr.startswith("There is no CUDA device here")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_its_comparisons_run_under_the_interpreter():
    done = run("--interpreter", "--only", "polynomial 3", TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("sites_series_backward, sites_series_forward") == 3
