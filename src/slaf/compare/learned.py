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

from .build import Built

__all__ = ["describe_sites", "rounded"]

POINTS, BINS, CHANNELS, SAMPLE = 161, 48, 8, 200_000
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
    """The finite inputs of every site, thinned evenly to at most about ``SAMPLE`` numbers."""
    parts: dict[str, list[Tensor]] = {name: [] for name in sites}
    batches = inputs.split(4096)

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            flat = args[0].detach().reshape(-1)
            parts[name].append(flat[:: max(1, flat.numel() * len(batches) // SAMPLE)].to(torch.float64).cpu())

        return hook

    handles = [site.register_forward_pre_hook(keep(name)) for name, site in sites.items()]
    try:
        for batch in batches:
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    joined = {name: torch.cat(p).numpy() for name, p in parts.items() if p}
    return {name: x[np.isfinite(x)] for name, x in joined.items()}


def _describe(site: Activation, initial: dict[str, Tensor], seen: np.ndarray) -> dict[str, Any] | None:
    if len(seen) == 0:
        return None
    low, high = (float(q) for q in np.quantile(seen, [(1 - CENTRAL) / 2, (1 + CENTRAL) / 2]))
    if high - low < 1e-6 * max(1.0, abs(low)):
        low, high = low - 1.0, high + 1.0
    before = copy.deepcopy(site)
    before.load_state_dict({**site.state_dict(), **initial})  # first parameters, final statistics: only what was learned differs
    parameter = next(site.parameters())
    x = torch.linspace(low, high, POINTS, dtype=torch.float64).to(parameter.device, parameter.dtype)
    try:
        curves_before, curves_after = before.curves(x), site.curves(x)
    except SlafError:
        return None  # not a function of one number, so there is no curve
    counts, edges = np.histogram(seen, bins=BINS, range=(low, high))
    return {
        "activation": repr(site),
        "channels": curves_after.shape[1],
        "x": _numbers(x),
        "before": [_numbers(column) for column in _columns(curves_before)],
        "after": [_numbers(column) for column in _columns(curves_after)],
        "histogram": {"edges": [rounded(float(e)) for e in edges], "counts": [int(c) for c in counts]},
        "formula": formula(site),
    }


def _columns(curves: Tensor) -> Iterator[Tensor]:
    return iter(curves.to(torch.float64)[:, :CHANNELS].T)


def _numbers(values: Tensor) -> list[float | None]:
    return [rounded(v) for v in values.tolist()]
