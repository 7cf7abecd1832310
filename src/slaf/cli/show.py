"""``slaf show``."""

from __future__ import annotations

from typing import Annotated

import typer


def command(activation: Annotated[str, typer.Argument(help="A name, or a string such as 'elu(alpha=2.0)'.")]) -> None:
    """Show one activation: formula, facts, parameters, paper and a small plot."""
    from slaf.plot import card

    print(card(activation))
