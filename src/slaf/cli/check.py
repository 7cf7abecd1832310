"""``slaf check``."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    activations: Annotated[list[str], typer.Argument(help="Names, or strings such as 'elu(alpha=2.0)'.")],
    json: Annotated[bool, typer.Option("--json", help="Every result as JSON, for programs.")] = False,
    slow: Annotated[bool, typer.Option("--slow", help="Compile with Inductor too.")] = False,
) -> None:
    """Run the contract over activations: what holds, what does not, and what was measured. Exit code 1 if anything fails."""
    import json as encoder

    from slaf.core import make
    from slaf.testing import check_activation

    for activation in activations:
        make(activation, num_channels=1)  # a mistyped name is told before a long run
    reports = []
    for activation in activations:
        reports.append(check_activation(activation, slow=slow))
        if not json:
            print(reports[-1])
    if json:
        print(encoder.dumps([report.to_dict() for report in reports], indent=2))
    if not all(report.passed for report in reports):
        raise typer.Exit(1)
