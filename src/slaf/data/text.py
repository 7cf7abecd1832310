"""A text table before it is parsed: how it is opened, separated and headed, how many rows it has, and which line a row is in."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from slaf.core import SlafError, nearest

__all__ = ["TextFile", "inspect_text", "readable"]

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_SAMPLE = 2**16
_BLOCK = 2**20
_LONGEST = 2**26
_BINARY = {b"PK\x03\x04": "a spreadsheet or a zip archive", b"%PDF": "a PDF", b"\x89PNG": "an image", b"\xff\xd8\xff": "an image"}


@dataclass(frozen=True)
class TextFile:
    """A text table's path, delimiter and column names; ``about`` is an upper estimate of its rows."""

    path: Path
    delimiter: str
    names: tuple[str, ...]
    about: int

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """(line number, fields) of the header and of every row: slow, for error messages."""
        with readable(self.path) as handle, io.TextIOWrapper(handle, "utf-8-sig", "replace", newline="") as lines:
            yield from _records(lines, self.delimiter)

    def line_of(self, row: int) -> int:
        """The line of the file where row ``row``, counted from 0, ends; the header is row −1."""
        return next((line for line, _ in islice(self.records(), row + 1, None)), row + 2)

    def ragged(self) -> SlafError | None:
        """The error to raise for the first row that does not have as many fields as the header; ``None`` if there is none."""
        expected = len(self.names)
        for line, fields in self.records():
            if len(fields) != expected:
                return SlafError(f"{self.path}: line {line} has {_count(len(fields), 'field')} where the header has {expected}")
        return None


@contextmanager
def readable(path: Path) -> Iterator[IO[bytes]]:
    """``path`` opened for reading, unpacked if it is gzip whatever its name; what goes wrong with the file is a :class:`SlafError`."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if path.suffix == ".gz" and not packed:
                raise SlafError(f"{path} ends in .gz but is not a gzip file")
            if not packed:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield unpacked  # type: ignore[misc]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SlafError(f"{path} is a damaged or cut-off gzip file: {error}") from None
    except IsADirectoryError:
        raise SlafError(f"{path} is a folder: a table is one file, CSV or Parquet") from None
    except OSError as error:
        raise SlafError(f"{path} cannot be read: {error.strerror or error}") from None


def inspect_text(path: Path, delimiter: str, max_rows: int) -> TextFile:
    """Look at the beginning of a text table, and count its lines.

    Raises:
        SlafError: nothing in it, not UTF-8 text, more than ``max_rows`` rows, no line of names, a name twice, or another delimiter.
    """
    chosen = delimiter_of(delimiter)
    with readable(path) as handle:
        sample = handle.read(_SAMPLE)
    _check_text(path, sample)
    about = _count_lines(path, max_rows) - 1
    lines = _sample_lines(path, sample)
    guess = _guess(lines)
    # blank lines between rows are skipped, as pandas does
    records = [fields for _, fields in _records(lines, chosen or guess)]
    if not records:
        raise SlafError(f"{path} is empty: a table needs a first line of column names")
    names = tuple(" ".join(name.split()) or f"column {i + 1}" for i, name in enumerate(records[0]))
    if len(names) == 1 and chosen and chosen != guess:
        raise SlafError(
            f"{path} is one column when separated by {chosen!r}; it looks separated by {guess!r}: -o delimiter={_DELIMITERS[guess]}"
        )
    _check_names(path, names)
    if len(records) == 1 and about < 1:
        raise SlafError(f"{path} holds a line of column names and no rows")
    if len(records) > 1 and len(records[1]) == len(names) + 1:  # pandas would take the first field as the rows' names
        raise SlafError(f"{path}: the first row has {len(records[1])} fields where the header has {len(names)}")
    return TextFile(path, chosen or guess, names, about)


def delimiter_of(text: Any) -> str:
    """The delimiter that an option names, by itself or by its English name; empty for ``auto``.

    Raises:
        SlafError: anything else.
    """
    words = {"auto": "", "\\t": "\t"} | {d: d for d in _DELIMITERS} | {name: d for d, name in _DELIMITERS.items()}
    if not isinstance(text, str) or text not in words:
        allowed = ("auto", *_DELIMITERS.values())
        raise SlafError(f"delimiter must be one of {', '.join(allowed)}; got {text!r}{nearest(str(text), allowed)}")
    return words[text]


def check_encoding(path: Path) -> SlafError:
    """The error for a file that is not UTF-8: names the first line that is not."""
    with readable(path) as handle:
        for number, line in enumerate(handle, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                return SlafError(f"{path} is not UTF-8 text: line {number} holds the byte 0x{byte:02x}; save the file as UTF-8")
    return SlafError(f"{path} is not UTF-8 text; save the file as UTF-8")


def _check_text(path: Path, sample: bytes) -> None:
    if not sample:
        raise SlafError(f"{path} is empty: a table needs a first line of column names")
    kind = next((kind for magic, kind in _BINARY.items() if sample.startswith(magic)), None)
    if sample[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise SlafError(f"{path} is UTF-16 text; save the file as UTF-8")
    if kind or b"\0" in sample:
        raise SlafError(f"{path} is not a table: it is {kind or 'binary'}; CSV (also .gz), TSV and Parquet are read")


def _sample_lines(path: Path, sample: bytes) -> list[str]:
    """The first lines, whole ones where there are several; keeps their ends, for quoted fields may hold some."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(sample, final=False)
    except UnicodeDecodeError:
        raise check_encoding(path) from None
    lines = list(io.StringIO(text, newline=""))
    return lines[:-1] if len(sample) == _SAMPLE and len(lines) > 1 else lines


