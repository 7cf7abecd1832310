"""The kernels of layers that normalise and activate, as :mod:`.raw`: ``place`` is n, c, s and whether memory is (n, s, c)."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import DTYPES, threads
from .native import entries
from .raw import by_device

__all__ = [
    "gate_norm_backward",
    "gate_norm_forward",
    "quotient_norm",
    "sample_spreads",
]


@by_device
def gate_norm_forward(
    x: Tensor, place: tuple[int, int, int, bool], groups: int, raw: bool, eps: float, theta: tuple[Tensor | None, ...]
) -> tuple[Tensor, Tensor]:
    """γ·x·σ(v x)/√(s² + eps) + β with θ = (γ, v, β), each (c,) or ``None``; and mean and 1/√(s² + eps), (n, groups, 2)."""
    y, stats = torch.empty_like(x), x.new_empty(place[0], groups, 2, dtype=torch.float64)
    entries.gate_norm_forward(x, y, DTYPES[x.dtype], *place, groups, raw, eps, *theta, stats, threads(x.numel()))
    return y, stats


@by_device
def gate_norm_backward(
    x: Tensor,
    g: Tensor,
    place: tuple[int, int, int, bool],
    groups: int,
    raw: bool,
    theta: tuple[Tensor | None, ...],
    stats: Tensor,
    input_gradient: bool = True,
) -> tuple[Tensor | None, Tensor]:
    """The gradient of x; and Σ g, Σ g h, Σ g ∂h/∂v with h = x·σ(v x), (n, c, 3)."""
    gx = torch.empty_like(x) if input_gradient else None
    sums = x.new_empty(place[0], place[1], 3, dtype=torch.float64)
    entries.gate_norm_backward(x, g, gx, DTYPES[x.dtype], *place, groups, raw, *theta[:2], stats, sums, threads(x.numel()))
    return gx, sums


@by_device
def sample_spreads(x: Tensor, place: tuple[int, int, int, bool]) -> Tensor:
    """Mean and Σ (x - mean)² of every channel of every sample: (n, c, 2)."""
    out = x.new_empty(place[0], place[1], 2, dtype=torch.float64)
    entries.sample_spreads(x, DTYPES[x.dtype], *place, out, threads(x.numel()))
    return out


@by_device
def quotient_norm(x: Tensor, step: int, g: Tensor | None, place: tuple[int, int, int, bool], rows: Tensor) -> Tensor:
    """Of a·x/max(l, p·(x - c) + q) + b, with parameters of every row: 0 the values, 1 the sums (n, c, 5), 2 the gradient of x."""
    out = x.new_empty(place[0], place[1], 5, dtype=torch.float64) if step == 1 else torch.empty_like(x)
    entries.quotient_norm(
        step, x, g, None if step == 1 else out, DTYPES[x.dtype], *place, rows, out if step == 1 else None, threads(x.numel()),
    )  # fmt: skip
    return out
