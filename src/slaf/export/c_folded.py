"""Folded forms in C: a polynomial, pieces, an int8 table; the same arithmetic as the module's, so its proven bound holds."""

from __future__ import annotations

import torch
from torch import Tensor

from slaf.core import SlafError, facts
from slaf.fit.folded import Folded, FoldedPieces, FoldedPolynomial
from slaf.fit.tables import FoldedTable

from .c_text import Code, number, table

__all__ = ["chebyshev_loop", "find_piece", "folded_code", "horner"]


def folded_code(module: Folded) -> Code:
    """The function of a folded activation.

    Raises:
        SlafError: a form that is not known here.
    """
    told = [f"{module.of} as {_FORMS[module.form].format(module.size)}.", *_formula(module.of)]
    low, high = (number(end) for end in module.interval)
    told += [f"Interval: [{low}, {high}]. {_outside(module)}"]
    if isinstance(module, FoldedTable):
        return _table(module, told)
    told.append(
        f"Error on the interval, proven, the rounding of this float arithmetic included: at most {_bound(module.error_bound)}. "
        "NaN gives NaN."
    )
    if isinstance(module, FoldedPolynomial):
        inside = _polynomial(module)
    elif isinstance(module, FoldedPieces):
        inside = _pieces(module)
    else:
        raise SlafError(f"a folded {module.form} cannot be written in C")
    return Code(tuple(told), tuple(_with_outside(module, inside)), module.error_bound)


_FORMS = {
    "polynomial": "a polynomial of degree {}",
    "piecewise_linear": "{} straight pieces",
    "piecewise_polynomial": "{} polynomial pieces",
    "int8": "a table of {} int8 codes",
}


def _formula(of: str) -> list[str]:
    try:
        formula = facts(of).formula
    except SlafError:  # something that has no name
        return []
    return [f"{of.partition('(')[0]}(x) = {formula}"] if formula else []


def _bound(value: float) -> str:
    """Rounded up."""
    return f"{value * (1 + 1e-3):.3e}"


def _outside(module: Folded) -> str:
    if module.outside == "extrapolate":
        return "Outside: the same formula goes on."
    if module.outside == "clamp":
        return "Outside: the value at the nearer end."
    why = "as the function has far away" if module.outside == "asymptote" else "as at the ends"
    return f"Outside: straight lines with the slopes {module.slopes[0]:g} (left) and {module.slopes[1]:g} (right), {why}."


def _with_outside(module: Folded, inside: list[str]) -> list[str]:
    """``inside`` computes ``y`` from ``t``, which is x moved into the interval."""
    if module.outside == "extrapolate":
        return ["const float t = x;", *inside, "return y;"]
    low, high = (number(end) for end in module.interval)
    lines = [f"const float t = x < {low} ? {low} : x > {high} ? {high} : x; /* NaN stays */", *inside]
    for slope, sign, end in ((module.slopes[0], "<", low), (module.slopes[1], ">", high)):
        if slope:
            lines += [f"if (x {sign} {end})", f"    y += {number(slope)} * (x - t);"]
    return [*lines, "return y;"]


def chebyshev_loop(degree: int, c: str) -> list[str]:
    """``y`` = Σ c[k] T_k(u) by Clenshaw's rule."""
    if degree == 0:
        return [f"float y = {c}[0] + 0.0f * u;"]
    return [
        f"float y = {c}[{degree}], later = 0.0f;",
        f"for (int k = {degree - 1}; k > 0; k--) {{",
        f"    const float step = {c}[k] + 2.0f * u * y - later;",
        "    later = y;",
        "    y = step;",
        "}",
        f"y = {c}[0] + u * y - later;",
    ]


def _polynomial(module: FoldedPolynomial) -> list[str]:
    shifted = "t" if module.center == 0 else f"(t - ({number(module.center)}))"
    return [
        *table("c", module.coefficients),
        f"const float u = {shifted} * {number(module.rscale)};",
        *chebyshev_loop(module.degree, "c"),
    ]