def _count_lines(path: Path, max_rows: int) -> int:
    """Lines of the file, roughly: quoted line ends and blank lines count too. Refuses more than ``max_rows`` and a header."""
    lines, position, since, last = 0, 0, 0, b"\n"
    with readable(path) as handle:
        while block := handle.read(_BLOCK):
            ends = block.count(b"\n") or block.count(b"\r")
            lines, position, last = lines + ends, position + len(block), block[-1:]
            since = 0 if ends else since + len(block)
            if since > _LONGEST or b"\0" in block:
                raise SlafError(f"{path} is not a table: it has {'zero bytes' if since <= _LONGEST else 'a line of more than 64 MB'}")
            if lines > max_rows + 1:
                break
    if lines <= max_rows + 1:
        return lines + (last not in b"\r\n")
    size = path.stat().st_size
    rows = f"about {round(lines * size / position):,}" if position <= size else f"more than {max_rows:,}"
    raise SlafError(f"{path} has {rows} rows ({size / 1e6:,.0f} MB), more than max_rows={max_rows:,}: -o max_rows=N reads more")


def _records(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        for fields in reader:
            if len(fields) > 1 or (fields and fields[0].strip()):
                yield reader.line_num, fields
    except csv.Error:
        return  # a field without end, say; pandas says what


def _guess(lines: list[str]) -> str:
    """The delimiter that gives the first lines the most fields, all lines as many; if none does, the header the most."""

    def quality(delimiter: str) -> tuple[bool, int]:
        widths = [len(fields) for _, fields in islice(_records(lines, delimiter), 20)]
        return (bool(widths) and widths[0] > 1 and len(set(widths)) == 1, widths[0] if widths else 0)

    return max(_DELIMITERS, key=quality)  # the first of equals


def _check_names(path: Path, names: tuple[str, ...]) -> None:
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None) if len(set(names)) < len(names) else None
    if len(names) > 1 and all(_is_number(name) for name in names):
        raise SlafError(f"{path}: the first line holds numbers ({', '.join(names[:4])}), not column names; add a line of names above it")
    if twice is not None:
        raise SlafError(f"{path} has two columns named {twice!r}; rename one")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
