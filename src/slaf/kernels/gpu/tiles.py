# mypy: allow-untyped-defs, disable-error-code="assignment"
"""How every Triton kernel walks over memory: tiles of a (n, c, s) layout, θ of their channels, and sums without atomics.

A program owns one *group* - a channel whose rows are long ("uniform": θ are scalars), else a run of the c·s columns (θ are vectors) - and
``loops`` tiles of it, one after the other. It adds up in registers, in float32, lane by lane, and writes each sum once, to a row of its
own; :func:`slaf.kernels.gpu.launch.gathered` adds the rows in float64. So results have the same bits in every run. Where there are more
sums than registers, each of several *blocks* of programs, on the grid's second axis, walks over everything for its share of them.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = [
    "add_sums",
    "channel_of",
    "kernel",
    "load_sums",
    "load_theta",
    "load_tile",
    "row_of_block",
    "span",
    "store_sums",
    "store_tile",
    "theta_at",
    "tile",
    "zeros",
]

kernel = triton.jit(do_not_specialize=["n", "loops", "cells"])
"""Of n, loops and cells a compiled kernel knows nothing; of c and s whether they are 1 or multiples of 16: so wide loads may be."""


@triton.jit
def span(n, c, s, loops, UNIFORM: tl.constexpr, WIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr):
    """(c, group, row of the sums, first tile, end) of this program; where WIDE all in 64 bits, and so is what is made of them."""
    program = tl.program_id(0)
    if WIDE:
        c = c + tl.zeros([], tl.int64)
    tiles = (n + A - 1) // A
    if UNIFORM:
        groups = c
        tiles = tiles * ((s + B - 1) // B)
    else:
        groups = (c * s + B - 1) // B
    row = program // groups
    return c, program % groups, row, row * loops, tl.minimum(row * loops + loops, tiles)


@triton.jit
def tile(t, group, n, c, s, UNIFORM: tl.constexpr, A: tl.constexpr, B: tl.constexpr):
    """Offsets into memory of the t-th tile of a group, (A, B), and which of them are inside."""
    column = tl.arange(0, B)[None, :]
    if UNIFORM:
        across = (s + B - 1) // B
        row = (t // across) * A + tl.arange(0, A)[:, None]
        inside = (t % across) * B + column
        at = group * s + inside
        mask = (row < n) & (inside < s)
    else:
        row = t * A + tl.arange(0, A)[:, None]
        at = group * B + column
        mask = (row < n) & (at < c * s)
    return (row * c) * s + at, mask


@triton.jit
def load_tile(pointer, offset, mask):
    """In float32; 0 outside."""
    return tl.load(pointer + offset, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def store_tile(pointer, offset, mask, value):
    """Rounded to what the pointer holds."""
    tl.store(pointer + offset, value.to(pointer.dtype.element_ty), mask=mask)


@triton.jit
def channel_of(group, s, UNIFORM: tl.constexpr, B: tl.constexpr):
    """A scalar, or (1, B) of the columns."""
    if UNIFORM:
        return group
    else:
        return (group * B + tl.arange(0, B)[None, :]) // s


@triton.jit
def theta_at(pointer, channel, c, j, WIDTH: tl.constexpr):
    """The j-th number of the channel's row of WIDTH; beyond the last channel 0."""
    return tl.load(pointer + channel * WIDTH + j, mask=channel < c, other=0.0)


@triton.jit
def load_theta(pointer, group, c, s, COUNT: tl.constexpr, UNIFORM: tl.constexpr, B: tl.constexpr):
    """A row of COUNT numbers for the channel, or for each of the columns: a tuple of scalars or of (1, B)."""
    channel = channel_of(group, s, UNIFORM, B)
    out = ()
    for j in tl.static_range(COUNT):
        out = out + (theta_at(pointer, channel, c, j, COUNT),)
    return out


@triton.jit
def zeros(COUNT: tl.constexpr, A: tl.constexpr, B: tl.constexpr):
    """COUNT sums, one for every lane of a tile."""
    out = ()
    for _ in tl.static_range(COUNT):
        out = out + (tl.zeros([A, B], tl.float32),)
    return out


@triton.jit
def row_of_block(row):
    """Where the second axis of the grid counts blocks of terms, or samples: their sums follow one another in a row."""
    return row.to(tl.int64) * tl.num_programs(1) + tl.program_id(1)


@triton.jit
def place_of_sums(group, row, c, s, TERMS: tl.constexpr, UNIFORM: tl.constexpr, B: tl.constexpr):
    """In (rows, TERMS, c or c·s): where the first term of this program is, (B,) or (1,), which are inside, and the step to the next."""
    if UNIFORM:
        step = c
        at = group + tl.arange(0, 1)
    else:
        step = c * s
        at = group * B + tl.arange(0, B)
    return row.to(tl.int64) * TERMS * step + at, at < step, step


@triton.jit
def total(sums, UNIFORM: tl.constexpr):
    """Over a tile: (1,), or (B,) of the columns."""
    out = tl.sum(sums, 0)
    if UNIFORM:
        out = tl.sum(out, 0, keep_dims=True)
    return out


@triton.jit
def store_sums(pointer, sums, group, row, c, s, TERMS: tl.constexpr, UNIFORM: tl.constexpr, B: tl.constexpr):
    """Each once, into a row that no other program writes."""
    at, mask, step = place_of_sums(group, row, c, s, TERMS, UNIFORM, B)
    for j in tl.static_range(TERMS):
        tl.store(pointer + at + j * step, total(sums[j], UNIFORM), mask=mask)


@triton.jit
def load_sums(pointer, group, row, c, s, TERMS: tl.constexpr, UNIFORM: tl.constexpr, B: tl.constexpr):
    """What :func:`store_sums` has left there."""
    at, mask, step = place_of_sums(group, row, c, s, TERMS, UNIFORM, B)
    out = ()
    for j in tl.static_range(TERMS):
        out = out + (tl.load(pointer + at + j * step, mask=mask, other=0.0),)
    return out


@triton.jit
def add_sums(pointer, before, sums, group, row, c, s, COUNT: tl.constexpr, TERMS: tl.constexpr, UNIFORM: tl.constexpr, B: tl.constexpr):
    """The first COUNT of them to what :func:`load_sums` has found."""
    at, mask, step = place_of_sums(group, row, c, s, TERMS, UNIFORM, B)
    for j in tl.static_range(COUNT):
        tl.store(pointer + at + j * step, before[j] + total(sums[j], UNIFORM), mask=mask)
