"""The page of layers that are no registry entries: what their docstrings say, in the gallery's order."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping
from typing import Any

import slaf.layers
from slaf.core import SlafError

from . import contract, layer_figures

__all__ = ["page"]

_HEAD = """---
title: Layers
---

# Layers

What is more than a function of one number and so no entry of the [gallery](gallery/index.md): dense layers and convolutions whose
edges are learned functions, and blocks. How they work, learn and become formulas: [Kolmogorov–Arnold layers](kan.md). Layers that
normalise are entries: [[evonorm_s0]], [[batch_norm]], [[frn]], [[polynorm]], [[rms_norm]] and their kin. What each passes of
[the contract](contract.md) is kept in [layers.json](layers.json): `python benchmarks/contract_layers.py`.
"""
_ROLE = re.compile(r":\w+:`~?\.?([^`]+)`")
_SECTION = re.compile(r"^(Args|Attributes|Shapes|Raises|Source|Example):", re.MULTILINE)


def page() -> str:
    """Markdown, one heading a layer.

    Raises:
        SlafError: a layer without formula, source or example in its docstring, or without a picture.
    """
    results = contract.load("layers.json").get("layers", {})
    return "\n".join([_HEAD, *(_layer(getattr(slaf.layers, name), results.get(name, {})) for name in slaf.layers.__all__)])


def _layer(layer: Any, results: Mapping[str, Mapping[str, Any]]) -> str:
    said, *rest = _SECTION.split(inspect.cleandoc(layer.__doc__))
    parts = dict(zip(rest[::2], rest[1::2], strict=True))
    missing = [name for name in ("Source", "Example") if name not in parts]
    if missing or not said.strip():
        raise SlafError(f"the docstring of {layer.__name__} has no {' and no '.join(missing) or 'formula'}")
    listed = "\n\n".join(f"**{name}**{_items(parts[name])}" for name in ("Args", "Attributes") if name in parts)
    picture, told = layer_figures.picture(layer.__name__)
    figure = f'<figure class="slaf-figure" data-search-exclude>{picture}<figcaption>{told}</figcaption></figure>'
    shapes = f"**Shapes** {_prose(parts['Shapes'])}\n\n" if "Shapes" in parts else ""
    code = textwrap.dedent(parts["Example"]).strip("\n")
    return (
        f"## {layer.__name__}\n\n{_prose(said)}\n\n{contract.layer_badges(results)}\n\n{figure}\n\n"
        f"```{{ .pycon .slaf-wrap }}\n{code}\n```\n\n"
        f"{shapes}**Source** {_prose(parts['Source'])}\n\n"
        f'<details markdown="1"><summary>Arguments</summary>\n\n```{{ .python .slaf-wrap }}\n{_signature(layer)}\n```\n\n'
        f"{listed}\n\n</details>\n"
    )


def _prose(text: str) -> str:
    return _ROLE.sub(r"`\1`", textwrap.dedent(text)).replace("``", "`").strip()


def _items(text: str) -> str:
    """``name: what`` and its continued lines as a list, then what else there is."""
    listed, _, more = text.strip("\n").partition("\n\n")
    items: list[str] = []
    for line in textwrap.dedent(listed).splitlines():
        if line.startswith(" "):
            items[-1] += f" {line.strip()}"
        else:
            name, _, what = line.partition(": ")
            items.append(f"- `{name}`: {what}")
    return "\n\n" + _prose("\n".join(items)) + f"\n\n{_prose(more)}"


def _signature(layer: Any) -> str:
    """Without types, which the arguments' descriptions have."""
    given = inspect.signature(layer)
    bare = given.replace(parameters=[p.replace(annotation=p.empty) for p in given.parameters.values()], return_annotation=given.empty)
    return textwrap.fill(f"{layer.__name__}{bare}", 88, subsequent_indent="    ")
