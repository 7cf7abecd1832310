"""The command line, one file per verb: each module here holds a function ``command``, whose name at the prompt is the module's.

No logic lives here: a verb reads its arguments, calls the library and prints. Heavy imports stay inside the verbs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for bad input, 130 for Ctrl-C, 1 for a worker that died."""
    try:
        from ._app import build

        app = build()
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        print('slaf: the command line needs typer and rich: pip install "slaf[cli]"', file=sys.stderr)
        return 2
    try:
        # not list(…): the verb of that name is an attribute of this package
        result = app(args=None if arguments is None else [*arguments], prog_name="slaf", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where it can still be said that it failed
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        return _complain("stopped", 130)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stdout = None
        return 0
    except OSError as error:
        if error.filename is None:  # our own files are named in errors of our own
            sys.stdout = None
        return _complain(f"cannot write to {error.filename or 'standard output'}: {error.strerror or error}", 2)
    except Exception as error:
        if _is_ours(error):
            return _complain(str(error), getattr(error, "exit_code", 2))
        # the parser's errors; its classes are not the same ones in every version of typer
        if type(error).__name__ == "Abort":
            return _complain("stopped", 130)
        if not hasattr(error, "format_message"):
            raise
        return _complain(error.format_message(), 2)


def _is_ours(error: Exception) -> bool:
    """Whether it is a ``SlafError``; one can only come once core is imported, which takes torch and its seconds."""
    core = sys.modules.get("slaf.core.errors")
    return core is not None and isinstance(error, core.SlafError)


def _complain(message: str, code: int) -> int:
    print(f"slaf: {' '.join(message.split())}", file=sys.stderr)
    return code
