"""Where a table's columns come from: a CSV or a Parquet file, parsed once, handed out column by column so that memory stays low."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from slaf.core import SlafError

from .library import library
from .text import TextFile, check_encoding, inspect_text, readable

__all__ = ["Dates", "Source", "Unreadable", "open_source"]


class Dates:
    """A column of dates or times."""


class Unreadable:
    """A column of lists, records or bytes."""


Values = Any
"""A float64 array with NaN where a number is missing, a pandas Series of text with NaN where one is missing, Dates or Unreadable."""


@dataclass
class Source:
    """The columns of one file by name, and where its rows are. ``take`` hands a column out and forgets it."""

    path: Path
    rows: int
    columns: dict[str, list[Any]] = field(repr=False)
    text: TextFile | None = None

    def take(self, name: str) -> Values:
        """The values of column ``name``: a float64 array, a Series of text, ``Dates`` or ``Unreadable``."""
        pieces = self.columns.pop(name)
        if isinstance(pieces[0], type):
            return pieces[0]
        if isinstance(pieces[0], np.ndarray):
            return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
        return library("pandas", "reading a table").concat(pieces, ignore_index=True)

    def where(self, row: int) -> str:
        """``line 12``: where row ``row``, counted from 0, is in the file."""
        return f"line {self.text.line_of(row)}" if self.text else f"row {row + 1}"


def open_source(
    path: Path, delimiter: str, decimal: str, missing: Sequence[str], as_text: Collection[str], ignore: Collection[str], max_rows: int
) -> tuple[tuple[str, ...], Any]:
    """The column names, and a function without arguments that reads all columns but the ignored ones into a :class:`Source`.

    Two steps, because a wrong name should be refused before a large file is parsed. Columns in ``as_text`` keep their spelling (``007``).
    """
    if _is_parquet(path):
        return _open_parquet(path, missing, as_text, ignore, max_rows)
    text = inspect_text(path, delimiter, max_rows)
    return text.names, lambda: _read_csv(text, decimal, missing, as_text, ignore)


def _is_parquet(path: Path) -> bool:
    if path.is_dir():
        raise SlafError(f"{path} is a folder: a table is one file, CSV or Parquet")
    if not path.exists():
        raise SlafError(f"{path}: there is no such file")
    if path.suffix in (".parquet", ".pq"):
        return True
    with readable(path) as handle:
        return handle.read(4) == b"PAR1"


def _read_csv(text: TextFile, decimal: str, missing: Sequence[str], as_text: Collection[str], ignore: Collection[str]) -> Source:
    kept = [name for name in text.names if name not in ignore]
    pieces, rows = _parse(text, kept, {name for name in kept if name in as_text}, decimal, missing)
    # a column that is numbers in one part of the file and words in another is read again as what was written
    unclear = [name for name in kept if not _uniform(pieces[name])]
    if unclear:
        pieces |= _parse(text, unclear, set(unclear), decimal, missing)[0]
    # a row that is too short ends in missing values
    if rows and text.names[-1] in kept and _has_missing(pieces[text.names[-1]]) and (error := text.ragged()):
        raise error
    return Source(text.path, rows, pieces, text)


def _parse(text: TextFile, kept: list[str], as_text: set[str], decimal: str, missing: Sequence[str]) -> tuple[dict[str, list[Any]], int]:
    """The pieces of each column: float64 arrays, Series of text, or the class ``object`` for a mixture; and the number of rows.

    In chunks, because pandas would otherwise hold every column twice.
    """
    pd = library("pandas", "reading a table")
    pieces: dict[str, list[Any]] = {name: [] for name in kept}
    rows = 0
    try:
        with readable(text.path) as handle, pd.read_csv(
            handle, sep=text.delimiter, names=list(text.names), header=0, dtype=dict.fromkeys(as_text, "str"), na_values=list(missing),
            decimal=decimal, skipinitialspace=True, encoding="utf-8", low_memory=False,
            chunksize=max(1, min(100_000, 2_000_000 // len(text.names))),
        ) as chunks:  # fmt: skip
            for chunk in chunks:
                rows += len(chunk)
                for name in kept:
                    pieces[name].append(_piece(pd, chunk[name], name in as_text))
    except UnicodeDecodeError:
        raise check_encoding(text.path) from None
    except (ValueError, OverflowError, MemoryError) as error:  # pandas' errors of parsing are ValueErrors
        if isinstance(error, SlafError):
            raise
        raise _not_parsed(text, str(error)) from None
    return pieces, rows


def _not_parsed(text: TextFile, message: str) -> SlafError:
    if open_quote := re.search(r"EOF inside string starting at row (\d+)", message):
        line = text.line_of(int(open_quote[1]) - 2) + 1  # pandas counts the header as row 0; the line after the row before
        return SlafError(f"{text.path}: a quotation mark in line {line} is never closed")
    return text.ragged() or SlafError(f"{text.path} cannot be read as a table: {' '.join(message.split())}")


def _piece(pd: Any, values: Any, as_text: bool) -> Any:
    if as_text:
        return values
    if values.dtype.kind in "iuf":
        return values.to_numpy(np.float64, copy=True)  # a view would keep the whole chunk
    return values if pd.api.types.infer_dtype(values, skipna=True) == "string" else object


def _uniform(pieces: list[Any]) -> bool:
    """Whether all pieces of a column are numbers, or all are text."""
    return object not in [p for p in pieces if isinstance(p, type)] and len({isinstance(p, np.ndarray) for p in pieces}) <= 1


def _has_missing(pieces: list[Any]) -> bool:
    return any(bool(np.isnan(p).any()) if isinstance(p, np.ndarray) else bool(p.isna().any()) for p in pieces)


def _open_parquet(
    path: Path, missing: Sequence[str], as_text: Collection[str], ignore: Collection[str], max_rows: int
) -> tuple[tuple[str, ...], Any]:
    pa, pq = library("pyarrow", "reading a Parquet file"), library("pyarrow.parquet", "reading a Parquet file")
    with readable(path) as handle:
        if handle.read(4) != b"PAR1":
            raise SlafError(f"{path} is not a Parquet file: it does not begin with PAR1")
    failures = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)
    try:
        with pq.ParquetFile(path) as file:
            names, rows = tuple(file.schema_arrow.names), file.metadata.num_rows
    except failures as error:
        raise SlafError(f"{path} is a damaged Parquet file: {' '.join(str(error).split())}") from None
    if rows > max_rows:
        size = path.stat().st_size / 1e6
        raise SlafError(f"{path} has {rows:,} rows ({size:,.0f} MB), more than max_rows={max_rows:,}: -o max_rows=N reads more")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SlafError(f"{path} has two columns named {twice!r}; rename one")

    def read() -> Source:
        try:
            with pq.ParquetFile(path) as file:
                kept = [name for name in names if name not in ignore]
                # one at a time: arrow's copy of a column goes before the next one comes
                columns = {name: [_arrow_values(pa, _read_column(file, name), missing, name in as_text)] for name in kept}
        except failures as error:
            raise SlafError(f"{path} is a damaged Parquet file: {' '.join(str(error).split())}") from None
        return Source(path, rows, columns)

    return names, read


def _read_column(file: Any, name: str) -> Any:
    return file.read(columns=[name], use_threads=False).column(0)


def _arrow_values(pa: Any, column: Any, missing: Sequence[str], as_text: bool) -> Values:
    kinds, type_ = pa.types, column.type
    if kinds.is_dictionary(type_):
        type_ = type_.value_type
        column = column.cast(type_)
    if kinds.is_temporal(type_):
        return Dates
    number = kinds.is_boolean(type_) or kinds.is_integer(type_) or kinds.is_floating(type_) or kinds.is_decimal(type_)
    if kinds.is_null(type_):
        return np.full(len(column), np.nan)
    if number and not as_text:
        # a boolean does not cast to float64 directly
        column = column.cast(pa.int8()) if kinds.is_boolean(type_) else column
        values = column.cast(pa.float64(), safe=False).to_numpy().astype(np.float64, copy=True)
        unlike = [float(word) for word in missing if _is_number(word)]
        values[np.isin(values, unlike)] = np.nan
        return values
    if not (number or kinds.is_string(type_) or kinds.is_large_string(type_) or kinds.is_string_view(type_)):
        return Unreadable
    text = column.cast(pa.large_string()).to_pandas()
    return text.mask(text.isin(["", *missing]))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
