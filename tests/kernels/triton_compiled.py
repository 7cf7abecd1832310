"""What the Triton kernels compile to, for GPUs that need not be there. ``test_triton.py`` imports this file, and so Triton, late."""

import re

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from slaf.kernels.dispatch import Layout
from slaf.kernels.gpu import elements, hinges, launch, pieces, rational, series

ROWS, COLUMNS = Layout(32, 64, 1024, (1,), (64,)), Layout(8192, 1024, 1, (1,), (1024,))
KERNELS = {
    "series forward": (series.forward_kernel, 0, {"FAMILY": 0, "D": 5, "MAPPED": 0}),
    "series backward": (series.backward_kernel, 8, {"FAMILY": 1, "D": 5, "MAPPED": 1, "INPUT": True, "SUMS": 1, "MAP_SUMS": 1}),
    "series input": (series.input_kernel, 0, {"FAMILY": 0, "D": 5, "Q": 9, "MAPPED": 1}),
    "moments": (series.moments_kernel, 10, {"FAMILY": 0, "COUNT": 10, "MAPPED": 1}),
    "rational forward": (rational.forward_kernel, 0, {"FORM": 1, "M": 5, "K": 4}),
    "rational backward": (rational.backward_kernel, 11, {"FORM": 0, "M": 5, "K": 2, "INPUT": True}),
    "hinges forward": (hinges.forward_kernel, 0, {"S": 5}),
    "hinges backward": (hinges.backward_kernel, 4, {"S": 5, "INPUT": True}),
    "sums of hinges": (hinges.sums_kernel, 10, {"S": 5, "COUNT": 5}),
    "pieces forward": (pieces.forward_kernel, 0, {"D": 3}),
    "pieces backward": (pieces.backward_kernel, 16, {"D": 1, "COUNT": 8, "INPUT": True}),
    "rational, far": (rational.far_kernel, 11, {"FORM": 3, "M": 5, "K": 2, "INPUT": True}),
}
for name, terms in (
    ("bumps", 8),
    ("bumps sums", 8),
    ("spread", 0),
    ("gate", 0),
    ("gate sums", 0),
    ("gate input", 0),
    ("quotient", 0),
    ("quotient sums", 0),
    ("quotient input", 0),
):
    op = elements.OPS[name]
    sums = op.sums + (terms if op.sums else 0)
    constants = {"OP": op.code, "J": terms, "WIDTH": op.width + terms, "SUMS": sums, "READS": op.reads, "WRITES": op.writes}
    KERNELS[name] = (elements.elements_kernel, sums, constants)


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
            signature[argument] = element if argument in ("x_at", "y_at", "g_at", "gx_at", "out_at") else "*fp32"
            aligned[(i,)] = [["tt.divisibility", 16]]
        else:
            signature[argument] = "fp32" if argument == "limit" else "i32"
            if argument in ("c", "s"):
                aligned[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": launch.WARPS}).asm


def check(name, layout):
    """Wide loads, and nothing whose order is left to chance."""
    dtype, capability = (torch.bfloat16, 80) if layout is ROWS else (torch.float32, 90)
    asm = compiled(name, layout, dtype, capability)
    assert len(asm["cubin"]) > 1000, name
    assert re.search(r"ld\.global\S*\.v[48]\.b32|ld\.global\S*\.v2\.b64|ld\.global\S*\.v2\.b32", asm["ptx"]), name
    assert not re.search(r"\batom\.|\bred\.", asm["ptx"]), name
    kernel, _, constants = KERNELS[name]
    if dtype == torch.bfloat16 and constants.get("WRITES", {"y_at", "gx_at"} & set(kernel.arg_names)) and name != "rational, far":
        assert "cvt.rn.bf16" in asm["ptx"], name  # rounded, not cut


def check_all():
    for name, layout in zip(KERNELS, (ROWS, COLUMNS) * len(KERNELS), strict=False):
        check(name, layout)
    wide = compiled("series backward", ROWS, torch.float32, 80, WIDE=True)["ptx"]
    assert re.search(r"mul\.lo\.s64|mad\.lo\.s64|mul\.wide", wide)  # offsets in a huge tensor
