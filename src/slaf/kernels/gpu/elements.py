# mypy: allow-untyped-defs, disable-error-code="assignment"
"""Functions of one element and a row of parameters θ, with sums for every row, in Triton: Gaussians, and layers that normalise.

One kernel makes all passes, OP says which. With ``samples`` on the grid's second axis θ and the sums are those of every channel of every
sample of memory (samples, n, c, s).
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from slaf.kernels.dispatch import Layout

from .launch import gathered, launch, partial_sums, rows_of
from .tiles import kernel, load_theta, load_tile, row_of_block, span, store_sums, store_tile, tile, zeros

__all__ = ["OPS", "Op", "elements_kernel", "passed"]


class Op(NamedTuple):
    """A pass: its number, how many parameters and sums it has beside those for every term, whether it reads g and writes."""

    code: int
    width: int
    sums: int
    reads: bool
    writes: bool


OPS = {
    "bumps": Op(0, 5, 0, False, True),
    "bumps sums": Op(1, 5, 3, True, True),
    "spread": Op(2, 1, 2, False, False),
    "gate": Op(3, 3, 0, False, True),
    "gate sums": Op(4, 1, 3, True, False),
    "gate input": Op(5, 4, 0, True, True),
    "quotient": Op(6, 6, 0, False, True),
    "quotient sums": Op(7, 4, 5, True, False),
    "quotient input": Op(8, 7, 0, True, True),
}
BUMPS, BUMPS_SUMS = (tl.constexpr(i) for i in range(2))
SPREAD, GATE, GATE_SUMS, GATE_INPUT, QUOTIENT, QUOTIENT_SUMS, QUOTIENT_INPUT = (tl.constexpr(i) for i in range(2, 9))
HEAD = tl.constexpr(5)

# -- Gaussians on a uniform grid: θ = center, rate, κ, reach, bias, the J of a_k w_k ----------------------------------------------


@triton.jit
def on_the_left(x, p, J: tl.constexpr):
    """s in spacings from the middle, whether it is on the right, and of s <= 0, where all is done: τ = s + mid, q and exp(-κτ²).

    Each Gaussian is exp(-κτ²)·w_k·q^k, q = exp(2κs) <= 1; the right side is the left one with the terms in reverse order.
    """
    mid: tl.constexpr = 0.5 * (J - 1)
    s = (x - p[0]) * p[1]
    flip = s > 0.0
    left = tl.where(flip, -s, s)
    left = tl.where(left < -p[3], -p[3], left)
    tau = left + mid
    q = tl.exp(2.0 * p[2] * left)
    # exp(-κτ²) times q^k is of moderate size though both are not: so what rounding takes from the exponent is put back
    rate = p[2] * tau
    square = rate * tau
    rest = tl.fma(rate, tau, -square) + 2.0 * rate * (left - (tau - mid))
    bell = tl.exp(-square)
    return s, flip, tau, q, bell - bell * rest


@triton.jit
def coefficient(p, flip, k: tl.constexpr, J: tl.constexpr):
    """a_k w_k of the term at q^k."""
    return tl.where(flip, p[HEAD + J - 1 - k], p[HEAD + k])


@triton.jit
def bumps_value(x, p, J: tl.constexpr):
    """Σ_k a_k φ_k and the bias."""
    s, flip, tau, q, bell = on_the_left(x, p, J)
    y = tl.zeros_like(x)
    for k in tl.static_range(J):
        y = y * q + coefficient(p, flip, J - 1 - k, J)
    return bell * y + p[4]


@triton.jit
def bumps_slope(flip, tau, q, bell, p, J: tl.constexpr):
    """d/ds of the sum."""
    y = tl.zeros_like(q)
    dy = tl.zeros_like(q)
    for k in tl.static_range(J):
        dy = dy * q + y
        y = y * q + coefficient(p, flip, J - 1 - k, J)
    rise = bell * (2.0 * p[2]) * (dy * q - tau * y)
    return tl.where(flip, -rise, rise)


@triton.jit
def bumps_sums(x, g, p, J: tl.constexpr):
    """gx = g·rate·d/ds; Σ g, the J of Σ g φ_k/w_k, Σ g d/ds and Σ g s d/ds."""
    s, flip, tau, q, bell = on_the_left(x, p, J)
    slope = g * bumps_slope(flip, tau, q, bell, p, J)
    terms = (g * bell,)
    for k in tl.static_range(J - 1):
        terms = terms + (terms[k] * q,)
    found = (g,)
    for k in tl.static_range(J):
        found = found + (tl.where(flip, terms[J - 1 - k], terms[k]),)
    return slope * p[1], found + (slope, slope * s)


# -- layers that normalise and activate ----------------------------------------------------------------------------------------------


@triton.jit
def logistic(z):
    """σ(z) and 1 - σ(z), each to its own digits."""
    e = tl.exp(-tl.abs(z))
    large = 1.0 / (1.0 + e)
    small = e * large
    return tl.where(z < 0, small, large), tl.where(z < 0, large, small)


@triton.jit
def gate_sums(x, g, p):
    """With h = x·σ(v x): Σ g, Σ g h, Σ g ∂h/∂v."""
    open_, shut = logistic(p[0] * x)
    gh = g * (x * open_)
    return g, gh, gh * (x * shut)


@triton.jit
def gate_input(x, g, p):
    """gx = a·g·h'(x) + k·(x - c): the difference first, so that nothing cancels where k is large."""
    z = p[1] * x
    open_, shut = logistic(z)
    return p[0] * g * (open_ * (z * shut + 1.0)) + p[2] * (x - p[3])


