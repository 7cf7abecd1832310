"""The input map by statistics, and its majorant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from entry import spread
from torch import Tensor


def trains(act: Any, x: Tensor) -> bool:
    """Whether the statistics are the batch's: with one value a channel the running ones are used."""
    return act.training and act.normalizes and x.numel() // act.sharing.num_channels > 1


def reaches_channel(act: Any, bad: Tensor) -> Tensor:
    """Where one NaN makes the statistics of its channel NaN."""
    if not trains(act, bad):
        return bad
    return bad.any(tuple(d for d in range(bad.dim()) if d != act.sharing.channel_dim), keepdim=True).expand(bad.shape)


def beside(act: Any, dims: int) -> Callable[[Tensor], Tensor]:
    """(channels,) as it broadcasts against x, in float64."""
    return lambda t: spread(t.double(), act, dims)[0]


def size_of(t: Tensor, minus: float) -> Tensor:
    return t if minus < 0 else t.abs()


def standardised(
    kept: Any, x: Tensor, at: Tensor, dims: list[int], channel: Callable[[Tensor], Tensor], training: bool, minus: float
) -> tuple[Tensor, Tensor, Tensor]:
    """u, u of ``at``, and by what an error of the center counts more than one of u."""
    mean, std = channel(kept.mean), (channel(kept.var) + kept.eps).sqrt()
    if not training:
        size = size_of(mean, minus)
        return (x + minus * size) / std, (at - mean) / std, 1 + (minus > 0) * size / std
    m, var = at.mean(dims, keepdim=True), at.var(dims, correction=0, keepdim=True)
    s = (var + kept.eps).sqrt()
    ratio, shift = torch.ones(()), torch.zeros(())
    if kept.renorm:
        weight = max(1 / (int(kept.num_batches_tracked) + 1), kept.momentum)
        mean, var = (old + weight * (new - old) for old, new in ((mean, m), (channel(kept.var), var)))
        std = (var + kept.eps).sqrt()
        ratio, shift = s / std, (m - mean) / std
    exact = (at - m) / s * ratio + shift
    if minus < 0:
        own = (x.var(dims, correction=0, keepdim=True) + kept.eps).sqrt()
        return (x - x.mean(dims, keepdim=True)) / own * ratio.detach() + shift.detach(), exact, torch.ones(())
    moved = x - x.detach()  # zero, with the gradient of x
    z = moved + (at - m).abs() + moved.mean(dims, keepdim=True)
    u = z / s * (1 + (z * z).mean(dims, keepdim=True) / s**2) * ratio + shift.abs()
    return u, exact, 1 + (at.abs() + m.abs()) / s
