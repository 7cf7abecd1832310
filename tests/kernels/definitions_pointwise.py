"""Splines and hinges as :mod:`definitions` has the other families.

A majorant is written here as a bound of the value plus ``moved``, which is zero and has the gradient of x, times a bound of the slope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import comb, factorial
from typing import Any

import torch
from entry import UNIT, Kernel
from hypothesis import strategies as st
from statistics_majorant import beside
from torch import Tensor

# -- piecewise polynomials -------------------------------------------------------------------------------------------------------


def _cardinal(p: int) -> list[list[float]]:
    """Row r: the powers of t in N_p(r + t), 0 ≤ t ≤ 1, of N_p(w) = Σ_i (-1)^i binom(p + 1, i) (w - i)^p_+ / p!."""
    return [
        [comb(p, k) * sum((-1) ** i * comb(p + 1, i) * (r - i) ** (p - k) for i in range(r + 1)) / factorial(p) for k in range(p + 1)]
        for r in range(p + 1)
    ]


def _local(theta: Tensor, cell: Tensor, p: int, sign: Callable[[float], float]) -> list[Tensor]:
    """c_k of f = Σ c_k t^k in every element's cell; B_i lies on the cells i - p … i."""
    rows = theta.expand(len(theta), *cell.shape)
    values = [rows.gather(0, (cell + p - r)[None])[0] for r in range(p + 1)]
    return [sum(sign(row[k]) * v for row, v in zip(_cardinal(p), values, strict=True)) for k in range(p + 1)]


