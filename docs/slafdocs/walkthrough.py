"""A page whose Python blocks are one program: runs it, and sets what each block prints into the text block below it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["codes", "filled", "printed", "program", "run", "split"]

_CODE = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
BETWEEN = "\x1e"
"""Printed between blocks."""


def codes(markdown: str) -> list[str]:
    """The Python blocks, in order."""
    return [match[1] for match in _CODE.finditer(markdown)]


def printed(markdown: str) -> list[str]:
    """What the page says that each block prints; empty where it says nothing."""
    return [match[2] or "" for match in _CODE.finditer(markdown)]


def program(markdown: str) -> str:
    """All blocks as one source file, whose output :func:`run` takes apart."""
    return f"print({BETWEEN!r})\n".join(codes(markdown))


def run(markdown: str, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Run all blocks in ``folder``: what each printed, and the variables at the end.

    They run from a file, as a reader's would: a swap reads the source of the functions that it reroutes.
    """
    path = folder / "walkthrough.py"
    path.write_text(program(markdown), encoding="utf-8")
    said = io.StringIO()
    here = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(said):
            variables = runpy.run_path(str(path), run_name="__main__")
    finally:
        os.chdir(here)
    return split(said.getvalue()), variables


def split(output: str) -> list[str]:
    """What each block of a :func:`program` printed."""
    return output.split(f"{BETWEEN}\n")


def filled(markdown: str, outputs: list[str]) -> str:
    """The page with these outputs below its blocks."""
    said: Iterator[str] = iter(outputs)

    def block(match: re.Match[str]) -> str:
        output = next(said)
        below = f"\n```text\n{output.rstrip()}\n```\n" if output.strip() else ""
        return f"```python\n{match[1]}```\n{below}"

    return _CODE.sub(block, markdown)
