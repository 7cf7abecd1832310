"""Words that the shell completes, found by the files' names: importing torch would take the shell seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import slaf

__all__ = ["complete_activations", "complete_studies"]


def complete_studies(incomplete: str) -> list[str]:
    """Names of studies."""
    names = (name.replace("_", "-") for name in _files("slaf.studies", "@register_study"))
    return sorted(name for name in names if name.startswith(incomplete))


def complete_activations(incomplete: str) -> list[str]:
    """Names of activations; what stands before the last comma stays."""
    head, comma, last = incomplete.rpartition(",")
    names = (name for room in slaf.ACTIVATION_ROOMS for name in _files(room, "@activation(", "activations.register("))
    return sorted(f"{head}{comma}{name}" for name in names if name.startswith(last))


def _files(package: str, *marks: str) -> Iterator[str]:
    """The files of a package that hold one of ``marks``: those that register something under their own name."""
    root = Path(slaf.__file__).parent
    for path in root.joinpath(*package.split(".")[1:]).glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if any(mark in text for mark in marks):
            yield path.stem
