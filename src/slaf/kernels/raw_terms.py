"""The kernels of terms that are standardised by a batch, as :mod:`.raw`."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .dispatch import threads
from .native import entries
from .raw import _head, _position

if TYPE_CHECKING:
    from .terms import Call

__all__ = ["normalise", "normalised_backward"]


def normalise(x: Tensor, of: Call, weight: Tensor, bias: Tensor, about: Tensor | None) -> tuple[Tensor, Tensor, Tensor] | None:
    """Counts a batch; y, the table of its series and what backward needs. ``None``, and nothing counted: digits would be lost.

    ``about`` (sites, 2): mean and standard deviation to take the moments by, in place of the running ones.
    """
    (rows, degree), layout, kept, inputs, y = weight.shape, of.layout, of.terms, of.inputs, torch.empty_like(x)
    table = weight.new_empty(layout.c * (degree + 3))
    state = torch.empty(layout.c * (3 * degree + 6), dtype=torch.float64, device="cpu")
    mapped = (None, None, None, 0.0, False)
    if inputs is not None:
        mapped = inputs.mean, inputs.var, inputs.batches, inputs.eps, inputs.renorm  # type: ignore[assignment]
    done = entries.normalise(
        x, y, *_head(x, layout), of.family, degree, rows, of.factor, _position(layout), weight, bias, kept.mean, kept.var, kept.batches,
        nan if kept.eps is None else kept.eps, *mapped, of.unit, kept.momentum, kept.warm_up, about, table, state, threads(x.numel()),
    )  # fmt: skip
    return (y, table, state) if done else None


def normalised_backward(
    x: Tensor, g: Tensor, of: Call, weight: Tensor, bias: Tensor, table: Tensor, state: Tensor, input_gradient: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """The gradients of x, weight and bias, through the statistics of the batch."""
    gx = torch.empty_like(x) if input_gradient else None
    (rows, degree), gweight, gbias, eps = weight.shape, torch.empty_like(weight), torch.empty_like(bias), of.terms.eps
    entries.normalised_backward(
        x, g, gx, *_head(x, of.layout), of.family, degree, rows, of.factor, _position(of.layout), gweight, gbias,
        nan if eps is None else eps, of.inputs is not None, table, state, threads(x.numel()),
    )  # fmt: skip
    return gx, gweight, gbias
