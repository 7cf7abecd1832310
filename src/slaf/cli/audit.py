"""``slaf audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Examples: slaf audit mymodels:trained; slaf audit model.pt2 --html audit.html"


def command(
    source: Annotated[
        str, typer.Argument(help="package.module:function that returns (model, example), or a .pt2 with the example it was exported with.")
    ],
    functions: Annotated[bool, typer.Option("--functions", help="List arithmetic too: exp, pow, sqrt, clamp …")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page too, with a histogram of every call's inputs.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Everything as JSON, for programs.")] = False,
) -> None:
    """List every nonlinear call of a model in the order data meets them: modules, functional calls, callables in attributes."""
    import json as encoder

    from slaf.core.writing import check_place, whole_file
    from slaf.surgery.audit import audit

    from ._audit import model_and_example, page

    if html is not None:
        check_place(html)
    found = audit(*model_and_example(source), functions=functions)
    if html is not None:
        with whole_file(html) as path:
            path.write_text(page(found), encoding="utf-8")
    print(encoder.dumps(found.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) if json else found)
    if html is not None and not json:
        print(f"page: {html}")
