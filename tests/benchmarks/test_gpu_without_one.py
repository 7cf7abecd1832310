"""The benchmark of the Triton kernels on a machine without a GPU; its comparisons run among ``tests/kernels/triton_cases.py``."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def test_it_says_in_one_sentence_that_there_is_no_device(monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark_of_gpus", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT)])
    with pytest.raises(SystemExit, match=r"^There is no CUDA device here[^\n]*$"):  # a text as the code: printed, and 1
        script.main()
