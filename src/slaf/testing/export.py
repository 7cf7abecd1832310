"""Checks of torch.export, ONNX and ONNX Runtime, in evaluation mode."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .case import Case
from .check import check, close, same
from .extras import optional

GROUP = "export"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch's exporter says of itself (deprecations, missing torchvision, progress)."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


@check(GROUP)
def torch_export(case: Case) -> None:
    """``torch.export`` gives a program with a free batch size that computes the eager values."""
    module, x = case.evaluated(), case.input()
    dim = case.batch_dim % x.dim()
    with _quiet():
        program = torch.export.export(module, (x,), dynamic_shapes=({dim: torch.export.Dim.AUTO},))
    for batch in (5, 7):
        x = case.input(batch=batch)
        if x.shape[dim] == batch or batch == 5:
            same(program.module()(x), module(x), "the exported program", rounding=16)


class _Both(nn.Module):
    """Two precisions in one export, because an export takes a second."""

    def __init__(self, single: nn.Module, half: nn.Module) -> None:
        super().__init__()
        self.single, self.half_ = single, half

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.single(x), self.half_(h)


def _input(case: Case, dtype: torch.dtype) -> Tensor:
    if not case.scalar:
        return case.input(dtype)
    far = torch.tensor([-1000.0, -100.0, -30.0, 30.0, 100.0, 1000.0], dtype=torch.float64)
    near = torch.linspace(-9, 9, 91, dtype=torch.float64)
    return case.spread(case.away_from_kinks(torch.cat([near, far]), 1e-2)).to(dtype).contiguous()


def _run(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    optional("onnx"), optional("onnxscript")
    runtime: Any = optional("onnxruntime")
    with _quiet():
        program = torch.onnx.export(module, inputs, dynamo=True, verbose=False, optimize=False)
        assert program is not None
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        session = runtime.InferenceSession(program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return [torch.from_numpy(y) for y in session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})]


def _onnx(case: Case, dtype: torch.dtype) -> Tensor:
    """What ONNX Runtime computes; both precisions are exported together once, and apart if that fails."""
    results: dict[torch.dtype, Any] = case.__dict__.setdefault("_onnx_results", {})
    if not results:
        dtypes = (torch.float32, torch.float16)
        inputs = tuple(_input(case, t) for t in dtypes)
        modules = [case.evaluated(t) for t in dtypes]
        try:
            results.update(zip(dtypes, _run(_Both(*modules), inputs), strict=True))
        except Exception:
            for t, module, x in zip(dtypes, modules, inputs, strict=True):
                try:
                    results[t] = _run(module, (x,))[0]
                except Exception as error:
                    results[t] = error
    result = results[dtype]
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
