"""One autograd function for everything that a kernel computes in one pass forward and one or two backward, keeping x alone."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from .dispatch import place, running
from .tables import gradient_like

__all__ = ["Kernel", "by_definition", "run"]


class Kernel(Protocol):
    """A computation whose arguments have passed the dispatcher."""

    def forward(self, x: Tensor) -> Tensor:
        """y, in the dtype and memory format of ``x``."""

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        """Of x and of every parameter, from the gradient ``g`` of y in the memory format of ``x``."""

    def defined(self, x: Tensor, *parameters: Tensor) -> Tensor:
        """y in plain torch."""


def run(kernel: Kernel, x: Tensor, *parameters: Tensor | None) -> Tensor:
    """y, differentiable any number of times in x and the parameters."""
    if not torch.is_grad_enabled():
        return kernel.forward(x)
    return _apply(kernel, x, *parameters)


# It takes ctx in forward: with setup_context torch inspects the signature at every call, which costs more than a small kernel, and
# functorch, which needs that, gets the definition.
class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: Kernel, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.kernel, ctx.address, ctx.memory = kernel, x.data_ptr(), (x.shape, x.stride())
        ctx.save_for_backward(x, *parameters)
        return kernel.forward(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        saved = ctx.saved_tensors
        x, need = saved[0], ctx.needs_input_grad
        # hooks on saved tensors may have changed it; at the same address it is what forward has seen
        if not torch.is_grad_enabled() and ctx.memory == (x.shape, x.stride()) and _takes(x, ctx.address, g):
            like = gradient_like(g, x)
            if like is not None:
                return None, *ctx.kernel.gradients(x, like, need[1])
        return None, *by_definition(ctx.kernel, saved, need[1:], g)


def _takes(x: Tensor, address: int, g: Tensor) -> bool:
    """Whether the kernels take an input that lay at ``address`` still."""
    return (x.data_ptr() == address and running()) or (x.device == g.device and place(x) is not None)


# Function.apply without its tests for setup_context and for functorch, where nothing gets here: half of its time
_apply = super(torch.autograd.Function, _Fused).apply


def by_definition(kernel: Any, inputs: tuple[Tensor, ...], need: tuple[bool, ...], g: Tensor) -> list[Tensor | None]:
    """The gradients of the definition, differentiable again under ``create_graph=True``."""
    again = torch.is_grad_enabled()
    if not again:
        inputs = tuple(t if t is None else t.detach().requires_grad_(n) for t, n in zip(inputs, need, strict=True))
    with torch.enable_grad():
        y = kernel.defined(*inputs)
        wanted = [t for t, n in zip(inputs, need, strict=True) if n]
        found = iter(torch.autograd.grad(y, wanted, g, create_graph=again, allow_unused=True))
    return [next(found) if n else None for n in need]
