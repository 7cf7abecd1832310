"""The user's data in a study: read once in a process, however many trials need them, and named by their content."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from slaf.core import SlafError
from slaf.data import Arrays, Images, Table, arrays_from, load_function, read_images, read_table

__all__ = ["epochs_for", "given_arrays", "given_images", "given_table", "names_of"]


def given_table(path: str, target: str, files: Sequence[Path], options: Mapping[str, Any]) -> Table:
    """:func:`slaf.data.read_table`, remembered until the file or an option changes."""
    return _table(path, target, _stamp(files), tuple(options.items()))


def given_images(path: str, files: Sequence[Path], options: Mapping[str, Any]) -> Images:
    """:func:`slaf.data.read_images`, remembered until a file or an option changes."""
    return _images(path, _stamp(files), tuple(options.items()))


def given_arrays(text: str) -> Arrays:
    """:func:`slaf.data.arrays_from`, remembered until the name means another function, as after a change in a notebook."""
    return _arrays(text, load_function(text))


@lru_cache(maxsize=2)
def _table(path: str, target: str, _stamp: str, options: tuple[tuple[str, Any], ...]) -> Table:
    return read_table(path, target, **dict(options))


@lru_cache(maxsize=2)
def _images(path: str, _stamp: str, options: tuple[tuple[str, Any], ...]) -> Images:
    return read_images(path, **dict(options))


@lru_cache(maxsize=2)
def _arrays(text: str, _function: Any) -> Arrays:
    return arrays_from(text)


def _stamp(files: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for path in files:
        stat = path.stat()
        total.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return total.hexdigest()


def names_of(path: str, files: Sequence[Path]) -> str:
    """SHA-256 of the files' names below ``path``: a folder's name is the class of what is in it, wherever the whole lies."""
    root = Path(path).expanduser()
    root = root if root.is_dir() else root.parent
    return hashlib.sha256("\0".join(file.relative_to(root).as_posix() for file in files).encode()).hexdigest()


def epochs_for(steps: Any, rows: int, batch_size: Any) -> int:
    """Whole epochs, at least one, that come nearest to ``steps`` steps.

    Raises:
        SlafError: ``steps`` or ``batch_size`` is not a positive integer.
    """
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SlafError(f"{name} must be an integer of at least 1; got {value!r}")
    return max(1, round(steps / math.ceil(rows / batch_size)))
