"""A run folder: ``run.json`` says what it is for, ``results.jsonl`` keeps one finished trial per line. The driver is the only writer."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from slaf.core import SlafError

__all__ = ["Store", "load"]

RESULTS, RUN, TORN = "results.jsonl", "run.json", "results.jsonl.torn"


class Store:
    """An open run folder.

    Args:
        folder: made if it is not there.
        fixed: what all its trials share (``Plan.fixed()``); a folder made with anything else is refused.
        view: how the results are to be looked at (``Plan.view()``); replaces what was there.

    Raises:
        SlafError: the folder cannot be written, was made with other options, is in use by another run, or holds a damaged file.
    """

    def __init__(self, folder: str | Path, fixed: dict[str, Any], view: dict[str, Any]) -> None:
        self.folder = Path(folder)
        check_folder(self.folder, fixed)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # unbuffered: a buffer would try again when the file is closed, and so write the second half of a line that was given up
            self._file: IO[bytes] = open(self.folder / RESULTS, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            _lock(self._file, self.folder)
            good, torn = _read(self.folder / RESULTS)
            if torn:
                self._keep_torn_aside(torn)
            _replace(self.folder / RUN, json.dumps({"fixed": fixed, "view": view}, indent=2) + "\n")
        except OSError as error:
            self.close()
            raise self._unwritable(error) from None
        except SlafError:
            self.close()
            raise
        self.records: dict[str, dict[str, Any]] = {r["key"]: r for r in good}

    def _unwritable(self, error: OSError) -> SlafError:
        return SlafError(f"cannot write to folder {str(self.folder)!r}: {_reason(error)}; choose another with --out")

    def _keep_torn_aside(self, torn: bytes) -> None:
        with open(self.folder / TORN, "ab") as aside:
            aside.write(torn + b"\n")
            aside.flush()
            os.fsync(aside.fileno())
        size = (self.folder / RESULTS).stat().st_size
        self._file.truncate(size - len(torn))
        os.fsync(self._file.fileno())

    def append(self, record: dict[str, Any]) -> None:
        """Keep a finished trial: on disk when this returns, and nothing of it if this raises.

        Raises:
            SlafError: the disk is full or broken; the trials before stay whole.
        """
        line = json.dumps(record, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        end = None
        try:
            end = os.fstat(self._file.fileno()).st_size
            rest = memoryview(line)
            while rest:  # a disk takes what still fits and refuses the rest
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):  # else the next run puts the torn line aside
                if end is not None:
                    self._file.truncate(end)
                    os.fsync(self._file.fileno())
            raise SlafError(
                f"cannot write to folder {str(self.folder)!r}: {_reason(error)}; "
                "the trials stored before are whole, and the same command resumes once there is room"
            ) from None
        self.records[record["key"]] = record

    def close(self) -> None:
        """Close the file and let other runs use the folder."""
        self._file.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def load(folder: str | Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read a run folder without changing it: ``run.json``, and the whole lines of ``results.jsonl``, each trial once.

    Raises:
        SlafError: it is no run folder, or a file in it is damaged.
    """
    folder = Path(folder)
    run = _read_run(folder)
    if run is None:
        raise SlafError(f"{str(folder)!r} is not a folder of results: it has no {RUN}; `slaf compare --out DIR` makes one")
    good, _ = _read(folder / RESULTS)
    return run, list({r["key"]: r for r in good}.values())


def check_folder(folder: Path, fixed: dict[str, Any]) -> None:
    """Raise unless ``folder`` is new or was made with ``fixed``. Nothing is written."""
    try:
        if folder.exists() and not folder.is_dir():
            raise SlafError(f"--out {str(folder)!r} is a file, not a folder")
        # an empty one is what a driver leaves that was killed, or found the disk full, before it had written run.json
        filled = (folder / RESULTS).exists() and (folder / RESULTS).stat().st_size > 0
    except OSError as error:
        raise SlafError(f"cannot use folder {str(folder)!r}: {_reason(error)}; choose another with --out") from None
    run = _read_run(folder)
    if run is None:
        if filled:
            raise SlafError(f"folder {str(folder)!r} has a {RESULTS} but no {RUN}, so what made it is unknown; choose another with --out")
        return
    old = run["fixed"]
    for name in fixed:
        if old.get(name) != fixed[name]:
            raise SlafError(
                f"folder {str(folder)!r} was made with {name}={_short(name, old.get(name), fixed[name])}, "
                f"now it is {_short(name, fixed[name], old.get(name))}; choose another with --out"
            )


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _short(name: str, value: Any, other: Any) -> Any:
    if not (name == "settings" and isinstance(value, dict) and isinstance(other, dict)):
        return value
    return {k: v for k, v in value.items() if k not in other or other[k] != v}


def _read_run(folder: Path) -> dict[str, Any] | None:
    path = folder / RUN
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SlafError(f"cannot read {str(path)!r}: {_reason(error)}") from None
    except ValueError:
        run = None
    if not (isinstance(run, dict) and isinstance(run.get("fixed"), dict) and isinstance(run.get("view"), dict)):
        raise SlafError(f"{str(path)!r} is damaged: it does not hold the options of a run")
    return run


def _read(path: Path) -> tuple[list[dict[str, Any]], bytes]:
    """The trials, and the torn last line that a killed writer left, if any."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], b""
    except OSError as error:
        raise SlafError(f"cannot read {str(path)!r}: {_reason(error)}") from None
    *lines, torn = content.split(b"\n")
    good = []
    for number, line in enumerate(lines, 1):
        record = _parse(line)
        if record is None and number == len(lines) and not torn:
            torn = line + b"\n"  # whole by its newline, but its middle never reached the disk
        elif record is None:
            raise SlafError(f"{str(path)!r}, line {number}, is not a trial's result; remove that line and run again")
        else:
            good.append(record)
    return good, torn


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    needed = ("key", "study", "activation", "seed", "budget", "status", "metrics", "cost")
    return record if isinstance(record, dict) and all(name in record for name in needed) else None


def _replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never a half."""
    aside = path.with_name(path.name + ".new")
    try:
        with open(aside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def _lock(file: IO[bytes], folder: Path) -> None:
    """Two drivers in one folder would run trials twice; the lock goes with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # no such lock on this system
        return
    with contextlib.suppress(PermissionError, NotImplementedError):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SlafError(f"folder {str(folder)!r} is in use by another run; wait for it or choose another with --out") from None
