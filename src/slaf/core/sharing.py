"""Sharing: which elements of the input use the same parameters θ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from .errors import SlafError, one_of

__all__ = ["Sharing"]

MODES = ("layer", "channel", "group", "unit")


def _positive(argument: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SlafError(f"{argument} must be a positive integer; got {value!r}")
    return value


def check_site(site: object, sites: int) -> int:
    """``site`` as the index of a channel or unit.

    Raises:
        SlafError: there is none such.
    """
    if isinstance(site, bool) or not isinstance(site, int) or not 0 <= site < sites:
        raise SlafError(f"site must be an integer from 0 to {sites - 1}; got {site!r}")
    return site


class Sharing:
    """One θ per layer, channel, group of channels, or unit; never guessed from the input's shape.

    Args:
        share: ``"layer"`` (one θ), ``"channel"`` (one per index of ``channel_dim``), ``"group"`` (``groups`` equal runs of
            channels), ``"unit"`` (one per element of ``num_features``).
        num_channels: size of ``channel_dim``.
        groups: number of groups, a divisor of ``num_channels``; required for ``"group"``.
        num_features: the sample's shape from ``channel_dim`` on, e.g. ``(C, H, W)``, or ``N`` for dense input; required for
            ``"unit"`` unless ``num_channels`` says it for dense input.
        channel_dim: the channel dimension of the input, 1 as in PReLU.

    Raises:
        SlafError: a size is missing, not positive, or does not fit.
    """

    def __init__(
        self,
        share: str = "channel",
        num_channels: int | None = None,
        groups: int | None = None,
        num_features: int | Sequence[int] | None = None,
        channel_dim: int = 1,
    ) -> None:
        self.share = one_of("share", share, MODES)
        if isinstance(channel_dim, bool) or not isinstance(channel_dim, int):
            raise SlafError(f"channel_dim must be an integer; got {channel_dim!r}")
        self.channel_dim = channel_dim
        if isinstance(num_features, int):
            num_features = (num_features,)
        self.num_features = None if num_features is None else tuple(_positive("num_features", n) for n in num_features)
        self.num_channels = None if num_channels is None else _positive("num_channels", num_channels)
        if share == "unit":
            if self.num_features is None:
                if self.num_channels is None:
                    raise SlafError("share=unit needs num_features=(…), the sample's shape from channel_dim on")
                self.num_features = (self.num_channels,)
            if self.num_channels not in (None, self.num_features[0]):
                sizes = f"num_features={self.num_features}: its first size is the channels'"
                raise SlafError(f"num_channels={num_channels} does not fit {sizes}")
            self.num_channels = self.num_features[0]
            if channel_dim < 0 and len(self.num_features) != -channel_dim:
                sizes = f"num_features={self.num_features} of {len(self.num_features)} sizes"
                raise SlafError(f"channel_dim={channel_dim} does not fit {sizes}")
        elif share in ("channel", "group") and self.num_channels is None:
            raise SlafError(f"share={share} needs num_channels, the size of dimension channel_dim={channel_dim}")
        if share == "group":
            if groups is None:
                raise SlafError("share=group needs groups, a divisor of num_channels")
            if self.num_channels % _positive("groups", groups):  # type: ignore[operator]
                raise SlafError(f"groups={groups} does not divide num_channels={num_channels}")
        elif groups is not None:
            raise SlafError(f"groups={groups!r} is only for share=group; share is {share}")
        self.groups = groups

    @cached_property
    def count(self) -> int:
        """How many θ there are."""
        if self.share == "layer":
            return 1
        if self.share == "group":
            return int(self.groups)  # type: ignore[arg-type]
        return self.sites

    @cached_property
    def sites(self) -> int:
        """How many channels (or units) keep statistics of their own: 1 if no size was given."""
        if self.share == "unit":
            return math.prod(self.num_features)  # type: ignore[arg-type]
        return self.num_channels or 1

    def per_site(self, theta: Tensor) -> Tensor:
        """Repeat ``theta`` (count, …) for every channel or unit it serves: (sites, …), or (1, …) for ``"layer"``."""
        if self.share == "group":
            return theta.repeat_interleave(self.sites // self.count, 0)
        return theta

    def shape(self, x: Tensor, sites: int) -> tuple[int, ...]:
        """The shape in which a tensor with ``sites`` entries broadcasts against ``x``.

        Raises:
            SlafError: ``x`` has no dimension ``channel_dim`` or it has another size than was declared.
        """
        if sites == 1 and self.sites == 1 and self.num_channels is None:
            return (1,) * x.dim()
        dim = self.channel_dim + x.dim() if self.channel_dim < 0 else self.channel_dim
        if not 0 <= dim < x.dim():
            raise SlafError(f"input of shape {tuple(x.shape)} has no channel_dim={self.channel_dim}")
        if self.share != "unit" and x.shape[dim] == self.num_channels:
            return (1,) * x.dim() if sites == 1 else (1,) * dim + (self.num_channels,) + (1,) * (x.dim() - dim - 1)
        own: tuple[int, ...] = self.num_features if self.share == "unit" else (self.num_channels,)  # type: ignore[assignment]
        seen = tuple(x.shape[dim : dim + len(own)])
        if seen != own:
            what = "num_features" if self.share == "unit" else "num_channels"
            told = own if self.share == "unit" else own[0]
            got = seen if len(seen) != 1 else seen[0]
            raise SlafError(f"input of shape {tuple(x.shape)} has {got} at dimension {dim}; {what}={told} was declared")
        if sites == 1:
            return (1,) * x.dim()
        return (1,) * dim + own + (1,) * (x.dim() - dim - len(own))

    def config(self) -> dict[str, object]:
        """The arguments that make an equal object, those at their default left out."""
        out: dict[str, object] = {"share": self.share}
        if self.num_features is not None:
            out["num_features"] = self.num_features if len(self.num_features) > 1 else self.num_features[0]
        elif self.num_channels is not None:
            out["num_channels"] = self.num_channels
        if self.groups is not None:
            out["groups"] = self.groups
        if self.channel_dim != 1:
            out["channel_dim"] = self.channel_dim
        return out


def reduce_dims(x: Tensor, shape: Sequence[int]) -> list[int]:
    """The dimensions of ``x`` that a tensor of ``shape`` is constant along."""
    return [d for d in range(x.dim()) if shape[d] == 1]


def broadcast(theta: Tensor, shape: Sequence[int]) -> Tensor:
    """View ``theta`` (sites, K) as (K, *shape), ready to broadcast against the input."""
    return theta.movedim(0, -1).reshape(*theta.shape[1:], *shape) if theta.dim() > 1 else theta.reshape(torch.Size(shape))
