"""The kernels of terms that are standardised by a batch, as :mod:`.raw`."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .dispatch import threads
from .raw import _head, _position, call, pointer

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
        mapped = inputs.mean.data_ptr(), inputs.var.data_ptr(), inputs.batches.data_ptr(), inputs.eps, inputs.renorm  # type: ignore[assignment]
    done = call(
        "normalise",
        x.data_ptr(), y.data_ptr(), *_head(x, layout), of.family, degree, rows, of.factor, _position(layout), weight.data_ptr(),
        bias.data_ptr(), kept.mean.data_ptr(), kept.var.data_ptr(), kept.batches.data_ptr(), nan if kept.eps is None else kept.eps,
        *mapped, of.unit, kept.momentum, kept.warm_up, pointer(about), table.data_ptr(), state.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return (y, table, state) if done else None


def normalised_backward(
    x: Tensor, g: Tensor, of: Call, weight: Tensor, bias: Tensor, table: Tensor, state: Tensor, input_gradient: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """The gradients of x, weight and bias, through the statistics of the batch."""
    gx = torch.empty_like(x) if input_gradient else None
    (rows, degree), gweight, gbias, eps = weight.shape, torch.empty_like(weight), torch.empty_like(bias), of.terms.eps
    call(
        "normalised_backward",
        x.data_ptr(), g.data_ptr(), pointer(gx), *_head(x, of.layout), of.family, degree, rows, of.factor, _position(of.layout),
        gweight.data_ptr(), gbias.data_ptr(), nan if eps is None else eps, of.inputs is not None, table.data_ptr(), state.data_ptr(),
        threads(x.numel()),
    )  # fmt: skip
    return gx, gweight, gbias
