"""What the Triton kernels compile to, for GPUs that need not be there. ``test_triton.py`` runs this file in a process of its own."""

import re

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from slaf.kernels.dispatch import Layout
from slaf.kernels.gpu import launch, rational, series

ROWS, COLUMNS = Layout(32, 64, 1024, (1,), (64,)), Layout(8192, 1024, 1, (1,), (1024,))
KERNELS = {
    "series forward": (series.forward_kernel, 0, {"FAMILY": 0, "D": 5, "MAPPED": 0}),
    "series backward": (series.backward_kernel, 8, {"FAMILY": 1, "D": 5, "MAPPED": 1, "INPUT": True, "SUMS": 1, "MAP_SUMS": 1}),
    "series input": (series.input_kernel, 0, {"FAMILY": 0, "D": 5, "Q": 9, "MAPPED": 1}),
    "moments": (series.moments_kernel, 10, {"FAMILY": 0, "COUNT": 10, "MAPPED": 1}),
    "rational forward": (rational.forward_kernel, 0, {"FORM": 1, "M": 5, "K": 4}),
    "rational backward": (rational.backward_kernel, 11, {"FORM": 0, "M": 5, "K": 2, "INPUT": True}),
    "rational, far": (rational.far_kernel, 11, {"FORM": 3, "M": 5, "K": 2, "INPUT": True}),
}


def compiled(name, layout, dtype, capability, **more):
    """PTX, as a launch on such a layout would compile it; registers and spills come from the assembler, which must accept it."""
    kernel, terms, constants = KERNELS[name]
    walk = launch.rows_of(torch.empty(0, dtype=dtype), layout, terms)
    constants = {**constants, "UNIFORM": walk.uniform, "WIDE": walk.wide, "A": walk.a, "B": walk.b, **more}
    if layout.s == 1:
        constants["s"] = 1
    element = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}[dtype]
    signature, aligned = {}, {}
    for i, argument in enumerate(kernel.arg_names):
        if argument in constants:
            signature[argument] = "constexpr"
        elif argument.endswith("_at"):
            signature[argument] = element if argument in ("x_at", "y_at", "g_at", "gx_at") else "*fp32"
            aligned[(i,)] = [["tt.divisibility", 16]]
        else:
            signature[argument] = "fp32" if argument == "limit" else "i32"
            if argument in ("c", "s"):
                aligned[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": launch.WARPS}).asm


@pytest.mark.parametrize(("name", "layout"), list(zip(KERNELS, (ROWS, COLUMNS) * 4, strict=False)))
def test_whole_vectors_and_no_atomics(name, layout):
    """Wide loads, and nothing whose order is left to chance."""
    dtype, capability = (torch.bfloat16, 80) if layout is ROWS else (torch.float32, 90)
    asm = compiled(name, layout, dtype, capability)
    assert len(asm["cubin"]) > 1000
    assert re.search(r"ld\.global\S*\.v[48]\.b32|ld\.global\S*\.v2\.b64|ld\.global\S*\.v2\.b32", asm["ptx"])
    assert not re.search(r"\batom\.|\bred\.", asm["ptx"])
    if dtype == torch.bfloat16 and name not in ("moments", "rational, far"):
        assert "cvt.rn.bf16" in asm["ptx"]  # rounded, not cut


def test_a_huge_tensor_is_addressed_in_64_bits():
    asm = compiled("series backward", ROWS, torch.float32, 80, WIDE=True)
    assert re.search(r"mul\.lo\.s64|mad\.lo\.s64|mul\.wide", asm["ptx"])
