"""Learned families in C with the numbers that they have now: polynomials, rationals and uniform splines, per channel where they differ."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from slaf.core import Activation
from slaf.fit.enclosures import EPS32, PowerForm, clenshaw_rounding, supremum
from slaf.fit.piecewise import CHEBYSHEV
from slaf.fit.rational_forms import denominator_form
from slaf.learnable import SLAF, Rational
from slaf.learnable.rational_evaluate import reach
from slaf.learnable.spline import UniformSpline

from .c_folded import chebyshev_loop, find_piece, horner
from .c_text import Code, number, table

__all__ = ["learned_code"]


def learned_code(module: Activation) -> Code | None:
    """The function of a learned family that has a form of its own in C; ``None`` for any other activation."""
    with torch.no_grad():
        if isinstance(module, Rational):
            return _rational(module)
        if isinstance(module, UniformSpline):
            return _spline(module)
        if isinstance(module, SLAF) and module.polynomial_basis and module.squash == "none":
            return _polynomial(module)
    return None


def _rows(values: Tensor) -> tuple[Tensor, int]:
    """In float64, and how many there are: the arguments in C depend on the module's kind, not on whether its rows are alike now."""
    rows = values.detach().cpu().to(torch.float64)
    return rows, len(rows)


def _told_sites(module: Activation, sites: int) -> list[str]:
    if sites == 1:
        return []
    what = "unit, counted as in the flattened sample" if module.sharing.share == "unit" else "channel"  # type: ignore[union-attr]
    return [f"channel: 0 to {sites - 1}, the {what}."]


def _table_of_rows(name: str, rows: Tensor) -> tuple[list[str], str]:
    """A table of one row or several, and how a row of it is written."""
    single = rows.to(torch.float32)
    return (table(name, single[0]), name) if len(rows) == 1 else (table(name, single), f"{name}[channel]")


def _interval(low: float, high: float) -> str:
    return f"[{low:.6g}, {high:.6g}]"


# -- polynomials ------------------------------------------------------------------------------------------------------------


def _polynomial(module: SLAF) -> Code:
    c, center, rscale, power = _series(module)
    together, sites = _rows(torch.cat([c, center[:, None], rscale[:, None]], 1))
    c, center, rscale = together[:, :-2], together[:, -2], together[:, -1]
    degree = c.shape[1] - 1
    bound = max(_polynomial_bound(*row, power) for row in zip(c, center.tolist(), rscale.tolist(), strict=True))
    ends = [(m - 1 / r, m + 1 / r) for m, r in zip(center.tolist(), rscale.tolist(), strict=True)]
    terms = "u^k" if power else "T_k(u), the Chebyshev polynomials"
    told = [
        f"{module.name}: a learned polynomial of degree {degree}.",
        f"f(x) = sum of c[k] * {terms}, k = 0 to {degree}, u = (x - center) * scale; the same formula everywhere.",
        *_told_sites(module, sites),
        f"Interval: |u| <= 1, which is x in {_interval(*ends[0])}{' for channel 0' if sites > 1 else ''}.",
        f"Error there, proven: float arithmetic is at most {bound * 1.001:.3e} from the polynomial.",
    ]
    rows, row = _table_of_rows("c", c)
    maps = torch.stack([center, rscale], 1)
    map_rows, at = _table_of_rows("map", maps)
    body = [*rows, *map_rows, f"const float u = (x - {at}[0]) * {at}[1];"]
    if power:
        body += horner(row, "u", degree)
    else:
        body += chebyshev_loop(degree, row)
    return Code(tuple(told), (*body, "return y;"), bound, sites)


def _series(module: SLAF) -> tuple[Tensor, Tensor, Tensor, bool]:
    """c (sites, K + 1), center and scale (sites,) in the family that it is evaluated in, and whether that is the powers."""
    found = module.polynomial()
    c, rscale, recurrence = found.coefficients.cpu(), found.rscale.cpu(), found.recurrence
    if module.mixing is not None:
        matrix = torch.from_numpy(module.basis.mixing(c.shape[1] - 1)).to(c)
        constant = torch.nn.functional.pad(c[:, :1], (0, c.shape[1] - 1))
        c, rscale, recurrence = constant + c[:, 1:] @ matrix, rscale / module.basis.half_width, module.basis.evaluated_in  # type: ignore[attr-defined]
    return c, found.center.cpu(), rscale, recurrence.is_power()


def _polynomial_bound(c: Tensor, center: float, rscale: float, power: bool) -> float:
    """Of the rounding for |u| <= 1: of the coefficients, of u (by the steepest slope), and of the arithmetic."""
    steps = torch.arange(len(c), dtype=torch.float64)
    if power:
        arithmetic, slope = float((c.abs() * (2 * steps + 1)).sum()) * EPS32 * 1.001, float((c.abs() * steps).sum())
    else:
        arithmetic, slope = clenshaw_rounding(c, EPS32), supremum(c @ torch.from_numpy(CHEBYSHEV.derivative(len(c) - 1)))
    moved = (4 + 2 * abs(center * rscale)) * EPS32
    return arithmetic + (slope * moved + float(c.abs().sum()) * EPS32) * 1.001 + torch.finfo(torch.float32).tiny


