"""``slaf encrypt-demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Examples: slaf encrypt-demo; slaf encrypt-demo --degree 2 --images 20 --html demo.html; slaf encrypt-demo --json"


def command(
    images: Annotated[int, typer.Option("--images", help="Held-out digits to encrypt, 1 to 540; all cost the time of one.")] = 100,
    degree: Annotated[int, typer.Option("--degree", help="Of the two polynomial activations, 2 to 22.")] = 4,
    epochs: Annotated[int, typer.Option("--epochs", help="Of training.")] = 40,
    seed: Annotated[int, typer.Option("--seed", help="Of weights, batches and held-out images.")] = 0,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page of results too.")] = None,
    explain: Annotated[
        Path | None, typer.Option("--explain", help="Draw what the polynomial network computes here: .png, .svg or .pdf.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Results as JSON, for programs.")] = False,
) -> None:
    """Train a polynomial network on digits, run it on encrypted images, decrypt and compare (needs TenSEAL)."""
    import json as encoder
    import sys

    from slaf.core.writing import check_place, whole_file
    from slaf.plot.curve import figure_bytes, file_format, require_matplotlib
    from slaf.studies._encrypt_demo import demo, page

    for place in filter(None, (html, explain)):
        check_place(place)
    if explain is not None:
        require_matplotlib()
        kind = file_format(explain)
    found = demo(images, degree, epochs, seed, progress=not json, say=lambda line: print(line, file=sys.stderr))
    if html is not None:
        with whole_file(html) as path:
            path.write_text(page(found), encoding="utf-8")
    if explain is not None:
        explanation = found.explain()
        print(explanation, file=sys.stderr)
        with whole_file(explain) as path:
            path.write_bytes(figure_bytes(explanation.plot(), kind))
    print(encoder.dumps(found.to_dict(), indent=2, allow_nan=False) if json else found)
    if html is not None and not json:
        print(f"page: {html}")
