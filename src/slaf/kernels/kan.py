"""Dense layers of B-splines by the kernels: every input reads and writes the few rows of coefficients that are not multiplied by 0.

y_o = b_o + Σ_i [Σ_k c_kio φ_k(u_i) + w_io silu(x_i)], u = (x - center)·scale + cells/2 counted in cells. Only x is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import raw_kan
from .dispatch import place, readable
from .fused import by_definition
from .tables import readable as dense_table

__all__ = ["MAX_DEGREE", "Splines", "spline_layer"]

MAX_DEGREE = 3

Definition = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Splines:
    """All uniform B-splines of a degree on a number of cells but one, and whether SiLU comes after them.

    Attributes:
        left_out: the number of the spline that has no coefficients.
        pieces: row r, the r-th of the splines that are not 0 on a cell, in powers of the place in it: (degree + 1, degree + 1), float32.
    """

    degree: int
    cells: int
    left_out: int
    base: bool
    pieces: Tensor


def spline_layer(
    x: Tensor, weight: Tensor, bias: Tensor | None, splines: Splines, center: Tensor, scale: Tensor, definition: Definition
) -> Tensor | None:
    """y for x of (batch, inputs) and weight of (terms, inputs, outputs), any number of times differentiable; ``None``: the definition must.

    Args:
        center, scale: (inputs,).
        definition: (x, weight, bias) → y in plain torch, for what the kernels do not do.
    """
    if torch.compiler.is_compiling() or x.dtype is not torch.float32 or place(x) is None or torch.is_autocast_enabled("cpu"):
        return None
    if not (readable(weight) and readable(bias)):
        return None
    layer = _Layer(splines, dense_table(center.float()), dense_table(scale.float()), definition)
    x = x.contiguous()
    return layer.forward(x, weight, bias) if not torch.is_grad_enabled() else _Fused.apply(layer, x, weight, bias)


@dataclass(frozen=True)
class _Layer:
    splines: Splines
    center: Tensor
    scale: Tensor
    defined: Definition

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return raw_kan.kan_forward(x, weight, bias, self.splines, self.center, self.scale)

    def gradients(self, x: Tensor, weight: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, Tensor]:
        return raw_kan.kan_backward(x, weight, g, self.splines, self.center, self.scale, need_x)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layer: _Layer, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x, weight, bias)
        return layer.forward(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight, bias = ctx.saved_tensors
        need = ctx.needs_input_grad[1:]
        plain = g.dtype is torch.float32 and type(g) is Tensor and place(x) is not None and readable(weight) and x.is_contiguous()
        if plain and not torch.is_grad_enabled() and place(g := g.contiguous()) is not None:
            gx, gweight = ctx.layer.gradients(x, weight, g, need[0])
            return None, gx, gweight, g.sum(0) if need[2] else None
        return None, *by_definition(ctx.layer, (x, weight, bias), need, g)
