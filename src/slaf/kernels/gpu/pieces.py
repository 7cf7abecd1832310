# mypy: allow-untyped-defs, disable-error-code="assignment"
"""Piecewise polynomials on a uniform grid, as in :mod:`slaf.kernels.pieces`, in Triton: of a channel's row piece after piece c_0 … c_D.

Backward sums g·t^k over every piece. Those of all pieces do not fit into registers, so a program collects a few pieces' and chooses the
elements by comparing: that takes no atomics, and threads do not wait for one another.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from slaf.kernels.dispatch import Layout

from .launch import gathered, launch, partial_sums, rows_of
from .tiles import channel_of, kernel, load_tile, row_of_block, span, store_sums, store_tile, theta_at, tile, zeros

__all__ = ["pieces_backward", "pieces_forward"]

TERMS = 16
"""Sums that one program collects."""


@triton.jit
def located(x, center, rscale, cells):
    """The piece of every element, 0 … cells + 1, and t there. Rounded as plain torch does it: no product and sum may be fused."""
    v = (x - center) * rscale
    half = 0.5 * cells
    p = v + half
    p = tl.where(p > -1.0, p, -1.0)  # also where x is not a number
    p = tl.floor(tl.where(p < cells, p, 1.0 * cells))
    return p.to(tl.int32) + 1, v - (p - half)


@triton.jit
def cut(t):
    """t in [0, 1]; only straight pieces go beyond."""
    return tl.where(t > 0.0, tl.where(t < 1.0, t, 1.0), 0.0)


@triton.jit
def value(at, t, mask, D: tl.constexpr):
    """Σ_k c_k t^k with c_0 … c_D at ``at``."""
    y = tl.load(at, mask=mask, other=0.0) + tl.load(at + 1, mask=mask, other=0.0) * t
    if D > 1:
        inside = cut(t)
        higher = tl.load(at + D, mask=mask, other=0.0)
        for k in tl.static_range(D - 2):
            higher = higher * inside + tl.load(at + (D - 1 - k), mask=mask, other=0.0)
        y += inside * inside * higher
    return y


@triton.jit
def slope(at, t, mask, D: tl.constexpr):
    """Σ_k k c_k t^(k - 1)."""
    inside = cut(t)
    y = tl.zeros_like(t)
    for k in tl.static_range(D):
        y = y * inside + (D - k) * tl.load(at + (D - k), mask=mask, other=0.0)
    return y


@kernel
def forward_kernel(
    x_at, y_at, table_at, center_at, rscale_at, cells, n, c, s, loops, D: tl.constexpr,
    UNIFORM: tl.constexpr, WIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """y = Σ_k c_k t^k, the c_k looked up."""
    c, group, row, first, end = span(n, c, s, loops, UNIFORM, WIDE, A, B)
    channel = channel_of(group, s, UNIFORM, B)
    center, rscale = theta_at(center_at, channel, c, 0, 1), theta_at(rscale_at, channel, c, 0, 1)
    for i in range(first, end):
        offset, mask = tile(i, group, n, c, s, UNIFORM, A, B)
        piece, t = located(load_tile(x_at, offset, mask), center, rscale, cells)
        at = table_at + (channel * (cells + 2) + piece) * (D + 1)
        store_tile(y_at, offset, mask, value(at, t, mask, D))


@kernel
def backward_kernel(
    x_at, g_at, gx_at, sums_at, table_at, center_at, rscale_at, cells, n, c, s, loops,
    D: tl.constexpr, COUNT: tl.constexpr, INPUT: tl.constexpr,
    UNIFORM: tl.constexpr, WIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """In the first block the gradient of x; in each a program's share of Σ g t^k over COUNT of the pieces."""
    c, group, row, first, end = span(n, c, s, loops, UNIFORM, WIDE, A, B)
    channel = channel_of(group, s, UNIFORM, B)
    center, rscale = theta_at(center_at, channel, c, 0, 1), theta_at(rscale_at, channel, c, 0, 1)
    sums = zeros(COUNT * (D + 1), A, B)
    for i in range(first, end):
        offset, mask = tile(i, group, n, c, s, UNIFORM, A, B)
        piece, t = located(load_tile(x_at, offset, mask), center, rscale, cells)
        g = load_tile(g_at, offset, mask)
        if INPUT:
            if tl.program_id(1) == 0:
                at = table_at + (channel * (cells + 2) + piece) * (D + 1)
                store_tile(gx_at, offset, mask, g * (slope(at, t, mask, D) * rscale))
        own = tl.where(mask, piece - tl.program_id(1) * COUNT, -1)
        more = ()
        for j in tl.static_range(COUNT):
            term = tl.where(own == j, g, 0.0)
            there = tl.where(own == j, t, 0.0)
            for k in tl.static_range(D + 1):
                more = more + (sums[j * (D + 1) + k] + term,)
                term = term * there
        sums = more
    store_sums(sums_at, sums, group, row_of_block(row), c, s, COUNT * (D + 1), UNIFORM, B)


def pieces_forward(x: Tensor, layout: Layout, degree: int, table: Tensor, center: Tensor, rscale: Tensor) -> Tensor:
    """As :func:`slaf.kernels.raw.pieces_forward`."""
    y, cells = torch.empty_like(x), table.shape[1] // (degree + 1) - 2
    walk = rows_of(x, layout, 0)
    launch(forward_kernel, x, layout, walk, x, y, table, center, rscale, cells, D=degree, enable_fp_fusion=False)
    return y


def pieces_backward(
    x: Tensor, g: Tensor, layout: Layout, degree: int, table: Tensor, center: Tensor, rscale: Tensor, input_gradient: bool = True
) -> tuple[Tensor | None, Tensor]:
    """As :func:`slaf.kernels.raw.pieces_backward`."""
    gx = torch.empty_like(x) if input_gradient else None
    powers = degree + 1
    pieces, count = table.shape[1] // powers, TERMS // powers
    blocks = triton.cdiv(pieces, count)
    walk = rows_of(x, layout, count * powers, blocks)
    partial = partial_sums(x, layout, walk, blocks * count * powers)
    launch(
        backward_kernel, x, layout, walk, x, g, x if gx is None else gx, partial, table, center, rscale, pieces - 2,
        blocks=blocks, D=degree, COUNT=count, INPUT=input_gradient, enable_fp_fusion=False,
    )  # fmt: skip
    sums = gathered(partial, layout, (blocks * count * powers,))[0][:, : pieces * powers].contiguous()
    by_piece = sums.reshape(layout.c, pieces, powers)
    by_piece[:, 0, 2:] = by_piece[:, -1, 2:] = 0  # straight
    return gx, sums