@triton.jit
def larger(x, p):
    """1/D, D = max(l, r) with r = p·(x - c) + q, and the share of r in its gradient: a half where both are equal."""
    r = p[1] * (x - p[3]) + p[2]
    right = tl.where(r > p[0], 1.0, tl.where(r == p[0], 0.5, 0.0))
    return 1.0 / tl.where(p[0] > r, p[0], r), right  # not a number where r is


@triton.jit
def quotient_sums(x, g, p):
    """Σ g, Σ g x/D, and, with t = g x/D², Σ t, Σ t and Σ t x where r is larger."""
    reciprocal, right = larger(x, p)
    first = g * (x * reciprocal)
    t = first * reciprocal
    return g, first, t, t * right, t * right * x


@triton.jit
def quotient_input(x, g, p):
    """gx = a·g·(1/D - p·x/D² where r is larger) + m + k·(x - c)."""
    reciprocal, right = larger(x, p)
    slope = reciprocal - p[1] * (x * reciprocal) * (reciprocal * right)
    return p[4] * (g * slope) + (p[6] * (x - p[3]) + p[5])


# -- the pass ------------------------------------------------------------------------------------------------------------------------


@triton.jit
def evaluated(x, g, p, OP: tl.constexpr, J: tl.constexpr):
    """What is written and what is summed."""
    if OP == BUMPS:
        return bumps_value(x, p, J), ()
    elif OP == BUMPS_SUMS:
        return bumps_sums(x, g, p, J)
    elif OP == SPREAD:
        return x, (x - p[0], (x - p[0]) * (x - p[0]))
    elif OP == GATE:
        return p[0] * (x * logistic(p[1] * x)[0]) + p[2], ()
    elif OP == GATE_SUMS:
        return x, gate_sums(x, g, p)
    elif OP == GATE_INPUT:
        return gate_input(x, g, p), ()
    elif OP == QUOTIENT:
        return p[4] * (x * larger(x, p)[0]) + p[5], ()
    elif OP == QUOTIENT_SUMS:
        return x, quotient_sums(x, g, p)
    else:
        return quotient_input(x, g, p), ()


@kernel
def elements_kernel(
    x_at, g_at, out_at, sums_at, rows_at, n, c, s, loops,
    OP: tl.constexpr, J: tl.constexpr, WIDTH: tl.constexpr, SUMS: tl.constexpr, READS: tl.constexpr, WRITES: tl.constexpr,
    UNIFORM: tl.constexpr, WIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """A program's share of one sample."""
    c, group, row, first, end = span(n, c, s, loops, UNIFORM, WIDE, A, B)
    sample = tl.program_id(1).to(tl.int64)
    start = sample * n * c * s
    p = load_theta(rows_at + sample * c * WIDTH, group, c, s, WIDTH, UNIFORM, B)
    sums = zeros(SUMS, A, B)
    for t in range(first, end):
        offset, mask = tile(t, group, n, c, s, UNIFORM, A, B)
        x = load_tile(x_at + start, offset, mask)
        g = x
        if READS:
            g = load_tile(g_at + start, offset, mask)
        out, terms = evaluated(x, g, p, OP, J)
        if WRITES:
            store_tile(out_at + start, offset, mask, out)
        more = ()
        for k in tl.static_range(SUMS):
            more = more + (sums[k] + tl.where(mask, terms[k], 0.0),)
        sums = more
    store_sums(sums_at, sums, group, row_of_block(row), c, s, SUMS, UNIFORM, B)


def passed(
    name: str, x: Tensor, g: Tensor | None, layout: Layout, rows: Tensor, out: Tensor | None, samples: int = 1, terms: int = 0
) -> Tensor:
    """One pass with θ of ``rows``, (samples·c, parameters) in float32, into ``out``, if given; the sums, (samples·c, sums), in float64.

    Args:
        terms: of Gaussians.
    """
    op = OPS[name]
    sums = op.sums + (terms if op.sums else 0)
    walk = rows_of(x, layout, sums, samples)
    partial = partial_sums(x, layout, walk, samples * sums)
    launch(
        elements_kernel, x, layout, walk, x, x if g is None else g, x if out is None else out, partial, rows.contiguous(), blocks=samples,
        OP=op.code, J=terms, WIDTH=op.width + terms, SUMS=sums, READS=op.reads, WRITES=op.writes and out is not None,
    )  # fmt: skip
    (found,) = gathered(partial, layout, (samples * sums,))
    return found.reshape(layout.c, samples, sums).transpose(0, 1).reshape(samples * layout.c, sums)
