"""The column to predict: classes or a number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slaf.core import SlafError

from .columns import Categories, LeftOut, Numbers
from .sources import Source

__all__ = ["MOST_CLASSES", "Target", "as_target"]

MOST_CLASSES = 1000
_FEW = 20
"""Up to this many different whole numbers are classes, unless the task is given."""


@dataclass(frozen=True)
class Target:
    """``y``: int64 indices of ``classes``, or float64 numbers; both (rows,)."""

    name: str
    task: str
    y: np.ndarray
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def as_target(name: str, column: Numbers | Categories | LeftOut, source: Source, task: str) -> Target:
    """Decide the task, where it is ``"auto"``, and code the column for it.

    Raises:
        SlafError: missing values, a single value, text where a number is to be predicted, or more than 1000 classes.
    """
    if isinstance(column, LeftOut):
        raise SlafError(f"target {name} holds {column.reason}: only numbers and categories can be predicted")
    missing = column.missing
    if missing.any():
        where = source.where(int(missing.argmax()))
        raise SlafError(
            f"target {name} is missing in {int(missing.sum()):,} of {source.rows:,} rows, first in {where}: remove those rows from the file"
        )
    if isinstance(column, Categories):
        if task == "regression":
            raise SlafError(
                f"target {name} holds text, such as {column.levels[0]!r}: task=regression needs numbers, task=classification does not"
            )
        codes, classes, why = column.codes.astype(np.int64), column.levels, "text"
    else:
        values, codes = np.unique(column.values, return_inverse=True)
        whole = bool((values == np.floor(values)).all())
        few = whole and len(values) <= _FEW
        why = f"{len(values):,} different {'whole ' * whole}numbers"
        if task == "regression" or (task == "auto" and not few):
            if len(values) < 2:
                raise SlafError(f"target {name} is always {values[0]:g}: there is nothing to predict")
            return Target(name, "regression", column.values, (), (f"target {name}: regression{_given(task, why)}",))
        classes = tuple(str(int(v)) if whole else repr(float(v)) for v in values)
    if len(classes) < 2:
        raise SlafError(f"target {name} is always {classes[0]!r}: there is nothing to predict")
    if len(classes) > MOST_CLASSES:
        instead = "task=regression predicts a number" if isinstance(column, Numbers) else "is it the right column?"
        raise SlafError(f"target {name} has {len(classes):,} classes, more than {MOST_CLASSES:,}: {instead}")
    counts = np.bincount(codes)
    share = counts.max() / len(codes)
    notes = [f"target {name}: classification{_given(task, why)}, {len(classes):,} classes, the largest {share:.0%} of the rows"]
    single = np.flatnonzero(counts == 1)
    if len(single):
        others = f" and {len(single) - 1:,} more have" if len(single) > 1 else " has"
        notes.append(f"class {classes[single[0]]!r}{others} a single row, kept for training")
    return Target(name, "classification", codes.astype(np.int64), classes, tuple(notes))


def _given(task: str, why: str) -> str:
    return f" (auto: {why})" if task == "auto" else ""
