"""What a trained network's activations became: their curves before and after, over the inputs they really see, and their formula."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slaf.core import Activation, SlafError
from slaf.plot import formula
from slaf.train import rows_at_once

from .build import Built

__all__ = ["describe_sites", "rounded"]

POINTS, BINS, CHANNELS, SAMPLE = 161, 48, 8, 400_000
CENTRAL = 0.998
"""The share of the inputs that a curve's grid spans; the rest are outliers that would flatten the picture."""


def rounded(value: float) -> float | None:
    """``value`` to 5 significant digits; ``None`` where JSON has no number for it."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def describe_sites(built: Built, inputs: Tensor) -> list[dict[str, Any]]:
    """Describe each activation site of a trained model that has learnable parameters, on the test inputs."""
    sites = {n: s for n, s in built.sites.items() if isinstance(s, Activation) and any(p.requires_grad for p in s.parameters())}
    described = []
    for name, seen in _seen_inputs(built.model, sites, inputs).items():
        entry = _describe(sites[name], built.initial[name], seen)
        if entry is not None:
            described.append({"site": name, **entry})
    return described


def _seen_inputs(model: nn.Module, sites: dict[str, Activation], inputs: Tensor) -> dict[str, np.ndarray]:
    """The inputs of every site: (samples, channels or units), thinned evenly to at most about ``SAMPLE`` numbers."""
    parts: dict[str, list[Tensor]] = {name: [] for name in sites}
    batches = inputs.split(rows_at_once(inputs))

    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            table = _by_channel(module, args[0].detach())
            parts[name].append(table[:: max(1, table.numel() * len(batches) // SAMPLE)].to(torch.float64).cpu())

        return hook

    handles = [site.register_forward_pre_hook(keep(name)) for name, site in sites.items()]
    try:
        for batch in batches:
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(p).numpy() for name, p in parts.items() if p}


def _by_channel(site: nn.Module, x: Tensor) -> Tensor:
    """Inputs with one column per channel or unit, in the order of ``site.curves``; one column where it keeps no sizes."""
    sharing = getattr(site, "sharing", None)
    if sharing is None or sharing.num_channels is None:
        return x.reshape(-1, 1)
    dim = sharing.channel_dim % x.dim()
    if sharing.share == "unit":
        return x.flatten(dim).reshape(-1, sharing.sites)
    return x.movedim(dim, -1).reshape(-1, sharing.num_channels)


def _central(seen: np.ndarray) -> tuple[float, float] | None:
    """The interval that holds the central share of the inputs, a little wider if they are all the same; ``None`` without inputs."""
    finite = seen[np.isfinite(seen)]
    if len(finite) == 0:
        return None
    low, high = (float(q) for q in np.quantile(finite, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2]))
    return (low, high) if high - low > 1e-6 * max(1.0, abs(low)) else (low - 1.0, high + 1.0)


def _describe(site: Activation, initial: dict[str, Tensor], seen: np.ndarray) -> dict[str, Any] | None:
    whole = _central(seen)
    if whole is None:
        return None
    low, high = whole
    before = copy.deepcopy(site)
    before.load_state_dict({**site.state_dict(), **initial})  # first parameters, final statistics: only what was learned differs
    parameter = next(site.parameters())
    x = torch.linspace(low, high, POINTS, dtype=torch.float64).to(parameter.device, parameter.dtype)
    try:
        curves_before, curves_after = before.curves(x), site.curves(x)
    except SlafError:
        return None  # not a function of one number, so there is no curve
    counts, edges = np.histogram(seen[np.isfinite(seen)], bins=BINS, range=(low, high))
    channels = curves_after.shape[1]
    shown = _spread(channels)
    same = seen.shape[1] == channels
    ranges = [(_central(seen[:, c]) if same else None) or whole for c in shown]
    return {
        "activation": repr(site),
        "channels": channels,
        "shown": shown,
        "x": _numbers(x),
        "before": [_numbers(column) for column in _columns(curves_before, shown)],
        "after": [_numbers(column) for column in _columns(curves_after, shown)],
        "ranges": [[rounded(a), rounded(b)] for a, b in ranges],
        "histogram": {
            "edges": [rounded(float(e)) for e in edges],
            "counts": counts.tolist(),
            "by_channel": [np.histogram(seen[:, c], bins=edges)[0].tolist() for c in shown] if same else None,
        },
        "formula": formula(site),
        "formulas": [formula(site, channel=c) for c in shown],
    }


def _spread(channels: int) -> list[int]:
    """The channels whose curves are kept: the first, and others spread evenly, so that groups of equal neighbours all show."""
    count = min(channels, CHANNELS)
    return [i * channels // count for i in range(count)]


def _columns(curves: Tensor, shown: list[int]) -> Iterator[Tensor]:
    return iter(curves.to(torch.float64)[:, shown].T)


def _numbers(values: Tensor) -> list[float | None]:
    return [rounded(v) for v in values.tolist()]
