"""Layers that normalise and activate, by the kernels: two passes forward and two backward, keeping x and a few numbers for each row.

One form covers them: statistics of blocks of x, from them a few coefficients for every channel of every sample, then a function of one
element. Backward are sums, from them coefficients again, then the gradient of x: the elementwise one plus m + k·x from the statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import raw_norm
from .dispatch import current_mode, layout_of, on_gpu, place
from .fused import run
from .normalized import QUIET
from .tables import readable

__all__ = ["OWN", "gate_norm", "quotient_norm"]

Array = Any
"""Of numpy, whose small calls are quick; on a GPU of torch, so that nothing waits for the device."""
Definition = Callable[..., Tensor]
Place = tuple[int, int, int, bool]

FEW = 4
"""Elements of a channel in a sample below which plain torch is quicker, several times so for one: a row's own numbers outweigh it."""
MOST_SAMPLES = 65535
"""With channels last, on a GPU: the size of its grid."""
OWN = {"b0": False, "b1": True, "b2": True}
"""The denominators r(x) of :func:`quotient_norm`, and whether they take the mean of squares in place of the variance."""


def _placed(x: Tensor) -> Place | None:
    """n, c, s and whether the channels are last in memory, for ``x`` of (batch, channels, …); ``None`` where no kernel can run."""
    if torch.compiler.is_compiling() or x.dim() < 2 or place(x) is None:
        return None
    if prod(x.shape[2:]) < FEW and current_mode() == "auto":
        return None
    sizes, strides, ones = x.shape, x.stride(), (1,) * (x.dim() - 2)
    n, c = sizes[0], sizes[1]
    rows = layout_of(sizes, strides, (n, c, *ones))
    if rows is not None and rows.n == 1 and tuple(sorted(rows.dims)) == rows.dims:
        return n, c, rows.s, False
    channels, samples = layout_of(sizes, strides, (1, c, *ones)), layout_of(sizes, strides, (n, 1, *ones))
    if channels is not None and channels.s == 1 and samples is not None and samples.n == 1 and not (on_gpu(x) and n > MOST_SAMPLES):
        return n, c, channels.n // n, True
    return None


def _float32(*theta: Tensor | None) -> tuple[Tensor | None, ...]:
    return tuple(None if t is None else readable(t.detach().to(torch.float32)) for t in theta)


# -- groups of channels of one sample --------------------------------------------------------------------------------------------------


def gate_norm(
    x: Tensor,
    weight: Tensor | None,
    v: Tensor | None,
    bias: Tensor | None,
    groups: int,
    raw: bool,
    eps: float,
    definition: Definition,
) -> Tensor | None:
    """γ·x·σ(v x)/√(s² + eps) + β for x of (batch, channels, …); ``None`` where the definition must run.

    Args:
        weight, v, bias: (channels,), or ``None`` for 1, 1 and 0.
        groups: of channels, over which s² is the variance in a sample, or with ``raw`` the mean of squares.
        definition: (x, weight, v, bias) → y in plain torch, for what the kernels do not do.
    """
    found = _placed(x)
    if found is None:
        return None
    return run(_Gate(found, groups, raw, eps, definition, (weight, v, bias)), x, weight, v, bias)