# -- rationals --------------------------------------------------------------------------------------------------------------

_OUTER = {
    "even": "1 + sum of b[k] x^(2k + 2)",
    "per_term": "1 + sum of b[k] |x|^(k + 1)",
    "joint": "1 + |sum of b[k] x^(k + 1)|",
    "square": "1 + (sum of b[k] x^(k + 1))^2",
}


def _rational(module: Rational) -> Code:
    a = module.sharing.per_site(module.numerator)
    b: Tensor = a[:, :0] if module.denominator is None else module.sharing.per_site(module.denominator)
    if module.form in ("even", "per_term"):
        b = b.abs()
    top, count = a.shape[1] - 1, b.shape[1]
    together, sites = _rows(torch.cat([a.expand(max(len(a), len(b)), -1), b], 1))
    a, b = together[:, : top + 1], together[:, top + 1 :]
    low, high = module.domain or (-6.0, 6.0)
    degree = module.degrees[1] if count else 0
    bound = max(_rational_bound(*row, module.form, degree, (low, high)) for row in zip(a, b, strict=True))
    told = [
        f"rational: a learned quotient P/Q of degrees {top} and {degree}.",
        f"P(x) = sum of a[k] x^k; Q(x) = {_OUTER[module.form] if count else '1'}; the same formula everywhere.",
        *_told_sites(module, sites),
        f"Interval: {_interval(low, high)}. Error there, proven: float arithmetic is at most {bound * 1.001:.3e} from the quotient.",
        "Powers are scaled for large x, so that nothing overflows where the quotient does not.",
    ]
    return Code(tuple(told), tuple(_rational_body(a, b, module.form, degree)), bound, sites)


def _rational_body(a: Tensor, b: Tensor, form: str, degree: int) -> list[str]:
    top, count = a.shape[1] - 1, b.shape[1]
    highest = max(top, degree)
    limit = reach(torch.float32, highest)
    assert limit is not None
    rows, row = _table_of_rows("a", a)
    body = [
        *rows,
        "const float size = x < 0.0f ? -x : x;",
        f"const float r = size > {number(limit)} ? {number(limit)} / size : 1.0f, y = x * r;",
        f"float powers[{highest + 1}];",
        "powers[0] = 1.0f;",
        f"for (int k = 1; k <= {highest}; k++)",
        "    powers[k] = powers[k - 1] * r;",
        f"float p = {row}[{top}];",
        f"for (int k = 1; k <= {top}; k++)",
        f"    p = {row}[{top} - k] * powers[k] + p * y;",
    ]
    if not count:
        return [*body, f"return p / powers[{top}];"]
    lines, row = _table_of_rows("b", b)
    even, total = form == "even", degree // 2 if form == "square" else degree
    variable = {"even": "y * y", "per_term": "y < 0.0f ? -y : y"}.get(form, "y")
    exponent = "2 * k + 2" if even else "k + 1"
    last = 2 * count if even else count
    body += [
        *lines,
        f"const float v = {variable};",
        f"float s = {row}[{count - 1}] * powers[{total - last}];",
        f"for (int k = {count - 2}; k >= 0; k--)",
        f"    s = {row}[k] * powers[{total} - ({exponent})] + s * v;",
        "s = s * v;",
        f"const float q = {_outer(form)} + powers[{degree}];",
    ]
    if top == degree:
        return [*body, "return p / q;"]
    return [*body, f"return p / (q * powers[{top - degree}]);" if top > degree else f"return p * powers[{degree - top}] / q;"]


def _outer(form: str) -> str:
    return {"joint": "(s < 0.0f ? -s : s)", "square": "s * s"}.get(form, "s")


