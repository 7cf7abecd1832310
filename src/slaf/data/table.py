"""``read_table``: a CSV or Parquet file as numbers, categories and a target; what was done to it is said in notes."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slaf.core import SlafError, nearest, one_of

from .columns import Categories, LeftOut, Numbers, as_feature, understand
from .encode import TableSplit, encode
from .sources import Source, open_source
from .target import Target, as_target

__all__ = ["Table", "read_table", "table_files"]

_FEWEST = 10


@dataclass(frozen=True)
class Table:
    """A table as it was read, before anything is drawn or learned from it.

    Attributes:
        rows, target, task: number of rows; the target's column; ``"classification"`` or ``"regression"``.
        numeric: float32 (rows, n), NaN where missing; ``numeric_names`` names the columns. A number is ``numeric + centres``: 0 unless
            the column's values lie so far from 0 that float32 would blur their differences.
        codes: int32 (rows, m), indices of ``levels[j]``, −1 where missing; ``categorical_names`` names the columns.
        y: int64 indices of ``classes``, or float64 numbers (rows,).
        notes: short sentences on what was read, left out and filled in.
    """

    rows: int
    target: str
    task: str
    numeric: np.ndarray = field(repr=False)
    numeric_names: tuple[str, ...]
    centres: np.ndarray = field(repr=False)
    codes: np.ndarray = field(repr=False)
    levels: tuple[tuple[str, ...], ...] = field(repr=False)
    categorical_names: tuple[str, ...]
    y: np.ndarray = field(repr=False)
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def tensors(self, generator: torch.Generator, test_share: float = 0.2) -> TableSplit:
        """Split the rows and encode them, by what the training rows show: see :func:`slaf.data.encode.encode`."""
        return encode(self, generator, test_share)


def table_files(path: str | Path) -> tuple[Path, ...]:
    """The files that ``read_table`` reads: one.

    Raises:
        SlafError: there is no such file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        if not file.exists():
            raise SlafError(f"{file}: there is no such file")
        raise SlafError(f"{file} is {'a folder' if file.is_dir() else 'no regular file'}: a table is one file, CSV or Parquet")
    return (file,)


def read_table(
    path: str | Path,
    target: str,
    *,
    task: str = "auto",
    delimiter: str = "auto",
    decimal: str = ".",
    missing: str = "",
    categorical: str = "",
    ignore: str = "",
    max_rows: int = 2_000_000,
) -> Table:
    """Read a CSV (``.csv``, ``.tsv``, also packed by gzip) or Parquet file whose column ``target`` is to be predicted from the others.

    A column is numeric if all its values are numbers (true and false are 1 and 0), otherwise categorical. Left out, with a note: text
    that differs in nearly every row, dates, constants, and a column that counts the rows. Empty fields and the usual words (NA, NaN, null,
    None, …) are missing.

    Args:
        path, target: the file and the column.
        task: ``"classification"``, ``"regression"`` or ``"auto"``: classification for text and for whole numbers of at most 20 values.
        delimiter: of a text file: comma, semicolon, tab or pipe; ``"auto"`` takes the one that fits the first lines.
        decimal: the decimal sign of a text file, ``"."`` or ``","``.
        missing: more words that mean a missing value, separated by commas.
        categorical: columns that are categories although they look like numbers, separated by commas.
        ignore: columns to leave out, separated by commas.
        max_rows: a longer file is refused before it is read.

    Raises:
        SlafError: whatever cannot be read or must not be guessed, in one sentence.

    Example:
        >>> table = read_table("houses.csv", "price", ignore="address")   # doctest: +SKIP
        >>> x, y = table.tensors(torch.Generator().manual_seed(0)).train  # doctest: +SKIP
    """
    one_of("task", task, ("auto", "classification", "regression"))
    one_of("decimal", decimal, (".", ","))
    if isinstance(max_rows, bool) or not isinstance(max_rows, int) or max_rows < _FEWEST:
        raise SlafError(f"max_rows must be an integer of at least {_FEWEST}; got {max_rows!r}")
    words, forced, ignored = (_listed(n, v) for n, v in (("missing", missing), ("categorical", categorical), ("ignore", ignore)))
    file = Path(path).expanduser()
    names, read = open_source(file, delimiter, decimal, words, forced, ignored, max_rows)
    _check_named(file, names, target, forced, ignored)
    source = read()
    if source.rows < _FEWEST:
        raise SlafError(f"{file} has {source.rows} row{'s' * (source.rows != 1)}: at least {_FEWEST} are needed")
    goal = as_target(target, understand(target, source.take(target), source, decimal, target in forced), source, task)
    return _assemble(source, goal, [n for n in names if n != target and n not in ignored], set(forced), ignored, decimal)


