"""The kernels of folded forms on tensors, as :mod:`.raw` has the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .dispatch import DTYPES, Layout, threads
from .native import entries

if TYPE_CHECKING:
    from .folded import Forms

__all__ = ["folded"]


def folded(x: Tensor, g: Tensor | None, layout: Layout, forms: Forms, number: Tensor) -> Tensor:
    """The values at ``x``; from the gradient ``g`` of y that of x. ``number`` (c, 1), float32: which form a channel has."""
    out = torch.empty_like(x)
    entries.folded(
        x, g, out, DTYPES[x.dtype], layout.n, layout.c, layout.s, forms.kind, forms.degree, *forms.search, *forms.rows.shape, forms.rows,
        number, threads(x.numel()),
    )  # fmt: skip
    return out
