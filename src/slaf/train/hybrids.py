"""Hybrid networks: a few learned activations beside fixed ones, which keeps a deep network easy to train (the SLAF paper's own use)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from slaf.core import SlafError, make

__all__ = ["hybrid"]

Factory = Callable[..., nn.Module]


def hybrid(learned: str | Factory, other: str | Factory = "relu", every: int = 2) -> Factory:
    """A factory of activations whose first site, and every ``every``-th after it, is ``learned``; the sites between are ``other``.

    Each is an activation string (``slaf.make`` builds it) or a callable; both get the arguments of the site.

    Raises:
        SlafError: ``every`` is no positive integer.

    Example:
        >>> site = hybrid("slaf(degree=2)", "relu", every=3)
        >>> net = nn.Sequential(nn.Linear(8, 64), site(num_channels=64), nn.Linear(64, 64), site(num_channels=64))
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise SlafError(f"every must be a positive integer; got {every!r}")
    sites = 0

    def site(*args: Any, **kwargs: Any) -> nn.Module:
        nonlocal sites
        chosen = learned if sites % every == 0 else other
        sites += 1
        return make(chosen, *args, **kwargs) if isinstance(chosen, str) else chosen(*args, **kwargs)

    return site
