"""Layers that normalise and activate, as in :mod:`slaf.kernels.norm_act`, on a GPU: the passes are those of :mod:`.elements`.

What the statistics make of their parameters is computed on the device, so that nothing waits for it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slaf.kernels.dispatch import Layout

from .elements import OPS, passed

__all__ = ["gate_norm_backward", "gate_norm_forward", "quotient_norm", "sample_spreads"]

Place = tuple[int, int, int, bool]
Theta = tuple[Tensor | None, ...]
SHARE = 64
"""One in so many elements says where moments are taken."""


def _pass(name: str, x: Tensor, g: Tensor | None, place: Place, rows: Tensor, out: Tensor | None) -> Tensor:
    """With θ of every channel of every sample, (n, c, parameters): the sums (n, c, sums)."""
    n, c, s, last = place
    layout, samples = (Layout(s, c, 1, (), ()), n) if last else (Layout(1, n * c, s, (), ()), 1)
    found = passed(name, x, g, layout, rows.reshape(n * c, -1).to(torch.float32), out, samples)
    return found.reshape(n, c, OPS[name].sums)


def sample_spreads(x: Tensor, place: Place) -> Tensor:
    """As :func:`slaf.kernels.raw_norm.sample_spreads`: about the mean of the first elements, so that few bits are lost."""
    n, c, s, last = place
    few = x.as_strided(*(((n, s, c), (s * c, c, 1)) if last else ((n, c, s), (c * s, s, 1)))).narrow(1 if last else 2, 0, -(-s // SHARE))
    centre = few.mean(1 if last else 2, dtype=torch.float32)
    centre = torch.where(centre.isfinite(), centre, 0.0)
    first, second = _pass("spread", x, None, place, centre[:, :, None], None).unbind(2)
    shift = first / s
    return torch.stack([centre + shift, (second - first * shift).clamp(min=0)], 2)


def _of_channels(theta: Theta, x: Tensor, c: int) -> list[Tensor]:
    """γ, v and β, in float64."""
    ones = x.new_ones(c, dtype=torch.float64)
    return [d * ones if t is None else t.double() for t, d in zip(theta, (1, 1, 0), strict=True)]


def gate_norm_forward(x: Tensor, place: Place, groups: int, raw: bool, eps: float, theta: Theta) -> tuple[Tensor, Tensor]:
    """As :func:`slaf.kernels.raw_norm.gate_norm_forward`."""
    n, c, s, _ = place
    y = torch.empty_like(x)
    mean, spread = sample_spreads(x, place).reshape(n, groups, -1, 2).unbind(3)
    middle = mean.mean(2, keepdim=True)
    square = (spread / s + (mean - (0.0 if raw else middle)).square()).mean(2)
    stats = torch.stack([middle[:, :, 0], (square + eps).rsqrt()], 2)
    weight, v, bias = _of_channels(theta, x, c)
    rows = [weight * _by_channel(stats[:, :, 1], c), v.expand(n, c), bias.expand(n, c)]
    _pass("gate", x, None, place, torch.stack(rows, 2), y)
    return y, stats


def _by_channel(of_groups: Tensor, c: int) -> Tensor:
    return of_groups.repeat_interleave(c // of_groups.shape[1], 1)


def gate_norm_backward(
    x: Tensor, g: Tensor, place: Place, groups: int, raw: bool, theta: Theta, stats: Tensor, input_gradient: bool = True
) -> tuple[Tensor | None, Tensor]:
    """As :func:`slaf.kernels.raw_norm.gate_norm_backward`."""
    n, c, s, _ = place
    weight, v, _ = _of_channels((*theta[:2], None), x, c)
    gate = v.expand(n, c)
    sums = _pass("gate sums", x, g, place, gate[:, :, None], None)
    if not input_gradient:
        return None, sums
    gx, (mean, rstd) = torch.empty_like(x), stats.unbind(2)
    by_rstd = (weight * sums[:, :, 1]).reshape(n, groups, -1).sum(2)
    rate = -by_rstd * rstd**3 / (c // groups * s)
    centre = torch.zeros_like(mean) if raw else mean
    rows = [weight * _by_channel(rstd, c), gate, _by_channel(rate, c), _by_channel(centre, c)]
    _pass("gate input", x, g, place, torch.stack(rows, 2), gx)
    return gx, sums


def quotient_norm(x: Tensor, step: int, g: Tensor | None, place: Place, rows: Tensor) -> Tensor:
    """As :func:`slaf.kernels.raw_norm.quotient_norm`."""
    out = None if step == 1 else torch.empty_like(x)
    sums = _pass(("quotient", "quotient sums", "quotient input")[step], x, g, place, rows, out)
    return sums if out is None else out
