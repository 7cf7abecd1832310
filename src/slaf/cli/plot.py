"""``slaf plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._words import complete_activations

EPILOG = "Without --out each is drawn as text. Example: slaf plot relu,gelu,silu --derivatives 2 --out curves.svg"


def command(
    activations: Annotated[
        str, typer.Argument(help="Names or strings, separated by commas: 'gelu,elu(alpha=2.0)'.", autocompletion=complete_activations)
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a figure here: .png, .svg or .pdf.")] = None,
    derivatives: Annotated[int, typer.Option("--derivatives", "-d", help="Draw f' (1) and f'' (2) too.")] = 0,
    low: Annotated[float, typer.Option("--low", help="Left end of the interval.")] = -4.0,
    high: Annotated[float, typer.Option("--high", help="Right end of the interval.")] = 4.0,
) -> None:
    """Draw one or several activations over an interval."""
    from slaf.plot import text, write

    if out is None:
        print(text(activations, low, high, derivatives))
    else:
        print(f"wrote {write(out, activations, low, high, derivatives)}")
