"""P(x)/Q(x) by the kernels: value, and all gradients in one pass; only x is kept."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from . import raw
from .dispatch import Layout, place, readable
from .fused import run

__all__ = ["FORMS", "rational"]

FORMS = {"even": 0, "per_term": 1, "joint": 2, "square": 3}
MAX_DEGREE = 10


def rational(
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor | None,
    form: str,
    degree: int,
    shape: tuple[int, ...],
    definition: Callable[..., Tensor],
) -> Tensor | None:
    """P/Q at ``x`` in its dtype; ``None`` where the definition must run.

    Args:
        numerator: (rows, m + 1); each row serves sites / rows sites in a run.
        denominator: (rows, K) likewise, or ``None`` for Q = 1.
        form: one of :data:`FORMS`, as in :class:`slaf.learnable.Rational`.
        degree: of Q.
        shape: in which one entry per site broadcasts against x.
        definition: (x, numerator, denominator) → y in plain torch, for what the kernels do not do.
    """
    if not 1 <= numerator.shape[1] - 1 <= MAX_DEGREE or degree > MAX_DEGREE:
        return None
    num, den = (t if t is None or t.dtype is torch.float32 else t.float() for t in (numerator, denominator))
    assert num is not None
    one = num.shape[0] == 1 and (den is None or den.shape[0] == 1)
    layout = place(x, (1,) * x.dim() if one else shape)
    if layout is None or not (readable(num) and readable(den)):
        return None
    return run(_Rational(num, den, FORMS[form], degree, definition, layout), x, num, den)


class _Rational:
    __slots__ = ("defined", "den", "head", "num", "table")

    def __init__(self, num: Tensor, den: Tensor | None, form: int, degree: int, definition: Callable[..., Tensor], layout: Layout) -> None:
        self.num, self.den, self.defined = num, den, definition
        self.head = layout, form, 0 if den is None else degree

    def forward(self, x: Tensor) -> Tensor:
        y, self.table = raw.sites_rational_forward(x, *self.head, self.num, self.den)
        return y

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        return raw.sites_rational_backward(x, g, *self.head, self.num, self.den, self.table, need_x)
