"""``slaf report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(folder: Annotated[Path, typer.Argument(help="A folder that `slaf compare --out` made.")]) -> None:
    """Rebuild a folder's report from its stored results; nothing is trained."""
    from slaf.compare import write_report

    print(f"report: {write_report(folder)}")
