"""Plots for the command line: as text for a terminal, or into a file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from slaf.core import SlafError, split

from .curve import curve, figure_bytes, file_format
from .sampling import sample
from .sketch import sketch

__all__ = ["text", "write"]


def write(path: Path, activations: str, low: float = -4.0, high: float = 4.0, derivatives: int = 0) -> Path:
    """Draw ``activations`` (see :func:`slaf.plot.curve`) into ``path``, whole or not at all; its ending chooses the format.

    Raises:
        SlafError: an unknown name or ending, or a place that cannot be written to.
    """
    content = figure_bytes(curve(activations, low, high, derivatives), file_format(path))
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".slaf-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise SlafError(f"cannot write {str(path)!r}: {error.strerror or error}") from None
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def text(activations: str, low: float = -4.0, high: float = 4.0, derivatives: int = 0) -> str:
    """Each of ``activations``, and its derivatives, drawn in a few lines of text."""
    listed = split(activations)
    if not listed:
        raise SlafError("there is no activation to draw: give a name such as 'gelu', or several")
    if derivatives not in (0, 1, 2):
        raise SlafError(f"derivatives must be 0, 1 or 2; got {derivatives!r}")
    drawn = []
    even = np.linspace(low, high, 449)
    for spec in listed:
        sampled = sample(spec, low, high, derivatives)
        for order, values in enumerate(sampled.values):
            # the sampled points crowd around kinks; a sketch wants even ones
            line = values.mean(1)[np.searchsorted(sampled.x, even).clip(0, len(sampled.x) - 1)]
            drawn.append(f"{sampled.label}{'′' * order}\n{sketch(line.tolist(), low, high)}")
    return "\n\n".join(drawn)
