"""Folded forms by the kernels: pieces, polynomials and int8 tables with their ends, value and gradient each in one pass; only x is kept.

Their numbers are fixed, so what the kernels read is made of them once. Pieces are found exactly as by comparing x with every break: by a
tree of up to 128 that is held in registers, or by a uniform grid of buckets and a search among the breaks in one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.compiler import is_compiling

from . import raw_folded
from .dispatch import Layout, dense, on_gpu, place
from .fused import run
from .recurrence import Recurrence
from .tables import rows_table

__all__ = ["Derived", "Ends", "Forms", "coded", "folded", "on_pieces", "on_series"]

PIECES, SERIES, CODES = range(3)
MAX_DEGREE, MAX_PIECES, MAX_BUCKETS = 24, 1 << 15, 1 << 12
IN_TREE = (16, 32, 64, 128)
"""Slots of tables with a tree of breaks."""
HEAD = 8


class Forms(NamedTuple):
    """Forms as the kernels read them.

    Attributes:
        search: slots of a table, buckets, steps of a search in a bucket.
        rows: (count, size), float32, see ``native/folded.hpp``.
        number: (sites, 1), float32: which one a site has; (1, 1) for one that all have.
    """

    kind: int
    degree: int
    search: tuple[int, int, int]
    rows: Tensor
    number: Tensor


class Ends(NamedTuple):
    """The interval, infinite where the formula goes on, and the slopes of the lines beyond: (count, 2)."""

    low: float
    high: float
    slopes: Tensor


class Derived:
    """What was made of tensors, as long as they are the same ones and nobody has written to them.

    A write through ``tensor.data`` or NumPy is not seen: torch does not count it. A copy makes its own.
    """

    def __init__(self) -> None:
        self._kept: tuple[list[Any], Forms | None] = [], None

    def __call__(self, tensors: Sequence[Tensor], make: Callable[[], Forms | None]) -> Forms | None:
        """``make()``, or what it gave last time."""
        state, forms = self._kept
        now = [part for t in tensors for part in (id(t), t.data_ptr(), None if t.is_inference() else t._version)]
        if not state or now != state[1:]:
            with torch.no_grad():
                forms = make() if all(map(_readable, tensors)) else None
            if None not in now:  # an inference tensor has no count of its changes
                self._kept = [tensors, *now], forms  # which keeps the tensors, so that no other has the same id
        return forms

    def __reduce__(self) -> Any:
        return Derived, ()


def _readable(t: Tensor) -> bool:
    return type(t) is Tensor and t.is_cpu and not t.requires_grad


def folded(
    x: Tensor,
    forms: Callable[[], Forms | None],
    shape: tuple[int, ...],
    definition: Callable[[Tensor], Tensor],
) -> Tensor | None:
    """The forms at ``x``, in its dtype; ``None`` where the definition must run.

    Args:
        shape: in which one entry per site broadcasts against x; of ones where all have the same form.
        definition: x → y in plain torch, for what the kernels do not do.
    """
    if is_compiling() or on_gpu(x):
        return None
    x = dense(x)
    layout = place(x, shape)
    made = None if layout is None else forms()
    if layout is None or made is None:
        return None
    return run(_Folded(made, shape, layout, definition), x)


class _Folded:
    def __init__(self, forms: Forms, shape: tuple[int, ...], layout: Layout, definition: Callable[[Tensor], Tensor]) -> None:
        self.forms, self.layout, self.definition = forms, layout, definition
        self.number = rows_table(forms.number, shape, layout)

    def forward(self, x: Tensor) -> Tensor:
        return raw_folded.folded(x, None, self.layout, self.forms, self.number)

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:  # noqa: ARG002
        return (raw_folded.folded(x, g, self.layout, self.forms, self.number),)

    def defined(self, x: Tensor, *parameters: Tensor) -> Tensor:  # noqa: ARG002
        return self.definition(x)


# -- what the kernels read ---------------------------------------------------------------------------------------------------------------


def _forms(
    kind: int, degree: int, search: tuple[int, int, int], ends: Ends, two: tuple[Any, Any], parts: Sequence[Tensor], index: Tensor | None
) -> Forms:
    """``two``: what the head has beside the ends; ``parts``: (count, …) each."""
    count = len(ends.slopes)
    head = torch.zeros(count, HEAD)
    head[:, 0], head[:, 1], head[:, 2:4], head[:, 4], head[:, 5] = ends.low, ends.high, ends.slopes, *two
    rows = torch.cat([head, *(p.to(torch.float32).reshape(count, -1) for p in parts)], 1)
    own = torch.zeros(1, 1) if index is None else index.to(torch.float32)[:, None]
    return Forms(kind, degree, search, rows, own)


def on_pieces(ends: Ends, breaks: Tensor, center: Tensor, coefficients: Tensor, index: Tensor | None = None) -> Forms | None:
    """Σ_k c_k (x - center)^k on the piece of x; ``None`` where these are no pieces.

    Args:
        breaks: (count, pieces + 1), sorted. Where the last ones inside are infinite, the pieces after them are all the same.
        center, coefficients: (count, pieces) and (degree + 1, count, pieces).
        index: (sites,), or ``None`` for one form.
    """
    breaks, center, c = (t.to(torch.float32) for t in (breaks, center, coefficients))
    degree, pieces = len(c) - 1, center.shape[1]
    inner, same = breaks[:, 1:-1], (c.diff(dim=2) == 0).all(0) & (center.diff() == 0)
    fine = (inner[:, 1:] >= inner[:, :-1]).all() & (inner > -torch.inf).all() & ((inner < torch.inf) | same).all()
    if not (1 <= degree <= MAX_DEGREE and 1 <= pieces <= MAX_PIECES and bool(fine)):
        return None
    slots = next((n for n in IN_TREE if pieces <= n), pieces)
    (buckets, steps), found, grid = _buckets(breaks, slots)
    if slots in IN_TREE:
        found = [_tree(inner, slots), *found]
    tables = torch.cat([center[None], c, c[1:] * torch.arange(1.0, degree + 1)[:, None, None]])
    tables = torch.cat([tables, tables[:, :, -1:].expand(-1, -1, slots - pieces)], 2)
    return _forms(PIECES, degree, (slots, buckets, steps), ends, grid, [*found, tables.transpose(0, 1)], index)


def _tree(inner: Tensor, slots: int) -> Tensor:
    """Breaks as a binary tree in ``slots`` places: the root at 1, the children of k at 2k and 2k + 1."""
    level = [(1 << n, slots >> n) for n in range(slots.bit_length() - 1)]
    order = torch.tensor([0, *((2 * j + 1) * (step // 2) - 1 for many, step in level for j in range(many))])
    return torch.nn.functional.pad(inner, (0, slots - 1 - inner.shape[1]), value=torch.inf)[:, order]


def _buckets(breaks: Tensor, slots: int) -> tuple[tuple[int, int], list[Tensor], tuple[Tensor, Tensor]]:
    """A grid on which few breaks share a bucket: buckets and steps of the search; its tables; the grid's start and buckets a unit."""
    inner, count = breaks[:, 1:-1], 64
    best: Any = None
    while best is None or (best[0][1] > 1 and count <= min(8 * slots, MAX_BUCKETS)):
        start, step = breaks[:, :1], count / (breaks[:, -1:] - breaks[:, :1])
        step = torch.where(step.isfinite(), step, 0.0)
        # as the kernel finds that of x, operation by operation
        at = (inner - start) * step
        bucket = torch.where(at < count - 1, at, count - 1.0).clamp(min=0).long()
        held = torch.zeros(len(inner), count, dtype=torch.int32).scatter_add_(1, bucket, inner.isfinite().int())
        steps = int(held.max()).bit_length()
        if best is None or steps < best[0][1]:
            first = (held.cumsum(1, dtype=torch.int32) - held).view(torch.float32)  # whole numbers in the place of floats
            best = (count, steps), first, (start[:, 0], step[:, 0])
        count *= 2
    search, first, grid = best
    ordered = torch.nn.functional.pad(inner, (0, slots + (1 << search[1]) - inner.shape[1]), value=torch.inf)
    return search, [first, ordered], grid


def on_series(
    ends: Ends, coefficients: Tensor, center: float, rscale: float, recurrence: Recurrence, index: Tensor | None = None
) -> Forms | None:
    """Σ_k c_k T_k((x - center)·rscale) with c (count, degree + 1); ``None`` for a constant."""
    degree = coefficients.shape[1] - 1
    if not 1 <= degree <= MAX_DEGREE:
        return None
    matrix = torch.from_numpy(recurrence.derivative(degree))[:, :degree]
    slope = coefficients.double() @ matrix * rscale
    return _forms(SERIES, degree, (0, 0, 0), ends, (center, rscale), [coefficients, slope], index)


def coded(ends: Ends, values: Tensor, scale: float, zero: int, index: Tensor | None = None) -> Forms:
    """values (count, 256) of the codes clamp(round(x / scale) + zero, -128, 127)."""
    return _forms(CODES, 0, (0, 0, 0), ends, (float(zero), scale), [values], index)
