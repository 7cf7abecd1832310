"""Errors: one sentence that names the argument, what came, what is allowed, and the nearest valid name."""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path

__all__ = ["ContractError", "SlafError", "SpecError", "blame", "nearest", "require"]


class SlafError(ValueError):
    """Base of every error slaf raises on purpose; the command line prints its message and exits with 2."""


class SpecError(SlafError):
    """An activation string that cannot be read; the message shows the position."""


class ContractError(SlafError):
    """An activation cannot honour what a study's slot, or an operation, needs of it."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the valid name closest to ``name``, or an empty string."""
    name = str(name)
    close = difflib.get_close_matches(name, list(allowed), n=4, cutoff=0.5)
    # letters in another order are the likelier slip than another letter
    close.sort(key=lambda other: (-difflib.SequenceMatcher(None, other, name).ratio(), sorted(other) != sorted(name)))
    return f"; did you mean {close[0]!r}?" if close else ""


def require(condition: bool, message: str) -> None:
    """Raise :class:`SlafError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise SlafError(message)


def one_of(argument: str, value: object, allowed: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``allowed``; otherwise raise, naming the argument and the nearest choice."""
    allowed = tuple(allowed)
    if isinstance(value, str) and value in allowed:
        return value
    hint = nearest(value, allowed) if isinstance(value, str) else ""
    raise SlafError(f"{argument} must be one of {', '.join(allowed)}; got {value!r}{hint}")


def blame(error: BaseException) -> str:
    """``ValueError: its message (models.py, line 12)``: an error of a user's own code, at the last line of theirs that it went through."""
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    told = f"{type(error).__name__}: {' '.join(str(message).split())[:300] or 'no message'}"
    others = {Path(__file__).parents[1], Path(traceback.__file__).parent}  # ours and Python's own, with all that is installed there
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    theirs = [f for f in frames if others.isdisjoint(Path(f[0]).parents) and "site-packages" not in Path(f[0]).parts]
    if isinstance(error, SyntaxError) and error.filename:
        theirs.append((error.filename, error.lineno))
    return f"{told} ({Path(theirs[-1][0]).name}, line {theirs[-1][1]})" if theirs else told