def find_piece(breaks: Tensor, x: str) -> list[str]:
    """``piece`` = how many of the inner ``breaks`` are not above ``x``, 0 for NaN.

    ``breaks`` (m + 1,) has both ends. At once where they are equally far apart, else by halving.
    """
    pieces, inner = len(breaks) - 1, breaks[1:-1]
    if pieces == 1:
        return []
    low, step = float(breaks[0]), float(breaks[-1] - breaks[0]) / pieces
    even = low + step * torch.arange(pieces + 1, dtype=torch.float64)
    if float((breaks.double() - even).abs().max()) < step / 4:
        return [
            *table("breaks", inner),
            f"const float at = ({x} - ({number(low)})) * {number(1 / step)};",
            f"int piece = at > 0.0f ? (at < {number(pieces - 1)} ? (int)at : {pieces - 1}) : 0;",
            f"if (piece > 0 && {x} < breaks[piece - 1]) /* rounding of the guess */",
            "    piece--;",
            f"else if (piece < {pieces - 1} && {x} >= breaks[piece])",
            "    piece++;",
        ]
    return [
        *table("breaks", inner),
        f"int piece = 0, end = {pieces - 1};",
        "while (piece < end) {",
        "    const int middle = (piece + end) / 2;",
        f"    if ({x} >= breaks[middle])",
        "        piece = middle + 1;",
        "    else",
        "        end = middle;",
        "}",
    ]


def _pieces(module: FoldedPieces) -> list[str]:
    search = find_piece(module.breaks.cpu(), "t")
    piece, degree = "piece" if search else "0", module.degree
    return [
        *table("center", module.center),
        *table("c", module.coefficients.T.contiguous()),
        *search,
        f"const float d = t - center[{piece}];",
        *horner(f"c[{piece}]", "d", degree),
    ]


def horner(c: str, d: str, degree: int) -> list[str]:
    """``y`` = Σ c[k] d^k by Horner's rule."""
    if degree == 1:
        return [f"float y = {d} * {c}[1] + {c}[0];"]
    return [f"float y = {c}[{degree}];", f"for (int k = {degree - 1}; k >= 0; k--)", f"    y = {d} * y + {c}[k];"]


def _table(module: FoldedTable, told: list[str]) -> Code:
    """Three functions: code to code, float to code, float to float."""
    scale, zero = number(module.input_scale), module.input_zero
    out_scale, out_zero = number(module.output_scale), module.output_zero
    told += [
        f"Input code q = clamp(round(x / {scale}) + ({zero}), -128, 127), halves to even; output (code - ({out_zero})) * {out_scale}.",
        f"Error of the float function on the interval, proven: at most {_bound(module.error_bound)}. NaN gives NaN.",
    ]
    before = [
        "/* The output's int8 code for the input's code q, -128 to 127. */",
        "static inline signed char {name}_int8(signed char q)",
        "{",
        *(f"    {line}" for line in table("codes", module.table)),
        "    return codes[(int)q + 128];",
        "}",
        "",
        "/* The int8 code of an input; 0 is where the code of NaN is taken from. */",
        "static inline signed char {name}_code(float x)",
        "{",
        f"    const float v = x / {scale};",
        "    const float s = v > 512.0f ? 512.0f : v < -512.0f ? -512.0f : v == v ? v : 0.0f;",
        "    int q = (int)s;",
        "    const float rest = s - (float)q;",
        "    if (rest > 0.5f || (rest == 0.5f && q % 2 != 0))",
        "        q++;",
        "    else if (rest < -0.5f || (rest == -0.5f && q % 2 != 0))",
        "        q--;",
        f"    q += {zero};",
        "    return (signed char)(q < -128 ? -128 : q > 127 ? 127 : q);",
        "}",
        "",
    ]
    body = (
        "if (x != x)",
        "    return x;",
        f"return (float)((int){{name}}_int8({{name}}_code(x)) - ({out_zero})) * {out_scale};",
    )
    return Code(tuple(told), body, module.error_bound, before=tuple(before))
