# mypy: allow-untyped-defs, disable-error-code="assignment"
"""Two lines that meet and S hinges, as in :mod:`slaf.kernels.hinges`, in Triton. Of a row: place, left, right, height, a_0, b_0, …."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from slaf.kernels.dispatch import Layout

from .launch import gathered, launch, partial_sums, rows_of
from .tiles import channel_of, kernel, load_theta, load_tile, row_of_block, span, store_sums, store_tile, theta_at, tile, zeros

__all__ = ["hinges_backward", "hinges_forward"]

LINES = 4
MINUS_ZERO = tl.constexpr(-(1 << 31))
"""The bits of a slope on the left that is not there, also at -∞."""
BLOCK = 8
"""Hinges whose sums one program collects."""


@kernel
def forward_kernel(
    x_at, y_at, lines_at, hinges_at, n, c, s, loops, S: tl.constexpr,
    UNIFORM: tl.constexpr, WIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """y = height + slope·(x - place) + Σ_s a_s max(b_s - x, 0)."""
    c, group, row, first, end = span(n, c, s, loops, UNIFORM, WIDE, A, B)
    channel = channel_of(group, s, UNIFORM, B)
    place, left, right, height = load_theta(lines_at, group, c, s, 4, UNIFORM, B)
    least = tl.where(left.to(tl.int32, bitcast=True) == MINUS_ZERO, -3.4028234e38, float("-inf"))
    for t in range(first, end):
        offset, mask = tile(t, group, n, c, s, UNIFORM, A, B)
        x = load_tile(x_at, offset, mask)
        d = x - place
        y = tl.where(x > place, right, left) * tl.where(d < least, least, d) + height
        for j in range(S):
            d = theta_at(hinges_at, channel, c, 2 * j + 1, 2 * S) - x
            y += theta_at(hinges_at, channel, c, 2 * j, 2 * S) * tl.where(d <= 0, 0.0, d)  # keeps NaN
        store_tile(y_at, offset, mask, y)


@kernel
def backward_kernel(
    x_at, g_at, gx_at, sums_at, lines_at, hinges_at, n, c, s, loops, S: tl.constexpr, INPUT: tl.constexpr,
    UNIFORM: tl.constexpr, WIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """The gradient of x, and a program's share of Σ g (x - place) and Σ g, each on the left and on the right."""
    c, group, row, first, end = span(n, c, s, loops, UNIFORM, WIDE, A, B)
    channel = channel_of(group, s, UNIFORM, B)
    place, left, right, height = load_theta(lines_at, group, c, s, 4, UNIFORM, B)
    sums = zeros(4, A, B)
    for t in range(first, end):
        offset, mask = tile(t, group, n, c, s, UNIFORM, A, B)
        x = load_tile(x_at, offset, mask)
        g = load_tile(g_at, offset, mask)
        above = x > place
        gz = tl.where(mask, g * (x - place), 0.0)
        sums = (
            sums[0] + tl.where(above, 0.0, gz),
            sums[1] + tl.where(above, gz, 0.0),
            sums[2] + tl.where(above, 0.0, g),
            sums[3] + tl.where(above, g, 0.0),
        )
        if INPUT:
            slope = tl.where(above, right, left) + 0.0 * g
            for j in range(S):
                d = theta_at(hinges_at, channel, c, 2 * j + 1, 2 * S) - x
                slope -= tl.where(d <= 0, 0.0, theta_at(hinges_at, channel, c, 2 * j, 2 * S))
            store_tile(gx_at, offset, mask, g * slope)
    store_sums(sums_at, sums, group, row, c, s, 4, UNIFORM, B)


@kernel
def sums_kernel(
    x_at, g_at, sums_at, places_at, n, c, s, loops, S: tl.constexpr, COUNT: tl.constexpr,
    UNIFORM: tl.constexpr, WIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """A program's share of Σ g max(b - x, 0) and Σ g where b > x, for COUNT of the S hinges."""
    c, group, row, first, end = span(n, c, s, loops, UNIFORM, WIDE, A, B)
    channel = channel_of(group, s, UNIFORM, B)
    places = ()
    for j in tl.static_range(COUNT):
        places = places + (theta_at(places_at, channel, c, tl.program_id(1) * COUNT + j, S),)
    sums = zeros(2 * COUNT, A, B)
    for t in range(first, end):
        offset, mask = tile(t, group, n, c, s, UNIFORM, A, B)
        x = load_tile(x_at, offset, mask)
        g = load_tile(g_at, offset, mask)
        more = ()
        for j in tl.static_range(COUNT):
            d = places[j] - x
            below = mask & ~(d <= 0)
            more = more + (sums[2 * j] + tl.where(below, g * d, 0.0), sums[2 * j + 1] + tl.where(below, g, 0.0))
        sums = more
    store_sums(sums_at, sums, group, row_of_block(row), c, s, 2 * COUNT, UNIFORM, B)


def _split(parameters: Tensor) -> tuple[Tensor, Tensor, int]:
    return parameters[:, :LINES].contiguous(), parameters[:, LINES:].contiguous(), parameters.shape[1] // 2 - 2


def hinges_forward(x: Tensor, layout: Layout, parameters: Tensor) -> Tensor:
    """As :func:`slaf.kernels.raw.hinges_forward`."""
    y = torch.empty_like(x)
    lines, hinges, count = _split(parameters)
    launch(forward_kernel, x, layout, rows_of(x, layout, 0), x, y, lines, hinges, S=count)
    return y


def hinges_backward(x: Tensor, g: Tensor, layout: Layout, parameters: Tensor, input_gradient: bool = True) -> tuple[Tensor | None, Tensor]:
    """As :func:`slaf.kernels.raw.hinges_backward`."""
    gx = torch.empty_like(x) if input_gradient else None
    lines, hinges, count = _split(parameters)
    walk = rows_of(x, layout, LINES)
    partial = partial_sums(x, layout, walk, LINES)
    launch(
        backward_kernel, x, layout, walk, x, g, x if gx is None else gx, partial, lines, hinges, S=count, INPUT=input_gradient
    )  # fmt: skip
    (sums,) = gathered(partial, layout, (LINES,))
    return gx, torch.cat([sums, _hinge_sums(x, g, layout, hinges[:, 1::2])], 1) if count else sums


def _hinge_sums(x: Tensor, g: Tensor, layout: Layout, places: Tensor) -> Tensor:
    count = places.shape[1]
    size = min(count, BLOCK)
    blocks = triton.cdiv(count, size)
    padded = torch.nn.functional.pad(places, (0, blocks * size - count))
    walk = rows_of(x, layout, 2 * size, blocks)
    partial = partial_sums(x, layout, walk, blocks * 2 * size)
    launch(sums_kernel, x, layout, walk, x, g, partial, padded, blocks=blocks, S=blocks * size, COUNT=size)
    return gathered(partial, layout, (blocks * 2 * size,))[0][:, : 2 * count]
