"""``merge``: several run folders of one comparison, such as several machines', into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slaf.core import SlafError

from .store import Store, load

__all__ = ["merge"]


def merge(folders: Sequence[str | Path], out: str | Path) -> int:
    """Put the trials of ``folders`` into the folder ``out``, each once, and return how many it holds then.

    Where two folders hold the same trial, the first one's stays: the key determines the metrics.

    Raises:
        SlafError: a folder holds no run, was made with other options than the first (seeds, activations and learning rates may
            differ), or is ``out`` itself; or ``out`` cannot be used.
    """
    if not folders:
        raise SlafError("--merge needs folders that `slaf compare` made, such as slaf compare --merge a b --out c")
    runs = [(Path(folder), *load(folder)) for folder in folders]
    first, run, _ = runs[0]
    view = dict(run["view"])
    activations = list(dict.fromkeys(a for _, other, _ in runs for a in other["view"]["activations"]))
    for folder, other, _ in runs:
        if folder.resolve() == Path(out).resolve():
            raise SlafError(f"--out {str(out)!r} is one of the folders to merge; choose another")
        _same(first, run["fixed"], folder, other["fixed"])
    with Store(out, run["fixed"], view | {"activations": activations}) as store:
        for _, _, records in runs:
            for record in records:
                if record["key"] not in store.records:
                    store.append(record)
        return len(store.records)


def _same(first: Path, wanted: dict[str, Any], folder: Path, found: dict[str, Any]) -> None:
    for name in {**wanted, **found}:
        if wanted.get(name) != found.get(name):
            raise SlafError(
                f"folders {str(first)!r} and {str(folder)!r} cannot be merged: {name} is {wanted.get(name)!r} in one and "
                f"{found.get(name)!r} in the other"
            )
