"""``torch.export`` programs, saved by torch and read back for the check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from slaf.core.exporting import quiet
from slaf.core.writing import whole_file

from .capture import capture, compared
from .exported import Exported

__all__ = ["export_program"]


def export_program(
    model: nn.Module | ExportedProgram, path: Path, example: Any = None, check: bool = True, *, dynamic: str | None = "batch"
) -> Exported:
    """Write ``model``, in evaluation mode, as a program that ``torch.export.load`` reads; see :func:`slaf.export.api.export`."""
    captured = capture(model, example, dynamic)
    found = None
    with whole_file(path) as temporary:
        with quiet():
            torch.export.save(captured.program, temporary)
            if check:
                again = torch.export.load(temporary).module()
                found = compared(lambda each: each.call(again), captured)
        size = temporary.stat().st_size
    return Exported(
        path=path,
        format="pt2",
        size=size,
        measured=found,
        dynamic=captured.dynamic,
    )
