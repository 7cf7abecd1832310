"""What an export reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["Difference", "Exported", "difference", "slaf_version"]


def slaf_version() -> str:
    """The version that writes."""
    return str(import_module("slaf").__version__)  # the package above all rooms


@dataclass(frozen=True)
class Difference:
    """The largest absolute difference, and the largest relative to the largest magnitude of the output that it is in."""

    max_abs: float = 0.0
    max_rel: float = 0.0

    def worst(self, other: Difference) -> Difference:
        """The larger of both, number by number."""
        return Difference(max(self.max_abs, other.max_abs), max(self.max_rel, other.max_rel))


def difference(got: Tensor, wanted: Tensor) -> Difference:
    """Between two tensors of one shape; infinite where exactly one is NaN, or where infinities differ."""
    a, b = got.detach().to(torch.float64), wanted.detach().to(torch.float64)
    if not a.numel():
        return Difference()
    same = (a == b) | (a.isnan() & b.isnan())
    off = torch.where(same, 0.0, (a - b).abs().nan_to_num(nan=torch.inf, posinf=torch.inf))
    size = b[b.isfinite()].abs().max() if bool(b.isfinite().any()) else torch.ones((), dtype=torch.float64)
    worst = float(off.max())
    return Difference(worst, worst / float(size) if size > 0 else worst)


@dataclass(frozen=True)
class Exported:
    """A file that was written, and what is known of it.

    Attributes:
        path, format, size: where, which of ``onnx``, ``pt2``, ``safetensors``, ``c``, and how many bytes.
        measured: how far the file's outputs are from the model's, on the examples and on random inputs like them; ``None`` without a check.
        opset, operators, standard_only: of an ONNX graph: its version of the standard operators, how often each occurs, and whether
            there are only those (no other domain, no function of its own).
        inputs, outputs: their names, of an ONNX graph.
        dynamic: whether the batch size is free.
        functions: of a C header: for every function the proven bound of its error, on the interval that its comment states.
    """

    path: Path
    format: str
    size: int
    measured: Difference | None = None
    opset: int | None = None
    operators: Mapping[str, int] = field(default_factory=dict)
    standard_only: bool | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    dynamic: bool | None = None
    functions: Mapping[str, float] = field(default_factory=dict)

    @property
    def max_abs(self) -> float | None:
        """The largest absolute difference measured."""
        return None if self.measured is None else self.measured.max_abs

    @property
    def max_rel(self) -> float | None:
        """The largest difference measured, relative to the largest magnitude of the same output."""
        return None if self.measured is None else self.measured.max_rel

    def to_dict(self) -> dict[str, Any]:
        """What is known, ready for JSON."""
        known = vars(self) | {"path": str(self.path), "max_abs": self.max_abs, "max_rel": self.max_rel, "measured": None}
        return {k: v for k, v in known.items() if v is not None and v not in ({}, ())}

    def __str__(self) -> str:
        lines = [f"{self.path}: {_FORMATS[self.format]}, {_bytes(self.size)}"]
        if self.opset is not None:
            kinds = "standard operators only" if self.standard_only else "NOT only standard operators"
            lines.append(f"  opset {self.opset}, {sum(self.operators.values())} operators, {kinds}")
            lines.append("  " + ", ".join(f"{name} {count}" for name, count in self.operators.items()))
        if self.inputs:
            lines.append(f"  inputs {', '.join(self.inputs)}; outputs {', '.join(self.outputs)}")
        if self.dynamic is not None:
            lines.append(f"  batch size {'free' if self.dynamic else 'fixed'}")
        lines += [f"  {name}: error at most {bound:.3g}" for name, bound in self.functions.items()]
        if self.max_abs is not None:
            lines.append(f"  max absolute difference {self.max_abs:.3g}, max relative difference {self.max_rel:.3g}")
        return "\n".join(lines)


_FORMATS = {"onnx": "ONNX", "pt2": "torch.export program", "safetensors": "safetensors", "c": "C99 header"}


def _bytes(size: int) -> str:
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}" if unit != "bytes" else f"{size} bytes"
