"""Which tiles a layout is cut into, and the second stage of the sums. Nothing here depends on the device, so neither do the bits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slaf.kernels.dispatch import Layout

__all__ = ["Plan", "gathered", "launch", "partial_sums", "plan", "rows_of"]

WARPS = 4
THREADS = 32 * WARPS
ROW = 32
"""From this length on a channel's rows are walked along; shorter ones are columns."""
PROGRAMS = 2048
"""As many keep a large GPU busy; beyond, each takes more tiles before it writes its sums, up to ``MOST``."""
MOST = 64
COLUMNS = 128


class Plan(NamedTuple):
    """How a kernel walks: see :mod:`.tiles`.

    Attributes:
        rows: of partial sums; ``rows`` × ``groups`` programs run.
    """

    uniform: bool
    wide: bool
    a: int
    b: int
    loops: int
    groups: int
    rows: int


def _up(n: int) -> int:
    """The next power of two."""
    return 1 << (n - 1).bit_length()


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _row_tile(n: int, s: int, elements: int) -> tuple[int, int]:
    """(A, B), as wide as possible while at most an eighth more elements are walked over than need be."""
    found = []
    b = min(_up(s), elements)
    while b >= min(ROW, _up(s)):
        a = min(elements // b, _up(n))
        found.append((_ceil(n, a) * a * _ceil(s, b) * b, (a, b)))
        b //= 2
    least = min(cost for cost, _ in found)
    return next(shape for cost, shape in found if 8 * cost <= 9 * least)


@lru_cache(maxsize=1024)
def plan(n: int, c: int, s: int, elements: int, sums: bool, blocks: int = 1) -> Plan:
    """For tiles of ``elements``, a power of two, and as many programs ``blocks`` times."""
    uniform, wide = s >= ROW or c == 1, n * c * s >= 1 << 30
    if uniform:
        a, b = _row_tile(n, s, elements)
        groups, tiles = c, _ceil(n, a) * _ceil(s, b)
    else:
        a = min(_up(n), max(elements // min(_up(c * s), COLUMNS), 1))
        b = min(_up(c * s), elements // a)
        groups, tiles = _ceil(c * s, b), _ceil(n, a)
    loops = max(1, min(MOST, groups * tiles * blocks // PROGRAMS, tiles)) if sums else 1
    return Plan(uniform, wide, a, b, loops, groups, _ceil(tiles, loops))


def rows_of(x: Tensor, layout: Layout, terms: int, blocks: int = 1) -> Plan:
    """The plan for a pass over ``x`` that collects ``terms`` sums: a lane holds as many elements as one load brings, or fewer."""
    wide_load = 4 if x.dtype == torch.float32 else 8
    lanes = 8 if terms == 0 else wide_load if terms <= 6 else 4 if terms <= 20 else 2
    return plan(layout.n, layout.c, layout.s, lanes * THREADS, terms > 0, blocks)


def launch(kernel: Any, x: Tensor, layout: Layout, walk: Plan, *arguments: Any, blocks: int = 1, **constants: Any) -> None:
    """Run ``kernel`` on the device of ``x``, ``blocks`` times over everything."""
    options = {"UNIFORM": walk.uniform, "WIDE": walk.wide, "A": walk.a, "B": walk.b, "num_warps": WARPS}
    grid = kernel[(walk.groups * walk.rows, blocks)]
    if x.is_cuda and x.device.index != torch.cuda.current_device():
        with torch.cuda.device(x.device):
            grid(*arguments, layout.n, layout.c, layout.s, walk.loops, **constants, **options)
    else:
        grid(*arguments, layout.n, layout.c, layout.s, walk.loops, **constants, **options)


def partial_sums(x: Tensor, layout: Layout, walk: Plan, terms: int) -> Tensor:
    """Room for what every program writes: (rows, terms, c or c·s), the terms of all blocks one after the other."""
    return torch.empty(walk.rows, terms, layout.c if walk.uniform else layout.c * layout.s, dtype=torch.float32, device=x.device)


def gathered(partial: Tensor, layout: Layout, split: Sequence[int]) -> tuple[Tensor, ...]:
    """The sums over all elements of each channel, in float64: a (c, terms) for every number of terms in ``split``."""
    sums = partial.sum(0, dtype=torch.float64)
    if sums.shape[1] != layout.c:
        sums = sums.reshape(len(sums), layout.c, layout.s).sum(2)
    return tuple(part.T.contiguous() for part in sums.split(list(split)))
