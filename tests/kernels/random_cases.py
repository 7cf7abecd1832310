"""One strategy for everything that a kernel may be given: shapes, memory, dtypes, values, sharing, what needs gradients, threads."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

SIZES = (1, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 33, 64, 65, 130)
DTYPES = (torch.float32, torch.float32, torch.bfloat16, torch.float16)
FORMATS = ("contiguous", "contiguous", "channels-last", "permuted", "odd address", "slice", "expanded")
SMALL, THREADED = 3000, 80_000
"""Elements at most; from 2¹⁵ on a kernel takes several threads."""


@dataclass(frozen=True)
class Case:
    """What is drawn apart from the module.

    Attributes:
        seed: of the values.
        size: of x.
        memory: how x lies in memory, one of :data:`FORMATS`.
        dtype: of x and y.
        theta_dtype: of the parameters.
        values: which values x has, one of :data:`VALUES`.
        not_finite: whether NaN and infinities are among them.
        share, channel_dim, groups: of θ; ``channel_dim`` ``None`` without channels.
        training: the module's mode.
        needs: of x and of the parameters, whether a gradient is wanted; neither: nothing is differentiated.
        gradient: how the gradient of y lies in memory: as y, contiguous, or expanded.
        threads: in the first and in the second run.
    """

    seed: int
    size: tuple[int, ...]
    memory: str
    dtype: torch.dtype
    theta_dtype: torch.dtype
    values: str
    not_finite: bool
    share: str
    channel_dim: int | None
    groups: int | None
    training: bool
    needs: tuple[bool, bool]
    gradient: str
    threads: tuple[int, int]

    @property
    def channels(self) -> int | None:
        """The size of ``channel_dim``."""
        return None if self.channel_dim is None else self.size[self.channel_dim]

    def sharing(self) -> dict[str, object]:
        """As ``slaf.make`` takes it, beside ``share``."""
        if self.channel_dim is None:
            return {}
        more = {} if self.groups is None else {"groups": self.groups}
        return {"num_channels": self.channels, "channel_dim": self.channel_dim, **more}

    def draw_values(self, points: tuple[float, ...]) -> Tensor:
        """float64, in ``size``."""
        rng = np.random.default_rng(self.seed)
        v = rng.standard_normal(self.size) * rng.choice([0.3, 1.0, 2.0])
        if self.values == "shifted":
            v += rng.uniform(-3, 3)
        elif self.values == "large":
            v *= 10 ** rng.uniform(0, 4)
        elif self.values == "far":
            v *= 10 ** rng.uniform(0, 29, self.size)  # whose tenth power is a float64
        elif self.values == "tiny":
            v *= 10 ** -rng.uniform(0, 44)
        elif self.values == "points":
            v = rng.choice([0.0, -0.0, 1.0, -1.0, 0.5, 2.0, *points], self.size)
        if self.not_finite and v.size:
            flat = v.reshape(-1)
            flat[rng.integers(0, v.size, 1 + v.size // 200)] = rng.choice([np.nan, np.inf, -np.inf])
        return torch.from_numpy(np.asarray(v))

    def place(self, v: Tensor) -> Tensor:
        """``v`` in the dtype and memory format of x; of what is expanded the first entries alone count."""
        rng = np.random.default_rng(self.seed + 1)
        x = v.to(self.dtype)
        if self.memory == "channels-last" and x.dim() in (4, 5):
            return x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)
        if self.memory == "permuted":
            order = rng.permutation(x.dim()).tolist()
            return x.permute(order).contiguous().permute([order.index(d) for d in range(x.dim())])
        if self.memory == "odd address":
            return torch.cat([x.new_zeros(1), x.reshape(-1)])[1:].view(x.shape)
        d = int(rng.integers(x.dim()))
        if self.memory == "slice":
            return x.repeat_interleave(2, d)[(slice(None),) * d + (slice(None, None, 2),)]
        if self.memory == "expanded":
            return x.narrow(d, 0, min(1, x.shape[d])).expand(x.shape)
        return x

    def draw_gradient(self, y: Tensor) -> Tensor:
        """Of y."""
        rng = np.random.default_rng(self.seed + 2)
        g = torch.from_numpy(np.asarray(rng.standard_normal(tuple(y.shape)))).to(y.dtype)
        if self.gradient == "expanded":
            return torch.ones((), dtype=y.dtype).expand(y.shape)
        return torch.empty_like(y).copy_(g) if self.gradient == "as y" else g


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, ...]:
    """One dimension to five; one time in twenty large, one in twenty empty."""
    size = draw(st.lists(st.sampled_from(SIZES), min_size=1, max_size=5))
    kind = draw(st.integers(0, 19))
    if kind == 0:
        size[draw(st.integers(0, len(size) - 1))] = draw(st.sampled_from([257, 1025, 5000]))
    while prod(size) > (THREADED if kind == 0 else SMALL):
        widest = size.index(max(size))
        size[widest] = (size[widest] + 1) // 2
    if kind == 1:
        size[draw(st.integers(0, len(size) - 1))] = 0
    return tuple(size)


@st.composite
def cases(draw: st.DrawFn, values: tuple[str, ...], needs: str) -> Case:
    """
    Args:
        values: the kinds that the kernel is asked about.
        needs: ``"nothing"``, ``"channels"``, where the module must know them, or ``"batch"``: channels, not at dimension 0, and no sharing;
            ``"batch of channels"``: there are some.
    """
    size, per_channel = draw(sizes()), needs != "nothing"
    if needs.startswith("batch"):
        size = size if len(size) > 1 and (needs == "batch" or any(size[1:])) else (*size, 3)
        return draw(_cases(size, values, [d for d in range(1, len(size)) if size[d] or needs == "batch"], True, ("channel",)))
    able = [d for d, n in enumerate(size) if n]
    if per_channel and not able:
        size, able = (1,), [0]
    shares = ("channel", "channel", "layer", "group") if able else ("layer",)
    return draw(_cases(size, values, able, per_channel, shares))


@st.composite
def _cases(
    draw: st.DrawFn, size: tuple[int, ...], values: tuple[str, ...], able: list[int], per_channel: bool, shares: tuple[str, ...]
) -> Case:
    """``able``: where the channels may be."""
    share = draw(st.sampled_from(shares))
    channel_dim = None
    if able and (per_channel or share != "layer" or draw(st.booleans())):
        channel_dim = draw(st.sampled_from([1] * (1 in able) * 3 + able))
    divisors = [] if share != "group" else [n for n in range(1, size[channel_dim] + 1) if size[channel_dim] % n == 0]
    dtype = draw(st.sampled_from(DTYPES))
    return Case(
        seed=draw(st.integers(0, 2**32 - 1)),
        size=size,
        memory=draw(st.sampled_from(FORMATS)),
        dtype=dtype,
        theta_dtype=draw(st.sampled_from((torch.float32, dtype))),
        values=draw(st.sampled_from(values)),
        not_finite=draw(st.integers(0, 3)) == 0,
        share=share,
        channel_dim=channel_dim,
        groups=draw(st.sampled_from(divisors)) if divisors else None,
        training=draw(st.booleans()),
        needs=draw(st.sampled_from(((True, True), (True, True), (True, False), (False, True), (False, False)))),
        gradient=draw(st.sampled_from(("as y", "contiguous", "expanded"))),
        threads=draw(st.sampled_from(((1, 1), (1, 2), (2, 3), (3, 1)))),
    )
