"""Strings from outside into HTML, SVG and JSON. Everything that a page shows goes through here."""

from __future__ import annotations

import html
import json
import re

__all__ = ["data", "formula_html", "text"]

_IN_SCRIPT = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def text(value: object) -> str:
    """``value`` as text of HTML or SVG, safe in attributes too."""
    return html.escape(str(value), quote=True)


def data(value: object) -> str:
    """``value`` as JSON inside a script element that is never run: no string in it can close the element."""
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    safe = written.translate(_IN_SCRIPT)
    return f'<script type="application/json">{safe}</script>'


def formula_html(formula: str) -> str:
    """``0.5*x + 0.2*x**2`` with raised exponents, without stars, and breaking only before a sign."""
    out = text(formula.replace(">=", "≥").replace("<=", "≤"))
    out = re.sub(r"\*\*(\d+(?:\.\d+)?)", r"<sup>\1</sup>", out)
    out = re.sub(r"\*\*\((-[\d./]+)\)", r"<sup>\1</sup>", out)
    out = re.sub(r"(\d)e([+-]?)0*(\d+)", r"\1·10<sup>\2\3</sup>", out).replace("<sup>+", "<sup>")
    out = out.replace("*", "\u202f").replace("- ", "−\u00a0").replace("+ ", "+\u00a0").replace("<sup>-", "<sup>−")
    out = re.sub(r"^-", "−", out)
    return re.sub(r"(?<![A-Za-z_#])x(?![A-Za-z_])", "<i>x</i>", out)
