"""``slaf export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._words import complete_activations

EPILOG = "Examples: slaf export gelu gelu.h --tolerance 1e-3; slaf export mymodels:trained model.onnx"


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="An activation ('rational(5,4)'), package.module:function that returns (model, example), or a saved .pt2.",
            autocompletion=complete_activations,
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Where to: .onnx, .pt2, .safetensors, or .h for a C header.")],
    to: Annotated[str | None, typer.Option("--to", help="onnx, pt2, safetensors or c, whatever the file's ending.")] = None,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Run the file and tell how far it is from the model.")] = True,
    opset: Annotated[int | None, typer.Option("--opset", help="ONNX: the version of the standard operators.")] = None,
    dynamic: Annotated[bool | None, typer.Option("--dynamic/--static", help="ONNX, .pt2: leave the batch size free, or fix it.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="C: the function's name.")] = None,
    form: Annotated[
        str | None, typer.Option("--form", help="C: piecewise_linear, piecewise_polynomial, polynomial or int8, folded to it first.")
    ] = None,
    interval: Annotated[tuple[float, float] | None, typer.Option("--interval", help="C: the ends between which the error holds.")] = None,
    tolerance: Annotated[float | None, typer.Option("--tolerance", help="C: the largest error allowed.")] = None,
    channels: Annotated[int | None, typer.Option("--channels", help="Of an activation string: as many channels of its own.")] = None,
    json: Annotated[bool, typer.Option("--json", help="What was written as JSON, for programs.")] = False,
) -> None:
    """Write an activation or a model for another runtime: ONNX, torch.export, safetensors, a C header."""
    import json as encoder

    from slaf.export import export, read_source

    given: dict[str, Any] = {
        "opset": opset,
        "name": name,
        "to_form": form,
        "interval": interval,
        "tolerance": tolerance,
        "num_channels": channels,
    }
    options = {k: v for k, v in given.items() if v is not None}
    if dynamic is not None:
        options["dynamic"] = "batch" if dynamic else None
    model, example = read_source(source)
    exported = export(model, out, example, to=to, check=check, **options)
    print(encoder.dumps(exported.to_dict(), indent=2) if json else exported)
