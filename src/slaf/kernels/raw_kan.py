"""The kernels of dense layers of splines on tensors, as :mod:`.raw` has the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .dispatch import threads
from .native import entries

if TYPE_CHECKING:
    from .kan import Splines

__all__ = ["kan_backward", "kan_forward"]


def kan_forward(x: Tensor, weight: Tensor, bias: Tensor | None, splines: Splines, center: Tensor, scale: Tensor) -> Tensor:
    """(batch, inputs) → (batch, outputs), see ``slaf.kernels.kan``."""
    sizes = (*x.shape, weight.shape[2])
    y = x.new_empty(sizes[0], sizes[2])
    entries.kan_forward(x, y, *sizes, *_numbers(splines), weight, bias, center, scale, splines.pieces, threads(4 * x.numel()))
    return y


def kan_backward(
    x: Tensor, weight: Tensor, g: Tensor, splines: Splines, center: Tensor, scale: Tensor, input_gradient: bool
) -> tuple[Tensor | None, Tensor]:
    """The gradients of x and weight."""
    gx, gweight = torch.empty_like(x) if input_gradient else None, torch.empty_like(weight)
    entries.kan_backward(
        x, g, gx, gweight, *x.shape, weight.shape[2], *_numbers(splines), weight, center, scale, splines.pieces, threads(4 * x.numel()),
    )  # fmt: skip
    return gx, gweight


def _numbers(splines: Splines) -> tuple[int, int, int, int]:
    return splines.degree, splines.cells, splines.left_out, int(splines.base)
