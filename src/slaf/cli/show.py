"""``slaf show``."""

from __future__ import annotations

from typing import Annotated

import typer

from ._words import complete_activations


def command(
    activation: Annotated[str, typer.Argument(help="A name, or a string such as 'elu(alpha=2.0)'.", autocompletion=complete_activations)],
    latex: Annotated[bool, typer.Option("--latex", help="The function as LaTeX too.")] = False,
) -> None:
    """Show one activation: formula, facts, parameters, moments, paper and a small plot."""
    from slaf.plot import card

    print(card(activation, latex=latex))
