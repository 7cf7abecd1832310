"""The page of one entry."""

from __future__ import annotations

import html
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from slaf.core import Activation, Facts, SlafError, activations, facts, make
from slaf.plot import example, formula
from slaf.plot.tags import tags_of

from . import contract, figures
from .mathml import mathml
from .numbers import half_error

__all__ = ["build", "page"]

CHANNELS = (1, 8)
"""Sizes to try: one is enough to look at, and a family that splits its channels wants more."""


def build(name: str) -> nn.Module:
    """The entry at its defaults, in evaluation mode."""
    for channels in CHANNELS:
        try:
            return make(example(name), num_channels=channels).eval()
        except SlafError:
            if channels == CHANNELS[-1]:
                raise
    raise AssertionError


def page(name: str, results: Mapping[str, Any], costs: Mapping[str, Any]) -> str:
    """Markdown with HTML: everything known of ``name``."""
    claims, module = facts(name), build(name)
    scalar = isinstance(module, Activation)
    parts = [
        f"---\ntitle: {name}\ndescription: >-\n  {html.escape(' '.join((claims.summary or name).split()))}\n---",
        f"# {name}",
        html.escape(claims.summary),
    ]
    if claims.aliases:
        parts.append("Also: " + ", ".join(f"`{a}`" for a in claims.aliases) + ".")
    if claims.formula:
        parts.append(f'<div class="slaf-formula" tabindex="0" role="region" aria-label="formula">{mathml(claims.formula)}</div>')
    elif scalar and (start := formula(module)):
        parts.append(f"It has no formula of its own: the function is learned. Shown is `{example(name)}`, which starts as `{start}`.")
    if scalar:
        parts.append(f'<figure class="slaf-figure" data-search-exclude>{figures.plot(example(name), name)}</figure>')
    else:
        parts.append("It mixes elements (of a token, a sample or a batch), so it has no curve, and no facts of a function of one number.")
    parts += ["```python", f"{_snippet(module)}", "```"]
    parts += ["## Facts", _table(_facts(claims, scalar))]
    rows = list(_parameters(claims)) or list(_arguments(name, module))
    if rows:
        parts += ["## Parameters", _rows(("name", "default", "allowed", "kind", "meaning"), rows)]
    if scalar:
        parts += ["## Numbers", _table(_numbers(name, module, costs, results))]
    parts += [
        "## Contract",
        contract.badges(example(name), results),
        contract.pairs(name, results),
        "[What the checks say](../contract.md)",
    ]
    parts += ["## Source", _source(claims)]
    return "\n\n".join(p for p in parts if p).replace("```python\n\n", "```python\n").replace("\n\n```\n\n##", "\n```\n\n##") + "\n"


def _snippet(module: nn.Module) -> str:
    text = str(module).replace("num_channels=1", "num_channels=64").replace("num_channels=8", "num_channels=64")
    bare = text.replace("(num_channels=64)", "").replace(", num_channels=64", "")
    sized = ", num_channels=64" if "num_channels=64" in text else ""
    return f'import slaf\n\nact = slaf.make("{bare}"{sized})'


def _table(rows: Iterator[tuple[str, str]]) -> str:
    """Two columns; the values are HTML."""
    body = "".join(f"<tr><th scope='row'>{label}</th><td>{value}</td></tr>" for label, value in rows)
    table = f'<table class="slaf-facts"><tbody>{body}</tbody></table>'
    return f'<div class="slaf-wide" tabindex="0" role="region" aria-label="table">{table}</div>'


