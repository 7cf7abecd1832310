"""``Sketch``: what the elements of a stream of tensors are like (moments, extremes, quantiles), in little memory."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slaf.core import SlafError
from slaf.fit import Measured

__all__ = ["Sketch"]

CHUNK = 1 << 20
"""Elements that are looked at together, in float64."""
SUBSAMPLE = 32
"""Of one update, the quantiles see every element up to 64, and beyond that at least 32, elements for every kept value."""
QUANTILES = (0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)


class Sketch:
    """A summary of all elements of the tensors given to :meth:`update`; two of them merge into one.

    Exact, in float64 with Chan's update: ``count``, ``mean``, ``std``, ``min``, ``max``, and mean and variance of every channel
    (variances divide by the count). Infinite and NaN elements are counted in ``nonfinite`` and enter nothing else.

    Quantiles come from at most ``capacity`` kept values with weights. Up to ``capacity`` elements all are kept, and quantiles are exact.
    Beyond, full buffers are sorted and every second value, with twice the weight, moves up a level (the KLL sketch of Karnin, Lang and
    Liberty 2016, arXiv 1603.05346, with coin flips of a private generator: the same calls give the same numbers, and no global
    random state is touched). Of an update larger than ``64 * capacity`` one element in every 2^j consecutive ones is drawn, so that
    ``32 * capacity`` or more are looked at. At the default capacity and 10^7 values the rank of a quantile is off by less than 1 %.

    Args:
        channel_dim: the dimension whose indices get statistics of their own; negative from the end. None: no such statistics.
        capacity: how many values are kept, 64 or more.

    Raises:
        SlafError: an argument is not of the kind above.

    Example:
        >>> sketch = Sketch(channel_dim=1)
        >>> sketch.update(x)
        >>> sketch.mean, sketch.quantile(0.99), sketch.channel_var
    """

    def __init__(self, channel_dim: int | None = None, capacity: int = 4096) -> None:
        if channel_dim is not None and (isinstance(channel_dim, bool) or not isinstance(channel_dim, int)):
            raise SlafError(f"channel_dim must be an integer or None; got {channel_dim!r}")
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 64:
            raise SlafError(f"capacity must be an integer of 64 or more; got {capacity!r}")
        self.channel_dim, self.capacity = channel_dim, capacity
        self.nonfinite = 0
        """How many elements were infinite or NaN."""
        self._min, self._max = math.inf, -math.inf
        self._moments: Tensor | None = None  # (3, channels) float64: count, mean, sum of squared deviations
        self._levels: list[np.ndarray] = []  # of level h, values that stand for 2^h elements each
        self._random = np.random.default_rng(0)

    def update(self, x: Tensor) -> None:
        """Take in the elements of ``x``: any shape, floating dtype and device; a large tensor is read in pieces.

        Raises:
            SlafError: ``x`` is no floating tensor, has no dimension ``channel_dim``, or not as many channels as before.
        """
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise SlafError(f"x must be a tensor of a floating dtype; got {x.dtype if isinstance(x, Tensor) else type(x).__name__}")
        x = self._by_channel(x.detach())
        if x.numel() == 0:
            return
        stride = 2 ** max(0, int(math.log2(x.numel() / (SUBSAMPLE * self.capacity))))
        for piece in _pieces(x):
            self._take(piece, stride)

    def _by_channel(self, x: Tensor) -> Tensor:
        """``x`` as (outer, channels, inner), a view where its memory has no gaps; (1, 1, elements) if channels do not matter."""
        if self.channel_dim is None:
            return _in_memory_order(x).reshape(1, 1, -1)
        dim = self.channel_dim + x.dim() if self.channel_dim < 0 else self.channel_dim
        if not 0 <= dim < x.dim():
            raise SlafError(f"x of shape {tuple(x.shape)} has no channel_dim={self.channel_dim}")
        if self._moments is not None and x.shape[dim] != self._moments.shape[1]:
            raise SlafError(f"x has {x.shape[dim]} channels in dimension {dim}; before there were {self._moments.shape[1]}")
        last = x.movedim(dim, -1)
        if last.is_contiguous():  # channels last, in name or in memory
            return last.reshape(-1, x.shape[dim], 1) if x.numel() else x.reshape(0, x.shape[dim], 1)
        return x.reshape(math.prod(x.shape[:dim]), x.shape[dim], math.prod(x.shape[dim + 1 :]))

    def _take(self, piece: Tensor, stride: int) -> None:
        wide = (piece.cpu() if piece.device.type == "mps" else piece).to(torch.float64)  # there is no float64 on MPS
        low, high = (float(t) for t in torch.aminmax(wide))
        finite = None
        if not math.isfinite(low + high):  # aminmax gives NaN if there is one
            finite = torch.isfinite(wide)
            self.nonfinite += wide.numel() - int(finite.sum())
            if not bool(finite.any()):
                return
            low, high = (float(t) for t in torch.aminmax(wide[finite]))
        self._min, self._max = min(self._min, low), max(self._max, high)
        self._add_moments(_moments(wide, finite))
        flat = wide.reshape(-1) if finite is None else wide[finite]
        if stride > 1 and len(flat) >= stride:
            drawn = len(flat) // stride
            at = np.arange(drawn) * stride + self._random.integers(0, stride, drawn)
            self._keep(flat[torch.from_numpy(at).to(flat.device)].cpu().numpy(), stride)
            flat = flat[drawn * stride :]  # fewer than a stride
        self._keep(flat.cpu().numpy(), 1)
        self._compress()

    def _add_moments(self, new: Tensor) -> None:
        if self._moments is None:
            self._moments = torch.zeros_like(new)
        self._moments = _together(self._moments, new)

    def _keep(self, values: np.ndarray, weight: int) -> None:
        """Add values that stand for ``weight`` = 2^h elements each; many at once are thinned in one sort."""
        level, steps = weight.bit_length() - 1, max(0, (3 * len(values) // self.capacity).bit_length() - 1)
        if steps:
            rest = len(values) % 2**steps
            self._put(values[:rest], level)
            level, values = level + steps, np.sort(values[rest:])[int(self._random.integers(2**steps)) :: 2**steps]
        self._put(values, level)

    def _put(self, values: np.ndarray, level: int) -> None:
        self._levels.extend(np.empty(0) for _ in range(level + 1 - len(self._levels)))
        self._levels[level] = np.concatenate([self._levels[level], values])

    def _compress(self) -> None:
        """Until no more than ``capacity`` are left: the lowest level that is full halves into the next."""
        while sum(map(len, self._levels)) > self.capacity:
            top = len(self._levels) - 1
            full = [h for h, v in enumerate(self._levels) if len(v) >= max(2.0, self.capacity / 3 * (2 / 3) ** (top - h))]
            level = full[0] if full else max(range(top + 1), key=lambda h: len(self._levels[h]))
            values = self._levels[level]
            odd = len(values) % 2
            self._levels[level] = values[:odd]
            self._put(np.sort(values[odd:])[int(self._random.integers(2)) :: 2], level + 1)

    def pooled(self) -> Sketch:
        """The same without statistics of channels."""
        out = copy.deepcopy(self)
        out.channel_dim, out._moments = None, None if self._moments is None else self._pooled()[:, None]
        return out

    def merge(self, other: Sketch) -> Sketch:
        """Take in what ``other`` has seen, and give back ``self``; ``other`` stays as it is.

        Raises:
            SlafError: ``other`` is no Sketch, keeps no statistics of channels where this one does or the other way round, or has seen
                another number of channels.
        """
        if not isinstance(other, Sketch):
            raise SlafError(f"other must be a Sketch; got {type(other).__name__}")
        if (self.channel_dim is None) != (other.channel_dim is None):
            raise SlafError(f"sketches of channel_dim={self.channel_dim} and channel_dim={other.channel_dim} do not merge")
        if self._moments is not None and other._moments is not None and self._moments.shape != other._moments.shape:
            channels = f"{self._moments.shape[1]} and {other._moments.shape[1]}"
            raise SlafError(f"sketches of the same number of channels merge; these have {channels}")
        self.nonfinite += other.nonfinite
        self._min, self._max = min(self._min, other._min), max(self._max, other._max)
        if other._moments is not None:
            self._add_moments(other._moments)
        for level, values in enumerate(list(other._levels)):
            self._put(values, level)
        self._compress()
        return self

    @property
    def count(self) -> int:
        """How many finite elements there were."""
        return 0 if self._moments is None else int(self._moments[0].sum())

    def _pooled(self) -> Tensor:
        """Count, mean and sum of squared deviations of all channels together, shape (3,)."""
        if self._moments is None:
            return torch.full((3,), math.nan, dtype=torch.float64)
        count, mean, squares = self._moments
        centre = (count / count.sum() * mean).sum()
        return torch.stack([count.sum(), centre, squares.sum() + (count * (mean - centre) ** 2).sum()])

    @property
    def mean(self) -> float:
        """Of the finite elements; this and the other numbers are NaN if there were none."""
        return float(self._pooled()[1])

    @property
    def std(self) -> float:
        """The standard deviation √(Σ (x - mean)²/count)."""
        count, _, squares = self._pooled().tolist()
        return math.sqrt(squares / count)

    @property
    def min(self) -> float:
        """The least finite element."""
        return self._min if self.count else math.nan

    @property
    def max(self) -> float:
        """The largest finite element."""
        return self._max if self.count else math.nan

    @property
    def channel_mean(self) -> Tensor | None:
        """Of every channel, (channels,) float64, NaN where there was nothing finite; None without ``channel_dim`` or before any input."""
        if self.channel_dim is None or self._moments is None:
            return None
        return torch.where(self._moments[0] > 0, self._moments[1], math.nan)

    @property
    def channel_var(self) -> Tensor | None:
        """Of every channel the variance Σ (x - mean)²/count, as :attr:`channel_mean`."""
        return None if self.channel_dim is None or self._moments is None else self._moments[2] / self._moments[0]

    def sample(self) -> tuple[Tensor, Tensor]:
        """Values in increasing order, with ``min`` and ``max`` among them, and the number of elements each stands for, float64."""
        points = np.concatenate([np.empty(0), *self._levels])
        weights = np.concatenate([np.empty(0), *(np.full(len(v), 2.0**h) for h, v in enumerate(self._levels))])
        order = np.argsort(points, kind="stable")
        points, weights = points[order], weights[order]
        if len(points):
            points, weights = _with_end(*_with_end(points, weights, 0, self._min), -1, self._max)
        return torch.from_numpy(points), torch.from_numpy(weights)

    def quantile(self, q: float | Sequence[float] | Tensor) -> Any:
        """The value below which the share ``q`` of the elements lies, with numpy's linear rule; ``q`` = 0 and 1 are ``min`` and ``max``.

        Returns:
            A float for one number, else a float64 tensor of the shape of ``q``; NaN if there were no finite elements.

        Raises:
            SlafError: ``q`` is not in [0, 1].
        """
        wanted = np.asarray(q, dtype=np.float64)
        if not bool(((wanted >= 0) & (wanted <= 1)).all()):
            raise SlafError(f"q must be in [0, 1]; got {q}")
        points, weights = (t.numpy() for t in self.sample())
        if not len(points):
            found = np.full(wanted.shape, math.nan)
        else:
            ranks = np.cumsum(weights) - (weights + 1) / 2
            found = np.interp(wanted * (weights.sum() - 1), ranks, points)
        return float(found) if wanted.ndim == 0 else torch.from_numpy(found)

    def histogram(self, bins: int = 64) -> tuple[Tensor, Tensor]:
        """Counts (bins,) of equal bins from ``min`` to ``max`` and their edges (bins + 1,), float64; counts are exact up to ``capacity``.

        Raises:
            SlafError: ``bins`` is not a positive integer, or there were no finite elements.
        """
        if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
            raise SlafError(f"bins must be a positive integer; got {bins!r}")
        self._require_values("a histogram")
        points, weights = (t.numpy() for t in self.sample())
        counts, edges = np.histogram(points, bins=bins, weights=weights)
        return torch.from_numpy(counts), torch.from_numpy(edges)

    def density(self) -> Measured:
        """The kept values with their weights, ``min`` and ``max`` among them, as a density to fit under.

        Raises:
            SlafError: there were no finite elements.
        """
        self._require_values("a density")
        return Measured(*self.sample())

    def _require_values(self, what: str) -> None:
        if not self.count:
            raise SlafError(f"{what} needs finite elements; this sketch has seen {self.nonfinite} infinite or NaN ones alone")

    def to_dict(self) -> dict[str, Any]:
        """Counts, moments, quantiles and the moments of channels as what JSON can hold; ``None`` where there is no number."""
        mean, var = self.channel_mean, self.channel_var
        numbers = {"mean": self.mean, "std": self.std, "min": self.min, "max": self.max}
        return {
            "count": self.count,
            "nonfinite": self.nonfinite,
            **{name: _number(value) for name, value in numbers.items()},
            "quantiles": {str(q): _number(v) for q, v in zip(QUANTILES, self.quantile(QUANTILES).tolist(), strict=True)},
            "channel_mean": None if mean is None else [_number(v) for v in mean.tolist()],
            "channel_var": None if var is None else [_number(v) for v in var.tolist()],
        }

    def __repr__(self) -> str:
        numbers = f"mean={self.mean:.4g}, std={self.std:.4g}, min={self.min:.4g}, max={self.max:.4g}"
        return f"Sketch(count={self.count}, {numbers}, nonfinite={self.nonfinite})"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _in_memory_order(x: Tensor) -> Tensor:
    """The dimensions sorted so that a dense tensor, whatever its memory format, is contiguous."""
    return x.permute(sorted(range(x.dim()), key=x.stride, reverse=True))


def _pieces(x: Tensor) -> Iterator[Tensor]:
    """(outer, channels, inner) in parts of about ``CHUNK`` elements; channels stay together."""
    inner = max(1, CHUNK // x.shape[1])
    for part in x.split(max(1, inner // x.shape[2])):
        yield from part.split(inner, dim=2)


def _moments(x: Tensor, finite: Tensor | None) -> Tensor:
    """Count, mean and sum of squared deviations (3, channels) of (outer, channels, inner); all count if ``finite`` is None."""
    if finite is None:
        mean = x.mean((0, 2), keepdim=True)
        count = torch.full_like(mean, x.shape[0] * x.shape[2])
        squares = (x - mean).square_().sum((0, 2))
    else:
        count = finite.sum((0, 2), keepdim=True).to(torch.float64)
        mean = torch.where(finite, x, 0.0).sum((0, 2), keepdim=True) / count.clamp_min(1.0)
        squares = torch.where(finite, x - mean, 0.0).square_().sum((0, 2))
    return torch.stack([count.reshape(-1), mean.reshape(-1), squares]).cpu()


def _together(a: Tensor, b: Tensor) -> Tensor:
    """Chan, Golub and LeVeque's update of count, mean and sum of squared deviations."""
    count = a[0] + b[0]
    share, step = b[0] / count.clamp_min(1.0), b[1] - a[1]
    return torch.stack([count, a[1] + share * step, a[2] + b[2] + a[0] * share * step**2])


def _with_end(points: np.ndarray, weights: np.ndarray, end: int, value: float) -> tuple[np.ndarray, np.ndarray]:
    """The exact extreme ``value`` with weight 1, taken from the outermost point (which it replaces if that has no more)."""
    if weights[end] > 1:
        weights[end] -= 1
        at = 0 if end == 0 else len(points)
        return np.insert(points, at, value), np.insert(weights, at, 1.0)
    points[end] = value
    return points, weights
