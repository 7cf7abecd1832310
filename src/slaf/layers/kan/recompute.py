"""A product of expanded inputs that keeps the input alone: backward expands it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from slaf.kernels.dispatch import transformed, wrapped

__all__ = ["expanded_product"]

Expand = Callable[[Tensor], Tensor]


def expanded_product(expand: Expand, x: Tensor, weight: Tensor) -> Tensor:
    """expand(x) @ weight for x of (batch, inputs) and expand(x) of (batch, columns), any number of times differentiable.

    ``expand`` has no parameters. Inside functional transforms, compilers and tracers, and under autocast, it is just that.
    """
    plain = torch.is_grad_enabled() and not transformed() and type(x) is Tensor and not wrapped(x)
    if not plain or torch.is_autocast_enabled(x.device.type):
        return expand(x) @ weight
    return _Product.apply(expand, x, weight)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, expand: Expand, x: Tensor, weight: Tensor) -> Tensor:
        ctx.expand = expand
        ctx.save_for_backward(x, weight)
        return expand(x) @ weight

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        _, need_x, need_weight = ctx.needs_input_grad
        again = torch.is_grad_enabled()
        if not again:
            x = x.detach().requires_grad_(need_x)
        with torch.enable_grad():
            columns = ctx.expand(x)
        gx = torch.autograd.grad(columns, x, g @ weight.mT, create_graph=again)[0] if need_x else None
        return None, gx, (columns if again else columns.detach()).mT @ g if need_weight else None
