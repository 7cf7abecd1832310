"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import SlafError

__all__ = ["check_place", "whole_file"]


def check_place(path: Path) -> None:
    """Raise where ``path`` cannot become a file, so that it is told before long work.

    Raises:
        SlafError: its folder is missing or cannot be written to, or it is a folder itself.
    """
    if path.is_dir():
        raise SlafError(f"cannot write {str(path)!r}: it is a folder")
    if not path.parent.is_dir():
        raise SlafError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise SlafError(f"cannot write {str(path)!r}: the folder cannot be written to")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path``, with its ending; it becomes ``path`` at the end of the block, or is removed if that raises.

    Raises:
        SlafError: see :func:`check_place`; or the system refuses.
    """
    check_place(path)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".slaf-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise SlafError(f"cannot write {str(path)!r}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
