"""Words that the shell completes, found by the files' names: importing torch would take the shell seconds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import slaf

__all__ = ["complete_activations", "complete_studies", "complete_tags"]


def complete_studies(incomplete: str) -> list[str]:
    """Names of studies."""
    names = (name.replace("_", "-") for name in _files("slaf.studies", "@register_study"))
    return sorted(name for name in names if name.startswith(incomplete))


def complete_activations(incomplete: str) -> list[str]:
    """Names of activations; what stands before the last comma stays."""
    head, comma, last = incomplete.rpartition(",")
    names = {name for room in slaf.ACTIVATION_ROOMS for name in _registered(room)}
    return sorted(f"{head}{comma}{name}" for name in names if name.startswith(last))


_REGISTERS = re.compile(r"^(@?(activation|register)|activations\.register)\(|^for .*:\n    activations\.register\(", re.MULTILINE)
_NAME = re.compile(r"""^@activation\(\s*\w+\(\s*(?:name\s*=\s*)?["'](\w+)["']|^    name(?::[^=\n]+)?\s*=\s*["'](\w+)["']""", re.MULTILINE)
_TAGS = re.compile(r"\btags\s*=\s*[(\[]([^)\]]*)[)\]]")


def complete_tags(incomplete: str) -> list[str]:
    """Tags, as the files of the entries spell them."""
    root = Path(slaf.__file__).parent
    paths = (path for room in slaf.ACTIVATION_ROOMS for path in root.joinpath(*room.split(".")[1:]).glob("*.py"))
    texts = (path.read_text(encoding="utf-8") for path in paths)
    found = {tag for text in texts for inside in _TAGS.findall(text) for tag in re.findall(r"""["']([^"']+)["']""", inside)}
    return sorted(tag for tag in found if tag.startswith(incomplete))


def _registered(package: str) -> Iterator[str]:
    """The names under which the files of a package register activations; the file's own where it does not spell one."""
    for path in Path(slaf.__file__).parent.joinpath(*package.split(".")[1:]).glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if _REGISTERS.search(text):
            yield from [a or b for a, b in _NAME.findall(text)] or [path.stem]


def _files(package: str, *marks: str) -> Iterator[str]:
    """The files of a package that hold one of ``marks``: those that register something under their own name."""
    root = Path(slaf.__file__).parent
    for path in root.joinpath(*package.split(".")[1:]).glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if any(mark in text for mark in marks):
            yield path.stem
