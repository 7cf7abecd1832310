"""Checks of torch.export, ONNX and ONNX Runtime, in evaluation mode."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slaf.core.exporting import quiet, session

from .case import Case
from .check import check, close, same
from .extras import optional

GROUP = "export"


@check(GROUP)
def torch_export(case: Case) -> None:
    """``torch.export`` gives a program with a free batch size that computes the eager values."""
    module, x = case.evaluated(), case.input()
    dim = case.batch_dim % x.dim()
    with quiet():
        program = torch.export.export(module, (x,), dynamic_shapes=({dim: torch.export.Dim.AUTO},))
    for batch in (5, 7):
        x = case.input(batch=batch)
        if x.shape[dim] == batch or batch == 5:
            same(program.module()(x), module(x), "the exported program", rounding=16)


class _Together(nn.Module):
    """Several modules in one export, each with its own input: an export takes seconds, however little it holds."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(module(x) for module, x in zip(self.parts, inputs, strict=True))


def _input(case: Case, dtype: torch.dtype) -> Tensor:
    if not case.scalar:
        return case.input(dtype)
    far = torch.tensor([-1000.0, -100.0, -30.0, 30.0, 100.0, 1000.0], dtype=torch.float64)
    near = torch.linspace(-9, 9, 91, dtype=torch.float64)
    return case.spread(case.away_from_kinks(torch.cat([near, far]), 1e-2)).to(dtype).contiguous()


def _run(modules: list[nn.Module], inputs: list[Tensor]) -> list[Tensor]:
    optional("onnx"), optional("onnxscript")
    runtime: Any = optional("onnxruntime")
    with quiet():
        program = torch.onnx.export(_Together(modules), tuple(inputs), dynamo=True, verbose=False, optimize=False)
        assert program is not None
        running = session(runtime, program.model_proto.SerializeToString())
    names = [i.name for i in running.get_inputs()]
    return [torch.from_numpy(y) for y in running.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})]


def _results(case: Case) -> dict[torch.dtype, Any]:
    """What ONNX Runtime computed for a case by dtype, or the error."""
    results: dict[torch.dtype, Any] = case.__dict__.setdefault("_onnx_results", {})
    return results


def _compute(cases: list[Case], dtypes: tuple[torch.dtype, ...]) -> None:
    """Fill the results of ``cases`` by one export of all of them; by smaller ones where that fails."""
    parts = [(case, dtype) for case in cases for dtype in dtypes]
    try:
        values = _run([case.evaluated(dtype) for case, dtype in parts], [_input(case, dtype) for case, dtype in parts])
    except Exception as error:
        if len(cases) > 1:
            _compute(cases[: len(cases) // 2], dtypes)
            _compute(cases[len(cases) // 2 :], dtypes)
        elif len(dtypes) > 1:
            for dtype in dtypes:
                _compute(cases, (dtype,))
        else:
            _results(cases[0])[dtypes[0]] = error
        return
    for (case, dtype), value in zip(parts, values, strict=True):
        _results(case)[dtype] = value


def _onnx(case: Case, dtype: torch.dtype) -> Tensor:
    if not _results(case):
        _compute([case, *(c for c in case.companions if c is not case and not _results(c))], (torch.float32, torch.float16))
    result = _results(case)[dtype]
    if isinstance(result, Exception):
        raise result
    return result


def _parity(case: Case, dtype: torch.dtype, rounding: float) -> None:
    x = _input(case, dtype)
    wanted = case.evaluated(dtype)(x)
    got = _onnx(case, dtype)
    assert got.dtype == dtype, f"ONNX Runtime gives {got.dtype} for {dtype}"
    close(got, wanted, rounding * torch.finfo(dtype).eps * wanted.detach().double().abs().clamp(min=1), f"ONNX Runtime in {dtype}", x)


@check(GROUP)
def onnx_float32(case: Case) -> None:
    """The ONNX model computes the same in ONNX Runtime in float32."""
    _parity(case, torch.float32, 32)


@check(GROUP)
def onnx_float16(case: Case) -> None:
    """The ONNX model computes the same in ONNX Runtime in float16."""
    _parity(case, torch.float16, 8)
