"""PolyNorm by the kernels of a GPU: Σ_i a_i x^i/√(mean x^2i + eps) + a_0 over the last dimension; only x is kept.

A polynomial whose coefficients depend on the moments of its own input, as in :mod:`.normalized`, with two differences since nothing may
wait for the device: the small matrices stay there, and x is divided by max(1, |x|), in place of looking whether a power overflows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from . import raw
from .dispatch import Layout, on_gpu
from .fused import run
from .recurrence import Recurrence
from .series import native_place

__all__ = ["power_norm"]

_POWER, _FAMILY = Recurrence((1.0,), (0.0,)), 0


def power_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, definition: Callable[..., Tensor]) -> Tensor | None:
    """y for x (tokens, hidden), a_1 … in ``weight`` and a_0, (1,), in ``bias``; ``None`` where the definition must run, as on the CPU.

    Args:
        definition: (x, weight, bias) → y in plain torch, for what the kernels do not do.
    """
    if torch.compiler.is_compiling() or not on_gpu(x):
        return None
    found = native_place(x, len(weight), _POWER, (len(x), 1))
    return None if found is None else run(_PowerNorm(found[0], weight, bias, eps, definition), x, weight, bias)


class _PowerNorm:
    def __init__(self, layout: Layout, weight: Tensor, bias: Tensor, eps: float, definition: Callable[..., Tensor]) -> None:
        self.layout, self.eps, self.defined, self.dtypes = layout, eps, definition, (weight.dtype, bias.dtype)
        self.weight, self.bias = (p.detach().double() for p in (weight, bias))

    def forward(self, x: Tensor) -> Tensor:
        order = len(self.weight)
        size = torch.linalg.vector_norm(x, torch.inf, 1, keepdim=True).float().clamp(min=1)
        self.rscale = size.reciprocal()
        t = raw.moments(x, self.layout, _FAMILY, 2 * order, None, self.rscale)
        shrunk = self.rscale.double().square() ** torch.arange(1, order + 1, device=x.device)
        self.rms = (t[:, 1::2] + self.eps * shrunk).rsqrt()
        self.coef = torch.cat([self.bias.expand(len(x), 1), self.weight * self.rms], 1).float()
        return raw.series_forward(x, self.layout, _FAMILY, self.coef, None, self.rscale)

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        head = self.layout, _FAMILY, self.coef
        _, sums, _ = raw.series_backward(x, g, *head, None, self.rscale, False)
        assert sums is not None
        gx = None
        if need_x:  # by way of the moments u^2i has the slope 2i u^(2i - 1)
            twice = torch.arange(2, 2 * len(self.weight) + 1, 2, device=x.device)
            by_moment = -0.5 * self.rms**3 * self.weight * sums[:, 1:]
            q = torch.zeros(len(x), 2 * len(self.weight), device=x.device)
            q[:, 1::2] = by_moment * twice * self.rscale / x.shape[1]
            gx = raw.series_input(x, g, *head, q, None, self.rscale)
        weight, bias = self.dtypes
        return gx, (sums[:, 1:] * self.rms).sum(0).to(weight), sums[:, :1].sum(0).to(bias)
