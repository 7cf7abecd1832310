"""What one column of a table is: numbers, categories, or nothing a network can use; decided from its values, said in the open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from slaf.core import SlafError

from .library import library
from .sources import Dates, Source, Unreadable

__all__ = ["Categories", "LeftOut", "Numbers", "as_feature", "understand"]

_MOSTLY = 0.8
"""A text column with at least this share of numbers is taken for a numeric one with errors in it."""
_MANY = 100
_DATE = r"\s*(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})(?:[T ]\d{1,2}:\d{2}.*)?\s*"


@dataclass(frozen=True)
class Numbers:
    """``values`` (rows,), float64, NaN where missing."""

    values: np.ndarray

    @property
    def missing(self) -> np.ndarray:
        """Boolean (rows,)."""
        return np.isnan(self.values)


@dataclass(frozen=True)
class Categories:
    """``codes`` (rows,), int32, index the sorted ``levels``; −1 where missing. ``truth``: the levels are true and false."""

    codes: np.ndarray
    levels: tuple[str, ...]
    truth: bool = False

    @property
    def missing(self) -> np.ndarray:
        """Boolean (rows,)."""
        return self.codes < 0


@dataclass(frozen=True)
class LeftOut:
    """A column that is not used, and why."""

    reason: str


def understand(name: str, values: Any, source: Source, decimal: str = ".", forced: bool = False) -> Numbers | Categories | LeftOut:
    """What the column ``name`` is. ``forced``: its text is categories whatever it looks like.

    Raises:
        SlafError: text of which most is numbers, numbers with the other decimal sign, or a number that float32 cannot hold.
    """
    if values is Dates:
        return LeftOut("dates")
    if values is Unreadable:
        return LeftOut("neither numbers nor text")
    if isinstance(values, np.ndarray):
        return _finite(name, values, source)
    pd = library("pandas", "reading a table")
    codes, levels = pd.factorize(values)
    if not len(levels):
        return Numbers(np.full(len(codes), np.nan))
    levels = pd.Series(levels, dtype="str")
    counts = np.bincount(codes[codes >= 0], minlength=len(levels))
    if not forced:
        numbers = _parsed(pd, name, levels, codes, counts, source, decimal)
        if numbers is not None:
            return _finite(name, numbers, source)
        if bool(levels.str.fullmatch(_DATE).all()):
            return LeftOut("dates")
    order = np.argsort(levels.to_numpy(dtype=object), kind="stable")
    rank = np.empty(len(order) + 1, np.int32)
    rank[order], rank[-1] = np.arange(len(order), dtype=np.int32), -1
    names = tuple(levels.iloc[order].tolist())
    return Categories(rank[codes], names, {level.strip().casefold() for level in names[:3]} <= {"true", "false"} and not forced)


def _parsed(pd: Any, name: str, levels: Any, codes: np.ndarray, counts: np.ndarray, source: Source, decimal: str) -> np.ndarray | None:
    """The column as numbers, if its text is that throughout; ``None`` if it is something else."""
    other = "," if decimal == "." else "."
    if bool(levels.str.fullmatch(rf"\s*[+-]?[\d{other}]*\d\s*").all()) and bool(levels.str.contains(other, regex=False).any()):
        first = levels[levels.str.contains(other, regex=False)].iloc[0]
        raise SlafError(
            f"column {name} holds numbers with {other!r}, such as {first!r}: -o decimal={other} reads it as the decimal sign; "
            "a sign between thousands must be taken out of the file"
        )
    plain = levels if decimal == "." else levels.where(~levels.str.contains(".", regex=False), "x").str.replace(decimal, ".", regex=False)
    numbers = pd.to_numeric(plain, errors="coerce").to_numpy(np.float64)
    wrong = np.isnan(numbers)
    bad, total = int(counts[wrong].sum()), int(counts.sum())
    if not bad:
        return np.append(numbers, np.nan)[codes]
    if total - bad < _MOSTLY * total:
        return None
    row = int(np.append(wrong, False)[codes].argmax())
    word = levels.iloc[codes[row]]
    raise SlafError(
        f"column {name} holds numbers but for {bad:,} of its {total:,} values, the first being {word!r} in {source.where(row)}: "
        f"correct them in the file, or take the word as missing (-o missing={word}), or the column as categories (-o categorical={name})"
    )


def _finite(name: str, values: np.ndarray, source: Source) -> Numbers:
    wrong = np.abs(values) > np.finfo(np.float32).max  # infinity too; NaN is not
    if wrong.any():
        row = int(wrong.argmax())
        raise SlafError(
            f"column {name} holds {values[row]:g} in {source.where(row)}: a number must be finite and below 3.4e38; "
            f"correct it in the file, or leave the column out (-o ignore={name})"
        )
    return Numbers(values)


def as_feature(column: Numbers | Categories | LeftOut, forced: bool = False) -> Numbers | Categories | LeftOut:
    """The column as an input of a network: true and false become 1 and 0; what cannot tell rows apart, or tells all apart, is left out."""
    if isinstance(column, Categories) and column.truth and len(column.levels) == 2:
        column = Numbers(np.where(column.missing, np.nan, column.codes.astype(np.float64)))  # false sorts before true
    if isinstance(column, LeftOut):
        return column
    missing, rows = column.missing, len(column.missing)
    if missing.all():
        return LeftOut("no values")
    if isinstance(column, Numbers):
        if not missing.any() and (column.values == column.values[0]).all():
            return LeftOut(f"always {column.values[0]:g}")
        if column.values[0] in (0, 1) and (np.diff(column.values) == 1).all():
            return LeftOut("counts the rows")
        return column
    if len(column.levels) == 1 and not missing.any():
        return LeftOut(f"always {column.levels[0]!r}")
    used = rows - int(missing.sum())
    if not forced and len(column.levels) == used > 1:
        return LeftOut("text, every value is different")
    if not forced and len(column.levels) > max(_MANY, rows / 2):
        return LeftOut(f"text, {len(column.levels):,} different values in {rows:,} rows")
    return column
