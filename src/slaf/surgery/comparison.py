"""What a swap changed: the old and the new function of every site side by side, on the inputs that the old model gives them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .drift import Drift
from .fitting.fit_to import Fitted
from .pairs import Normed
from .site import Site, aligned

__all__ = ["Compared", "SiteDrift", "SwapReport"]


@dataclass(frozen=True)
class SiteDrift:
    """What became of one site, on the held-out inputs that it gets in the old model.

    Attributes:
        name, kind: of the :class:`Site`.
        activation: the string of the new one.
        interval: of the fit.
        outside: how it goes on beyond it.
        drift: ‖new(x) - old(x)‖/‖old(x) - mean‖.
        max_error: max |new(x) - old(x)|.
        outside_share: the share of inputs beyond the interval.
    """

    name: str
    kind: str
    activation: str
    interval: tuple[float, float]
    outside: str
    drift: float
    max_error: float
    outside_share: float

    @classmethod
    def of(cls, site: Site, fitted: Fitted, compared: Compared) -> SiteDrift:
        """From what was measured."""
        drift, largest, beyond = compared.result()
        return cls(site.name, site.kind, fitted.spec, (fitted.low, fitted.high), fitted.outside, drift, largest, beyond)


@dataclass(frozen=True)
class SwapReport:
    """What a swap changed: every site, the model's output, and what could not be swapped."""

    sites: tuple[SiteDrift, ...]
    output: Drift
    held_out: bool
    missed: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "sites": [asdict(site) for site in self.sites],
            "output": self.output.to_dict(),
            "held_out": self.held_out,
            "missed": list(self.missed),
        }

    def __str__(self) -> str:
        """A table at most 120 columns wide, and the output; ``beyond`` is the share of inputs outside the interval."""
        heads = ("site", "old", "new", "drift", "largest", "interval", "beyond", "outside")
        lines = aligned([heads, *map(_row, self.sites)], left=(0, 1, 2))
        where = "held-out inputs" if self.held_out else "the example itself (give several batches, or held_out=, for a fair number)"
        lines.append(f"output on {where}: {self.output}")
        lines.extend(f"not swapped: {missed}" for missed in self.missed)
        return "\n".join(lines)


def _row(s: SiteDrift) -> tuple[str, ...]:
    interval = f"[{s.interval[0]:.3g}, {s.interval[1]:.3g}]"
    new = s.activation if len(s.activation) <= 24 else f"{s.activation[:23]}…"  # all of it is in the recipe
    return (s.name, s.kind, new, f"{s.drift:.2e}", f"{s.max_error:.2e}", interval, f"{s.outside_share:.1%}", s.outside)


class Compared(nn.Module):
    """Computes the old function, and how far the new one is from it, in float64 sums."""

    def __init__(self, old: Any, new: nn.Module, interval: tuple[float, float], normed: Normed | None = None) -> None:
        super().__init__()
        self.old, self.new, self.interval = [old], new, interval  # a list, so that the old one is not registered
        self.normed = normed
        self.sums = torch.zeros(5, dtype=torch.float64)
        self.largest = torch.zeros((), dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        raw = x  # what the new one takes: where it normalises too, what the batch norm takes
        if self.normed is not None:
            raw, x = self.normed.x, self.normed.result
        y = self.old[0](x)
        with torch.no_grad():
            old, new = y.double(), self.new(raw).double()
            beyond = ((x < self.interval[0]) | (x > self.interval[1])).sum()
            error = (new - old).abs()
            self.sums += torch.stack([error.square().sum(), old.sum(), old.square().sum(), torch.tensor(old.numel()), beyond]).cpu()
            self.largest.clamp_(min=float(error.max()) if error.numel() else 0.0)  # in place: attributes are restored after a run
        return y

    def result(self) -> tuple[float, float, float]:
        """Drift, largest error and the share of inputs outside the interval."""
        error, total, square, count, beyond = self.sums.tolist()
        spread = max(square - total**2 / max(count, 1), 0.0)
        return (error / spread) ** 0.5 if spread else float(error > 0), float(self.largest), beyond / max(count, 1)
