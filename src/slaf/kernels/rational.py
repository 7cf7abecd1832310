"""P(x)/Q(x) by the kernels: value, and all gradients in one pass; only x is kept."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from . import raw
from .dispatch import Layout, place
from .fused import run

__all__ = ["FORMS", "rational"]

FORMS = {"even": 0, "per_term": 1, "joint": 2, "square": 3}
MAX_DEGREE = 10


def rational(
    x: Tensor, numerator: Tensor, denominator: Tensor | None, form: str, degree: int, definition: Callable[..., Tensor]
) -> Tensor | None:
    """P/Q at ``x`` in its dtype; ``None`` where the definition must run.

    Args:
        numerator: (m + 1, …), each row broadcasting against x.
        denominator: (K, …) likewise, or ``None`` for Q = 1.
        form: one of :data:`FORMS`, as in :class:`slaf.learnable.Rational`.
        degree: of Q.
        definition: (x, numerator, denominator) → y in plain torch, for what the kernels do not do.
    """
    if not 1 <= len(numerator) - 1 <= MAX_DEGREE or degree > MAX_DEGREE:
        return None
    layout = place(x, numerator.shape[1:], *() if denominator is None else (denominator.shape[1:],))
    if layout is None:
        return None
    return run(_Rational(numerator, denominator, FORMS[form], degree, definition, layout), x, numerator, denominator)


class _Rational:
    def __init__(
        self, numerator: Tensor, denominator: Tensor | None, form: int, degree: int, definition: Callable[..., Tensor], layout: Layout
    ) -> None:
        self.form, self.degree, self.defined, self.layout = form, 0 if denominator is None else degree, definition, layout
        self.given = (numerator.shape[1:], numerator.dtype), None if denominator is None else (denominator.shape[1:], denominator.dtype)
        with torch.no_grad():
            self.tables = raw.table(numerator, layout), None if denominator is None else raw.table(denominator, layout)

    def forward(self, x: Tensor) -> Tensor:
        return raw.rational_forward(x, self.layout, self.form, self.degree, *self.tables)

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        gx, *sums = raw.rational_backward(x, g, self.layout, self.form, self.degree, *self.tables, input_gradient=need_x)
        back = (
            None if s is None or to is None else raw.spread(s, to[0], self.layout).to(to[1]) for s, to in zip(sums, self.given, strict=True)
        )
        return gx, *back
