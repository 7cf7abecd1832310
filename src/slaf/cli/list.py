"""``slaf list``."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    json: Annotated[bool, typer.Option("--json", help="One JSON array, for programs.")] = False,
) -> None:
    """List every activation with what it is."""
    from slaf.core import names
    from slaf.plot import as_json, index

    print(as_json(names()) if json else index(names()))