class _Gate:
    def __init__(
        self, found: Place, groups: int, raw_moment: bool, eps: float, definition: Definition, given: tuple[Tensor | None, ...]
    ) -> None:
        self.place, self.groups, self.raw_moment, self.eps, self.defined = found, groups, raw_moment, eps, definition
        self.dtypes, self.theta = [None if t is None else t.dtype for t in given], _float32(*given)
        self.stats: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y, self.stats = raw_norm.gate_norm_forward(x, self.place, self.groups, self.raw_moment, self.eps, self.theta)
        return y

    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        stats = self.stats
        assert stats is not None
        gx, sums = raw_norm.gate_norm_backward(x, g, self.place, self.groups, self.raw_moment, self.theta, stats, need_x)
        rstd = stats[:, :, 1].repeat_interleave(self.place[1] // self.groups, 1)
        by_weight, by_v = ((rstd * sums[:, :, j]).sum(0) for j in (1, 2))
        if self.theta[0] is not None:
            by_v = by_v * self.theta[0]
        found = (by_weight, by_v, sums[:, :, 0].sum(0))
        return gx, *(None if dtype is None else t.to(dtype) for t, dtype in zip(found, self.dtypes, strict=True))


# -- the batch, and channels of one sample ---------------------------------------------------------------------------------------------


def quotient_norm(
    x: Tensor,
    weight: Tensor | None,
    v: Tensor | None,
    bias: Tensor | None,
    kind: str,
    eps: float,
    running_var: Tensor | None,
    definition: Definition,
) -> tuple[Tensor, Tensor] | None:
    """γ·x/max(√(s² + eps), r(x)) + β for x of (batch, channels, …), and s²; ``None`` where the definition must run.

    Args:
        weight, v, bias: (channels,), or ``None`` for 1, 1 and 0.
        kind: of r: ``"b0"`` v x + √(s²_sample + eps), ``"b1"`` (x + 1)·√(m²_sample + eps), ``"b2"`` √(m²_sample + eps) - x.
        running_var: s², (channels,); ``None``: the batch's own.
        definition: (x, weight, v, bias, s² or None) → y in plain torch, for what the kernels do not do.
    """
    found = _placed(x)
    if found is None:
        return None
    kernel = _Quotient(x, found, kind, eps, running_var, definition, (weight, v, bias))
    if not kernel.stats.finite():
        return None
    return run(kernel, x, weight, v, bias), torch.as_tensor(kernel.var)


@dataclass
class _Statistics:
    """Of every channel of every sample, (n, c): mean and root; of every channel, (c,): mean and root over the batch."""

    mean: Array
    root: Array
    batch_mean: Array
    batch_root: Array

    def finite(self) -> bool:
        """Whether all elements are, and so the whole of what is made of them: the definition knows how far NaN and infinities reach."""
        parts = (self.mean, self.root, self.batch_root)  # on a GPU nobody looks, since that would wait for it
        return isinstance(self.mean, Tensor) or all(bool(np.isfinite(part).all()) for part in parts)


class _Quotient:
    @QUIET
    def __init__(
        self,
        x: Tensor,
        found: Place,
        kind: str,
        eps: float,
        running_var: Tensor | None,
        definition: Definition,
        given: tuple[Tensor | None, ...],
    ) -> None:
        self.place, self.kind, self.definition, self.training = found, kind, definition, running_var is None
        self.xp: Any = torch if on_gpu(x) else np
        self.dtypes = [None if t is None else t.dtype for t in given]
        xp, defaults = self.xp, (1.0, 1.0, 0.0)
        wide = (x.new_full((found[1],), d) if t is None else t for t, d in zip(given, defaults, strict=True))
        self.weight, self.v, self.bias = map(self._float64, wide)
        mean, var = self._columns(raw_norm.sample_spreads(x, found))
        var = var / found[2]
        batch_mean = mean.mean(0)
        self.var = (var + xp.square(mean - batch_mean)).mean(0) if running_var is None else self._float64(running_var)
        own = var + xp.square(mean) if OWN[kind] else var
        self.stats = _Statistics(mean, xp.sqrt(own + eps), batch_mean, xp.sqrt(self.var + eps))

    def _float64(self, t: Tensor) -> Array:
        t = t.detach().to(torch.float64, copy=True)
        return t if self.xp is torch else readable(t).numpy()

    def _columns(self, sums: Tensor) -> Array:
        """Of (n, c, K), one after the other."""
        return sums.unbind(2) if self.xp is torch else sums.numpy().transpose(2, 0, 1)

    def defined(self, x: Tensor, *theta: Tensor) -> Tensor:
        return self.definition(x, *theta, None if self.training else torch.as_tensor(self.var))

    def _rows(self, *columns: Array) -> Tensor:
        wide = self.xp.stack([self.xp.broadcast_to(c, self.place[:2]) for c in columns], 2)
        return torch.as_tensor(wide).to(torch.float32)

    def _denominator(self) -> tuple[Array, ...]:
        """l, p, q and c of max(l, p·(x - c) + q): about the mean, c as the kernel sees it, so that no difference loses digits."""
        root, mean = self.stats.root, self.stats.mean
        c = mean.float() if self.xp is torch else mean.astype(np.float32)
        p = {"b0": self.v, "b1": root, "b2": self.xp.full_like(root, -1.0)}[self.kind]
        return self.stats.batch_root, p, root + p * c, c

    @QUIET
    def forward(self, x: Tensor) -> Tensor:
        return raw_norm.quotient_norm(x, 0, None, self.place, self._rows(*self._denominator(), self._factor(), self.bias))

    def _factor(self) -> Array:
        """γ, NaN where the kernel's maximum would not see that the batch's root is."""
        return self.weight if self.xp is np else torch.where(self.stats.batch_root.isnan(), torch.nan, self.weight)

    @QUIET
    def gradients(self, x: Tensor, g: Tensor, need_x: bool) -> tuple[Tensor | None, ...]:
        denominator = self._denominator()
        plain, quotient, all_, own, own_x = self._columns(raw_norm.quotient_norm(x, 1, g, self.place, self._rows(*denominator)))
        by_p, by_q = -self.weight * own_x, -self.weight * own
        gx = None
        if need_x:
            by_root = {"b0": by_q, "b1": by_p + by_q, "b2": by_q}[self.kind]
            by_batch = -self.weight * (all_ - own).sum(0)
            rows = self._rows(*denominator, self._factor(), *self._line(by_root, by_batch, denominator[3]))
            gx = raw_norm.quotient_norm(x, 2, g, self.place, rows)
        found = quotient.sum(0), by_p.sum(0), plain.sum(0)
        return gx, *(None if d is None else torch.as_tensor(t).to(d) for t, d in zip(found, self.dtypes, strict=True))

    def _line(self, by_root: Array, by_batch: Array, c: Array) -> tuple[Array, Array]:
        """m and k of m + k·(x - c), the gradient by way of the statistics: the sample's and, in training, the batch's."""
        stats, (n, _, s, _) = self.stats, self.place
        own, middle = by_root / (s * stats.root), 0.0 if OWN[self.kind] else stats.mean
        if not self.training:
            return own * (c - middle), own
        batch = by_batch / (n * s * stats.batch_root)
        return own * (c - middle) + batch * (c - stats.batch_mean), own + batch
