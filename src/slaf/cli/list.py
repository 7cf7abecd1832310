"""``slaf list``."""

from __future__ import annotations

from typing import Annotated

import typer

from ._words import complete_tags


def command(
    tag: Annotated[
        list[str] | None, typer.Option("--tag", "-t", help="Only those with this tag; given again: with all.", autocompletion=complete_tags)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON array, for programs.")] = False,
) -> None:
    """List every activation with what it is."""
    from slaf.plot import as_json, index, tagged

    chosen = tagged(tag or ())
    print(as_json(chosen) if json else index(chosen))
