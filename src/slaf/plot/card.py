"""Activations in words: one in full (``card``), all in a line each (``index``), all for programs (``as_json``)."""

from __future__ import annotations

import inspect
import json
import math
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from slaf.core import Activation, Elementwise, Facts, SlafError, activations, facts, make, parse

from .example import example
from .formula import formula
from .sketch import sketch
from .tags import is_learned, tags_of

__all__ = ["as_json", "card", "index"]


def card(spec: str, low: float = -4.0, high: float = 4.0, latex: bool = False) -> str:
    """Everything that is known of an activation string, and a plot where it is a function of one number.

    Args:
        spec: the activation string.
        low, high: the interval of the plot.
        latex: add the function as LaTeX.

    Raises:
        SlafError: an unknown name or argument.
    """
    asked = parse(spec)
    parsed = asked if asked.args or asked.kwargs else parse(example(asked.name))
    module = make(parsed, num_channels=1)  # one channel is enough to look at
    claims = facts(spec)
    lines = [f"{spec if asked.args or asked.kwargs else claims.name}: {claims.summary}".rstrip(": "), ""]
    shown = [("shown", str(parsed))] if parsed is not asked and parsed != asked else []
    entries = [*shown, *_entries(claims), *_arguments(parsed.name, claims, module), *_moments(module)]
    if latex:
        entries.append(("LaTeX", _latex(module)))
    width = max(len(label) for label, _ in entries) + 2
    columns = min(shutil.get_terminal_size().columns, 110)
    for label, value in entries:
        fits = label == "LaTeX"  # to be copied: not broken
        lines += [f"{label:<{width}}{value}"] if fits else textwrap.wrap(f"{label:<{width}}{value}", columns, subsequent_indent=" " * width)
    return "\n".join([*lines, *_plot(module, low, high)])


def _entries(claims: Facts) -> Iterator[tuple[str, str]]:
    if claims.aliases:
        yield "also", ", ".join(claims.aliases)
    for label, value in (
        ("formula", claims.formula),
        ("range", None if claims.range is None else f"{_number(claims.range[0])} … {_number(claims.range[1])}"),
        ("monotone", claims.monotone),
        ("parity", claims.parity),
        ("smoothness", None if claims.smoothness is None else _smoothness(claims.smoothness)),
        ("Lipschitz", None if claims.lipschitz is None else _number(claims.lipschitz)),
        ("kinks", None if claims.kinks is None else _points(claims.kinks)),
        ("f' = 0 at", None if claims.critical_points is None else _points(claims.critical_points)),
    ):
        yield label, "not claimed" if value is None else str(value)
    if claims.antiderivative is not None:
        yield "∫₀ˣ f", str(claims.antiderivative)
    for name, p in claims.params.items():
        kind = "learned" if p.learnable else "fixed"
        yield f"  {name}", f"{p.default:g} by default, in {p.interval}, {kind}" + (f"; {p.doc}" if p.doc else "")
    yield "paper", str(claims.paper) if claims.paper else "none"
    if tags_of(claims):
        yield "tags", ", ".join(tags_of(claims))


def _arguments(name: str, claims: Facts, module: torch.nn.Module) -> Iterator[tuple[str, str]]:
    """What a family without a fixed formula takes, and the function it starts as."""
    if isinstance(module, Elementwise):
        return
    given = inspect.signature(activations[name]).parameters.values()
    own = [p.name + (f"={p.default}" if p.default is not None else "") for p in given if p.kind is p.POSITIONAL_OR_KEYWORD]
    if own:
        yield "arguments", ", ".join(own)
    start = formula(module.eval()) if isinstance(module, Activation) and claims.formula is None else None
    if start:
        yield "starts as", start


def _moments(module: torch.nn.Module) -> Iterator[tuple[str, str]]:
    """What an initialisation that keeps the variance needs."""
    if isinstance(module, Activation):
        moment = module.eval().second_moment()
        gain = f"; gain 1/√ of it: {1 / math.sqrt(moment):.6g}" if 0 < moment < math.inf else ""
        yield "E f(z)²", f"{moment:.6g} for z ~ N(0, 1){gain}"


def _latex(module: torch.nn.Module) -> str:
    import sympy

    try:
        return str(sympy.latex(module.expression()))  # type: ignore[operator]
    except (SlafError, AttributeError):
        return "none: no closed form is claimed"


def _plot(module: torch.nn.Module, low: float, high: float) -> list[str]:
    if not isinstance(module, Activation):
        return []
    module.eval()
    try:
        y = module.curves(torch.linspace(low, high, 449))[:, 0].to(torch.float64).tolist()
    except SlafError:
        return []
    return ["", sketch(y, low, high)]


def _number(value: float) -> str:
    return "∞" if value == math.inf else "−∞" if value == -math.inf else f"{value:.6g}"


def _points(values: Iterable[float]) -> str:
    return ", ".join(_number(float(v)) for v in values) or "none"


def _smoothness(order: float) -> str:
    return "discontinuous" if order < 0 else "C^∞" if order == math.inf else f"C^{order:g}"


def index(names: Iterable[str]) -> str:
    """A line for each name: what it is, and whether it is learned."""
    entries = [(name, facts(name)) for name in names]
    width = max((len(name) for name, _ in entries), default=0)
    columns = shutil.get_terminal_size((100, 24)).columns
    lines = []
    for name, claims in entries:
        learned = "learned" if is_learned(claims) else ""
        lines.append(f"{name:<{width}}  {learned:<7}  {claims.summary}")
    return "\n".join(line.rstrip() if len(line) <= columns else line[: columns - 1] + "…" for line in lines)


def as_json(names: Iterable[str]) -> str:
    """The claims of each name as one JSON array; infinities are the strings ``"inf"`` and ``"-inf"``."""
    return json.dumps([_plain(name, facts(name)) for name in names], indent=2, ensure_ascii=False)


def _plain(name: str, claims: Facts) -> dict[str, Any]:
    return {
        "name": name,
        "aliases": list(claims.aliases),
        "summary": claims.summary,
        "learned": is_learned(claims),
        "formula": claims.formula,
        "parameters": {n: {"default": p.default, "learned": p.learnable, "interval": p.interval} for n, p in claims.params.items()},
        "range": _safe(claims.range),
        "monotone": claims.monotone,
        "parity": claims.parity,
        "smoothness": _safe(claims.smoothness),
        "lipschitz": _safe(claims.lipschitz),
        "kinks": _safe(claims.kinks),
        "critical_points": _safe(claims.critical_points),
        "antiderivative": claims.antiderivative,
        "paper": str(claims.paper) if claims.paper else None,
        "tags": list(tags_of(claims)),
    }


def _safe(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_safe(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
