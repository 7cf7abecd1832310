"""The application: every module of this package without a leading underscore is a verb."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Annotated

import typer

import slaf

__all__ = ["build"]


def build() -> typer.Typer:
    """Collect the verbs."""
    app = typer.Typer(
        name="slaf",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.name.startswith("_"):
            verb = importlib.import_module(f"{package}.{module.name}")
            app.command(module.name.replace("_", "-"), epilog=getattr(verb, "EPILOG", None))(verb.command)
    return app


def _show_version(asked: bool) -> None:
    if asked:
        print(f"slaf {slaf.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Choose, learn, compare and understand activation functions."""