def _rational_bound(a: Tensor, b: Tensor, form: str, degree: int, interval: tuple[float, float]) -> float:
    """Of the rounding on the interval: on small cells the sums of the terms' sizes are at most those at the end far from 0, and Q is
    at least its value at the middle less its slope times half the cell.
    """
    edges = torch.linspace(*interval, 16385, dtype=torch.float64)
    far = torch.maximum(edges[:-1].abs(), edges[1:].abs())
    half = (edges[1:] - edges[:-1]) / 2
    powers = torch.arange(len(a), dtype=torch.float64)
    size = (a.abs() * far[:, None] ** powers).sum(1)
    exponents = torch.tensor(list(denominator_form(form).exponents(degree)) if degree else [], dtype=torch.float64)
    middle = edges[:-1] + half
    base = middle.abs() if form == "per_term" else middle
    inner = (b * base[:, None] ** exponents).sum(1)
    inner_size = (b.abs() * far[:, None] ** exponents).sum(1)
    inner_slope = (b.abs() * exponents * far[:, None] ** (exponents - 1).clamp(min=0)).sum(1)
    least = (inner.abs() - inner_slope * half).clamp(min=0)
    squared = form == "square"
    q = 1 + (least.square() if squared else least)
    most = inner.abs() + inner_slope * half
    # an error d of the inner sum moves Q by d, or by 2·|sum|·d where it is squared
    q_error = (2 * len(b) + 4) * inner_size * (2 * most if squared else 1.0) + 2 * (1 + (most.square() if squared else most))
    p_error = (2 * len(a) + 2) * size
    total = (p_error + size / q * q_error + 2 * size) / q
    # coefficients are float32 already, or rounded once; second-order terms are far below the per mille
    return float(total.max()) * EPS32 * 1.01 + torch.finfo(torch.float32).tiny


# -- splines ----------------------------------------------------------------------------------------------------------------


def _spline(module: UniformSpline) -> Code:
    found, grid = module.pieces(), module.grid
    local = module.sharing.per_site(found.coefficients.detach().cpu().double().movedim(1, 0)).movedim(2, 1)  # (sites, pieces, degree + 1)
    exact = grid.breakpoints()
    left = torch.cat([exact[:1] - grid.step, exact])
    center = left.float()
    flat = _shifted(local / grid.step ** torch.arange(local.shape[2], dtype=torch.float64), center.double() - left)
    rows, sites = _rows(flat.reshape(len(flat), -1))
    c = rows.reshape(sites, *flat.shape[1:])
    breaks = exact.float()
    bound = max(_spline_bound(row, center.double(), breaks.double(), exact) for row in c)
    degree = c.shape[2] - 1
    told = [
        f"{module.name}: a learned spline of degree {degree} with {grid.knots} knots, straight outside them.",
        "f(x) = sum of c[piece][k] * (x - center[piece])^k.",
        *_told_sites(module, sites),
        f"Interval: {_interval(grid.low, grid.high)}.",
        f"Error there, proven: float arithmetic is at most {bound * 1.001:.3e} from the spline.",
    ]
    ends = torch.cat([center[:1], breaks, (exact[-1:] + grid.step).float()])
    at = "channel][piece" if sites > 1 else "piece"
    written = c.reshape(-1, degree + 1).float()
    body = [
        *table("center", center),
        *_three("c", written, sites),
        *find_piece(ends, "x"),
        "const float d = x - center[piece];",
        *_straight(at, len(center) - 1, degree),
        *horner(f"c[{at}]", "d", degree),
        "return y;",
    ]
    return Code(tuple(told), tuple(body), bound, sites)


def _straight(at: str, last: int, degree: int) -> list[str]:
    """Beyond the grid without the powers that are not there, which would overflow."""
    return [f"if (piece == 0 || piece == {last})", f"    return d * c[{at}][1] + c[{at}][0];"] if degree > 1 else []


def _three(name: str, rows: Tensor, sites: int) -> list[str]:
    """A table (sites, rows, columns), or (rows, columns) for one site."""
    if sites == 1:
        return table(name, rows)
    per = len(rows) // sites
    inner = [line for i in range(sites) for line in ("    {", *table("", rows[i * per : (i + 1) * per])[1:-1], "    },")]
    return [f"static const float {name}[{sites}][{per}][{rows.shape[1]}] = {{", *inner, "};"]


def _shifted(c: Tensor, by: Tensor) -> Tensor:
    """The coefficients about a center moved by ``by``: (…, pieces, degree + 1)."""
    degree, out = c.shape[-1] - 1, torch.zeros_like(c)
    for k in range(degree + 1):
        for j in range(k + 1):
            out[..., j] += math.comb(k, j) * c[..., k] * by ** (k - j)
    return out


def _spline_bound(c: Tensor, center: Tensor, breaks: Tensor, exact: Tensor) -> float:
    """Of the rounding between the first and the last knot: of the arithmetic, of the coefficients, and of the knots themselves."""
    form = PowerForm(torch.cat([center[:1], breaks]), center[:-1], c[:-1])
    piece = torch.arange(1, len(breaks))
    rounding = form.rounding(piece, breaks[:-1], breaks[1:])
    powers = torch.arange(c.shape[1], dtype=torch.float64)
    kept = (c[1:-1].abs() * breaks.diff()[:, None] ** powers).sum(1) * EPS32
    # between a knot and its float the neighbour's formula holds: they differ by the difference of their slopes there at most
    slopes = (c.abs() * powers * (2 * breaks.diff().max()) ** (powers - 1).clamp(min=0)).sum(1).max()
    moved = 2 * slopes * (breaks - exact).abs().max()
    return float((rounding + kept).max() + moved) * 1.001