def _horner(c: list[Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
    """Value and derivative."""
    value, slope = torch.zeros_like(t), torch.zeros_like(t)
    for a in reversed(c):
        value, slope = value * t + a, slope * t + value
    return value, slope


def _spline(x: Tensor, theta: Tensor, p: int, center: Tensor, rscale: Tensor, minus: float, at: Tensor) -> Tensor:
    """Σ_i θ_i B_i((x - center)·rscale) on whole cells about 0, beyond them its tangent; at a knot the slope may be either side's.

    The majorant has the piece of an element and, as far as its place may round across a knot, the next one.
    """
    cells = len(theta) - p
    u = (at - center) * rscale + cells / 2
    moved = (x - x.detach()) * rscale
    cell = u.floor().clamp(0, cells - 1)
    if minus < 0:
        c, u = _local(theta, cell.long(), p, lambda v: v), u + moved
        t = u - cell
        value, slope = _horner(c, t.clamp(0, 1))
        return value + slope * (t - t.clamp(0, 1))
    off = 2 * (u - cells / 2).abs() + 2 * center.abs() * rscale + cells
    total = torch.zeros_like(u)
    for side in (-1, 0, 1):
        other = (cell + side).clamp(0, cells - 1)
        close = ((u - other - 0.5).abs() <= 0.5 + 8 * UNIT * off) | (side == 0)
        c, t = _local(theta, other.long(), p, abs), (u - other).abs()
        inside = (t + 2.0**-40 * off).clamp(max=1)  # the exact place is rounded too: at a knot t² may be all there is
        value, slope = _horner(c, inside)
        curved = _horner([k * a for k, a in enumerate(c)][1:], inside)[1]
        either = (p == 1) * ((u - u.round()).abs() <= 8 * UNIT * off) / UNIT
        total = total + close * (value + slope * (t - inside + off) + moved * (slope * (1 + either) + curved * off))
    return total


def spline(act: Any, x: Tensor, theta: Mapping[str, Tensor], minus: float, at: Tensor) -> Tensor:
    """θ are the coefficients of B-splines between ``low`` and ``high``."""
    given = act.config()
    low, high = given.get("low", -4.0), given.get("high", 4.0)
    step = (high - low) / (len(theta["coefficients"]) - act.degree)
    return _spline(x, theta["coefficients"], act.degree, *(torch.tensor(v).double() for v in ((low + high) / 2, 1 / step)), minus, at)


def bsplines(act: Any, x: Tensor, theta: Mapping[str, Tensor], minus: float, at: Tensor) -> Tensor:
    """s·(b + Σ a_k φ_k(u)), φ the B-splines on [-1, 1] but for the middle one."""
    p, a, scale = act.basis.degree, theta["weight"], torch.as_tensor(1 / act.input_scale).double()
    cells = len(a) + 1 - p
    a = torch.cat([a[: (cells + p) // 2], torch.zeros_like(a[:1]), a[(cells + p) // 2 :]])
    center = torch.zeros(()).double()
    if act.interval is not None:
        low, high = act.interval
        center, scale = torch.tensor((low + high) / 2).double(), torch.tensor(2 / (high - low)).double()
    if act.input_statistics is not None:
        kept, channel = act.input_statistics, beside(act, x.dim())
        center, scale = channel(kept.mean), scale / (channel(kept.var) + kept.eps).sqrt()
    return act.coefficient_scale * (theta["bias"][0] + _spline(x, a, p, center, scale * cells / 2, minus, at))


def _spline_specs(name: str) -> st.SearchStrategy[str]:
    knots, ends = st.sampled_from((2, 3, 5, 9, 16, 17, 18, 33, 70)), st.sampled_from(("low=-4.0, high=4.0", "low=-2.0, high=3.0"))
    return st.builds(lambda k, e: f"{name}knots={k}, {e})", knots, ends)


def _bspline_specs() -> st.SearchStrategy[str]:
    more = st.sampled_from(("normalize=none, input=identity", "normalize=none, input=batch", "interval=(-2.0,1.0)"))
    degrees = st.sampled_from((1, 2, 3, 3, 5)), st.integers(0, 15)
    return st.builds(lambda p, k, m: f"slaf(basis=bspline(degree={p}), terms={p + 2 + k}, {m})", *degrees, more)


def evaluated(act: Any) -> None:
    """With running statistics: in training the definition runs."""
    act.eval()
    with_input_statistics(act)


def with_input_statistics(act: Any) -> None:
    """Running statistics as some batches leave them."""
    kept = act.input_statistics
    if kept is not None:
        kept.mean.normal_()
        kept.var.copy_(torch.rand_like(kept.var) + 0.3)
        kept.num_batches_tracked.fill_(10 * int(torch.randint(0, 3, ())))


KNOTS = (3.0, -3.0, 4.0, -4.0, 0.25, -0.5, 1.5)
PIECES = {
    **{
        name: Kernel(_spline_specs(spec), spline, lambda act: 12 + 4 * act.degree, points=KNOTS, loose=not name.startswith("piecewise"))
        for name, spec in (
            ("piecewise linear", "piecewise_linear("),
            ("quadratic spline", "spline(degree=2, "),
            ("cubic spline", "spline(degree=3, "),
        )
    },
    "b-splines": Kernel(
        _bspline_specs(), bsplines, lambda act: 16 + 6 * act.basis.degree, points=KNOTS, loose=True, needs="channels", prepare=evaluated
    ),
}

# -- hinges ----------------------------------------------------------------------------------------------------------------------


def _lines(x: Tensor, left: Tensor, right: Tensor, minus: float, at: Tensor) -> Tensor:  # noqa: ARG001 - |x| has the same formula
    return torch.where(at > 0, right * x, left * x)


def hinges(act: Any, x: Tensor, theta: Mapping[str, Tensor], minus: float, at: Tensor) -> Tensor:  # noqa: ARG001
    """max(0, x) + Σ a_s max(0, b_s - x)."""
    under = theta["places exact"] > at
    terms = theta["slopes"] * (theta["places"] + minus * x)
    return torch.where(at > 0, x, 0 * x) + torch.where(under, terms, torch.zeros_like(terms)).sum(0)


def _at_points(name: str, like: Tensor) -> Tensor:
    """Places among which are values of x."""
    drawn = torch.randn_like(like)
    return torch.where(torch.rand_like(like) < 0.3, (2 * drawn).round() / 2, drawn) if name == "places" else drawn


HINGES = {
    "prelu": Kernel(
        st.just("prelu(weight=0.25)"),
        lambda act, x, theta, minus, at: _lines(x, theta["weight"][0], torch.ones(()), minus, at),  # noqa: ARG005
        lambda act: 4,  # noqa: ARG005
        one_dtype=True,
    ),
    "dprelu": Kernel(
        st.just("dprelu(alpha=1.0)"),
        lambda act, x, theta, minus, at: _lines(x, theta["beta"][0], theta["alpha"][0], minus, at),  # noqa: ARG005
        lambda act: 4,  # noqa: ARG005
        one_dtype=True,
    ),
    "apl": Kernel(
        st.sampled_from((1, 2, 5, 14, 33, 64)).map(lambda s: f"apl(hinges={s})"),
        hinges,
        lambda act: 8 + act.hinges,
        theta=_at_points,
    ),
}
