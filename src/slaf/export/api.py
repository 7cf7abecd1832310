"""``slaf.export``: one model or activation into one file."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from slaf.core import SlafError, make, nearest, one_of
from slaf.core.writing import check_place

from .c import export_c
from .exported import Exported
from .onnx import export_onnx
from .program import export_program
from .safetensors import export_weights

__all__ = ["export"]

SUFFIXES = {".onnx": "onnx", ".pt2": "pt2", ".safetensors": "safetensors", ".h": "c"}
WRITERS: dict[str, Callable[..., Exported]] = {
    "onnx": export_onnx,
    "pt2": export_program,
    "safetensors": export_weights,
    "c": export_c,
}


def export(
    model: str | nn.Module | ExportedProgram,
    path: str | Path,
    example: Any = None,
    to: str | None = None,
    check: bool = True,
    **options: Any,
) -> Exported:
    """Write a model, or one activation, into a file that another runtime reads.

    The model is taken in evaluation mode and stays as it is. The file is written whole or not at all: after an error whatever stood
    there before still does.

    Args:
        model: a module, an activation string such as ``"rational(5,4)"``, or a ``torch.export`` program.
        path: where to; the ending says how: ``.onnx``, ``.pt2`` (a ``torch.export`` program), ``.safetensors`` (the weights, with
            ``model.slaf_recipe`` and the versions as metadata), ``.h`` (a C99 header of the activations alone).
        example: for ONNX and ``torch.export``: a tensor, a tuple of arguments, a dict of keyword arguments, or a list of those, of
            which the first is exported and all are checked. An activation string has one of its own.
        to: ``"onnx"``, ``"pt2"``, ``"safetensors"`` or ``"c"``, instead of the ending.
        check: run the file (ONNX in ONNX Runtime), or read it back, on the examples and on random inputs like them, and report how far
            it is from the model. A C header is not compiled: it states proven bounds.
        options: ``dynamic="batch"`` (the first dimension is free; None fixes it) for ONNX and ``torch.export``;
            ``opset``, ``input_names``, ``output_names`` for ONNX; ``name``, ``to_form`` and those of :func:`slaf.fit.fold`
            (``interval``, ``tolerance``, …) for C, see :func:`slaf.export.c.export_c`;
            ``num_channels`` for an activation string.

    Returns:
        What was written: path, size, differences, operators, …; ``print`` shows it.

    Raises:
        SlafError: an argument that is not allowed, a model that cannot be exported, a place that cannot be written to, a package that is
            not installed (the message gives the command).

    Example:
        >>> slaf.export(model, "model.onnx", example=images).standard_only
        True
        >>> slaf.export("gelu", "gelu.h", interval=(-6, 6), tolerance=1e-3)
    """
    path = Path(path)
    kind = _format(path, to)
    writer = WRITERS[kind]
    channels = options.pop("num_channels", None)
    _check_options(kind, writer, options)
    if isinstance(model, str):
        model, own = _activation(model, channels)
        example = own if example is None else example
    elif channels is not None:
        raise SlafError("num_channels is for an activation string")
    if isinstance(model, ExportedProgram) and kind == "c":
        raise SlafError("a torch.export program has no activations left to write in C; give the model itself")
    if not isinstance(model, (nn.Module, ExportedProgram)):
        raise SlafError(f"model must be a module, an activation string or a torch.export program; got {type(model).__name__}")
    check_place(path)
    return writer(model, path, example, check, **options)


def _format(path: Path, to: str | None) -> str:
    if to is not None:
        return one_of("to", to, WRITERS)
    if path.suffix not in SUFFIXES:
        allowed = ", ".join(f"{suffix} ({kind})" for suffix, kind in SUFFIXES.items())
        raise SlafError(f"path must end in {allowed}, or to= must say which; got {str(path)!r}{nearest(path.suffix, SUFFIXES)}")
    return SUFFIXES[path.suffix]


def _check_options(kind: str, writer: Callable[..., Exported], given: dict[str, Any]) -> None:
    parameters = inspect.signature(writer).parameters.values()
    allowed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for name in given:
        if name not in allowed:
            takes = ", ".join(allowed) or "none"
            raise SlafError(f"{name} is no option for to={kind}; it takes {takes}{nearest(name, allowed)}")


def _activation(spec: str, channels: int | None) -> tuple[nn.Module, Tensor]:
    """The activation and an example for it: without channels where it can do without, else one."""
    if channels is None:
        try:
            module = make(spec)
        except SlafError:
            channels = 1  # such as for slaf(…), which keeps statistics
    if channels is not None:
        module = make(spec, num_channels=channels)
    generator = torch.Generator().manual_seed(0)
    return module.eval(), 3 * torch.randn(64, channels or 16, generator=generator)
