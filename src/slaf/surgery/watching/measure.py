"""What a call was given: statistics of all elements, a sample for slopes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.utils._python_dispatch import _disable_current_modes

from slaf.surgery.sketch import Sketch

__all__ = ["Measure", "measured", "slopes_at"]

SAMPLE = 65_536
"""Elements of one call at which slopes are looked at."""


@dataclass(eq=False)
class Measure:
    """What a call was given."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    channel_dim: int
    num_channels: int
    sketch: Sketch
    sample: Tensor
    """(n, channels)"""


def measured(x: Tensor, dim: int) -> Measure:
    """Look at the input ``x`` of a call, whose channels are dimension ``dim``."""
    shape = x.shape
    x = _values(x)
    with temporarily_clear_interpreter_stack(), _disable_current_modes():
        x = x.detach()
        if x.shape != shape:
            dim = max(0, min(dim, x.dim() - 1))
        sketch = Sketch(channel_dim=dim if x.dim() else None)
        sketch.update(x)
        return Measure(tuple(x.shape), x.dtype, dim, x.shape[dim] if x.dim() else 1, sketch, _sample(x, dim))


def _values(x: Tensor) -> Tensor:
    """Plain, dense values: what a transform of ``torch.func`` wraps, what a sparse or nested tensor holds."""
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    if x.is_nested:
        return x.values()
    return x.coalesce().values() if x.layout == torch.sparse_coo else x.values() if x.layout != torch.strided else x


def _sample(x: Tensor, dim: int) -> Tensor:
    """At most ``SAMPLE`` elements of ``x``, evenly over every channel, (n, channels)."""
    if x.dim() == 0:
        return x.reshape(1, 1).clone()
    channels = max(1, x.shape[dim])
    rows = max(1, x.numel() // channels)
    count = max(1, min(rows, SAMPLE // channels))
    at = torch.linspace(0, rows - 1, count, dtype=torch.float64).long()
    outer = [n for i, n in enumerate(x.shape) if i != dim]
    moved = x.movedim(dim, -1)
    picked = moved[tuple(i.to(x.device) for i in torch.unravel_index(at, outer))] if outer else moved[None]
    return picked.clone() if picked.shape[-1] <= SAMPLE else picked[:, :: math.ceil(picked.shape[-1] / SAMPLE)].clone()


def slopes_at(target: Callable[[Tensor], Tensor], sample: Tensor) -> Tensor | None:
    """f′ at (n, channels); ``None`` if the target does not take that shape, or its derivative is not known."""
    finite = sample[torch.isfinite(sample).all(1)]
    if not len(finite):
        return None
    with torch.enable_grad(), _disable_current_modes():
        x = finite.detach().float().to(finite.dtype).requires_grad_()
        try:
            y = target(x)
            if y.shape != x.shape:
                return None
            if not y.requires_grad:
                return torch.zeros_like(x)
            return torch.autograd.grad(y.sum(), x, materialize_grads=True)[0].detach()
        except (RuntimeError, TypeError, ValueError, IndexError):
            return None