def _rows(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table without the columns that are empty."""
    used = [n for n in range(len(head)) if any(row[n] for row in rows)]
    top = "".join(f"<th scope='col'>{head[n]}</th>" for n in used)
    body = "".join("<tr>" + "".join(f"<td>{row[n]}</td>" for n in used) + "</tr>" for row in rows)
    table = f'<table class="slaf-facts"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="slaf-wide" tabindex="0" role="region" aria-label="parameters">{table}</div>'


def _facts(claims: Facts, scalar: bool) -> Iterator[tuple[str, str]]:
    if claims.formula:
        yield "formula", f"<code>{html.escape(claims.formula)}</code>"
    if scalar:
        for label, value in (
            ("range", None if claims.range is None else f"{number(claims.range[0])} … {number(claims.range[1])}"),
            ("monotone", claims.monotone),
            ("parity", claims.parity),
            ("smoothness", None if claims.smoothness is None else _smoothness(claims.smoothness)),
            ("Lipschitz constant", None if claims.lipschitz is None else number(claims.lipschitz)),
            ("kinks", None if claims.kinks is None else _points(claims.kinks)),
            ("f′ = 0 at", None if claims.critical_points is None else _points(claims.critical_points)),
            ("∫₀ˣ f", None if claims.antiderivative is None else f"<code>{html.escape(str(claims.antiderivative))}</code>"),
        ):
            yield label, '<span class="slaf-unclaimed">not claimed</span>' if value is None else str(value)
    if tags_of(claims):
        yield "tags", ", ".join(html.escape(t) for t in tags_of(claims))


def _parameters(claims: Facts) -> Iterator[tuple[str, ...]]:
    for name, p in claims.params.items():
        kind = "learned" if p.learnable else "fixed"
        below = f", less than <code>{p.below}</code>" if p.below else ""
        yield f"<code>{name}</code>", f"{p.default:g}", html.escape(p.interval) + below, kind, html.escape(p.doc)


def _arguments(name: str, module: nn.Module) -> Iterator[tuple[str, ...]]:
    """The arguments of a family, and its docstring's word on each."""
    told = _documented(type(module).__doc__ or "")
    for p in inspect.signature(activations[name]).parameters.values():
        if p.kind is p.POSITIONAL_OR_KEYWORD:
            default = "" if p.default in (p.empty, None) else html.escape(str(p.default))
            yield f"<code>{p.name}</code>", default, "", "", html.escape(_ROLE.sub(r"\1", told.get(p.name, "")))


_ROLE = re.compile(r"(?::\w+:)?`+~?([^`]*)`+")
"""Markup of docstrings: ``code`` and :func:`references`."""


def _documented(docstring: str) -> dict[str, str]:
    """``{argument: text}`` of a docstring's ``Args:``."""
    _, _, rest = inspect.cleandoc(docstring).partition("\nArgs:\n")
    found: dict[str, str] = {}
    current: list[str] = []
    for line in rest.splitlines():
        if not line.startswith("    "):
            break
        if not line.startswith("     ") and ":" in line:
            names, _, text = line.strip().partition(":")
            current = [n.strip() for n in names.split(",")]
            found.update(dict.fromkeys(current, text.strip()))
        else:
            found.update({n: f"{found[n]} {line.strip()}" for n in current})
    return found


def _numbers(name: str, module: Activation, costs: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    moment = module.double().second_moment()
    gain = f", gain 1/√ of it {number(1 / math.sqrt(moment))}" if 0 < moment < math.inf else ""
    yield "E f(z)², z ~ N(0, 1)", number(moment) + gain
    module = build(name)  # type: ignore[assignment]
    for dtype, label in ((torch.bfloat16, "bfloat16"), (torch.float16, "float16")):
        error, at = half_error(module, dtype)
        # computed in float32 and rounded again, half a unit is a little more
        right = "rounded correctly everywhere" if error <= 0.501 else f"at most {error:.3g} units in the last place, at x = {number(at)}"
        yield f"{label}, every number in [−8, 8]", right
    excess = results.get("entries", {}).get(example(name), {}).get("measured", {}).get("mean_excess_width")
    if excess is not None:
        yield "bounds", f"sound on all random boxes tried; wider than the range by {excess:.2g} on average"
    cost = costs.get("entries", {}).get(name)
    if cost is not None:
        of = f"on {html.escape(costs['machine'])}, torch {costs['torch']}: <code>{html.escape(costs['command'])}</code>"
        yield "time over relu's, forward and backward", f"{cost['forward_backward']:.2f} (forward {cost['forward']:.2f}) {of}"


def number(value: float) -> str:
    """Six digits, with signs a reader knows."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    return f"{value:.6g}".replace("-", "−")


def _points(values: Any) -> str:
    values = [number(float(v)) for v in values]
    return ", ".join(values[:24]) + (f" … ({len(values)})" if len(values) > 24 else "") or "none"


def _smoothness(order: float) -> str:
    if order < 0:
        return "discontinuous"
    return f"C<sup>{'∞' if order == math.inf else f'{order:g}'}</sup>"


_MARKS = {"read": "a public copy was read", "from memory": "from memory: check it before you cite it"}


def _source(claims: Facts) -> str:
    paper = claims.paper
    if paper is None:
        return "None: folklore."
    title = html.escape(paper.title)
    if paper.id.startswith("arXiv:"):
        title = f'<a href="https://arxiv.org/abs/{html.escape(paper.id[6:])}">{title}</a>'
    mark = (
        f'<span class="slaf-pill slaf-{"passed" if paper.status == "read" else "unknown"}">{_MARKS.get(paper.status, paper.status)}</span>'
    )
    where = f", {html.escape(paper.id)}" if paper.id else ""
    return f"<p>{html.escape(paper.authors)} ({paper.year}), {title}{where} {mark}</p>"