def _assemble(source: Source, goal: Target, names: Iterable[str], forced: set[str], ignored: tuple[str, ...], decimal: str) -> Table:
    """Take column after column; a float64 column is gone before the next one comes."""
    numeric: dict[str, tuple[np.ndarray, float]] = {}
    categories: dict[str, Categories] = {}
    left_out = dict.fromkeys(ignored, "ignore")
    notes: list[str] = []
    for name in names:
        column = as_feature(understand(name, source.take(name), source, decimal, name in forced), name in forced)
        if isinstance(column, LeftOut):
            left_out[name] = column.reason
            continue
        if isinstance(column, Numbers):
            numeric[name] = _compact(column.values)
        else:
            categories[name] = column
        notes += _remarks(name, column)
    if not numeric and not categories:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:10])
        raise SlafError(f"{source.path} has no column left to predict {goal.name} from{f' ({reasons})' if reasons else ''}")
    empty = np.empty((source.rows, 0))
    return Table(
        rows=source.rows,
        target=goal.name,
        task=goal.task,
        numeric=np.stack([values for values, _ in numeric.values()], 1) if numeric else empty.astype(np.float32),
        numeric_names=tuple(numeric),
        centres=np.array([centre for _, centre in numeric.values()]),
        codes=np.stack([column.codes for column in categories.values()], 1) if categories else empty.astype(np.int32),
        levels=tuple(column.levels for column in categories.values()),
        categorical_names=tuple(categories),
        y=goal.y,
        classes=goal.classes,
        notes=(_kinds(numeric, categories, left_out), *goal.notes, *notes),
    )


def _compact(values: np.ndarray) -> tuple[np.ndarray, float]:
    """The values in float32, less a centre where they would otherwise lose what tells them apart: times in seconds since 1970, say."""
    small, spread = values.astype(np.float32), float(np.nanstd(values))
    if float(np.nanmax(np.abs(values - small))) <= 1e-3 * spread:
        return small, 0.0
    centre = float(np.nanmean(values))
    return (values - centre).astype(np.float32), centre


def _kinds(numeric: dict[str, Any], categories: dict[str, Categories], left_out: dict[str, str]) -> str:
    parts = [f"{len(numeric)} numeric column{'s' * (len(numeric) != 1)}"]
    if categories:
        counts = _shortened([f"{name} {len(column.levels)}" for name, column in categories.items()])
        parts.append(f"{len(categories)} categorical (one-hot; levels: {counts})")
    if left_out:
        parts.append(f"{len(left_out)} left out ({_shortened([f'{name}: {reason}' for name, reason in left_out.items()], sign='; ')})")
    return ", ".join(parts)


def _remarks(name: str, column: Numbers | Categories) -> list[str]:
    notes, missing = [], int(column.missing.sum())
    if missing:
        instead = "the training mean instead and a column that says so" if isinstance(column, Numbers) else "a column that says so"
        notes.append(f"{name}: {missing:,} value{'s' * (missing != 1)} missing, {instead}")
    if isinstance(column, Numbers) and not missing and (column.values == np.floor(column.values)).all():
        if len(np.unique(column.values)) == len(column.values):
            notes.append(f"{name}: a different whole number in every row; if it only names the row, leave it out with ignore={name}")
    elif isinstance(column, Categories) and len(column.levels) > 32:
        notes.append(f"{name}: {len(column.levels):,} levels; the 31 most frequent in training are kept, the rest are one")
    return notes


def _shortened(parts: list[str], most: int = 8, sign: str = ", ") -> str:
    return sign.join(parts[:most]) + (f"{sign}and {len(parts) - most} more" if len(parts) > most else "")


def _listed(argument: str, text: Any) -> tuple[str, ...]:
    """The words of an option, separated by commas; one that holds a comma stands in double quotes."""
    if not isinstance(text, str):
        raise SlafError(f"{argument} must be text, words separated by commas; got {text!r}")
    try:
        fields = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise SlafError(f"{argument} must be words separated by commas; got {text!r}: {error}") from None
    return tuple(dict.fromkeys(word.strip() for word in fields if word.strip()))


def _check_named(file: Path, names: tuple[str, ...], target: str, forced: tuple[str, ...], ignored: tuple[str, ...]) -> None:
    for argument, wanted in (("target", (target,)), ("categorical", forced), ("ignore", ignored)):
        for name in wanted:
            if name not in names:
                raise SlafError(f"{argument}: {file} has no column {name!r}{nearest(name, names)}; it has {_shortened(list(names), 10)}")
    if target in ignored:
        raise SlafError(f"ignore must not name the target {target!r}")
