"""A small neural field: one layer of Gaussian units against dense layers with ReLU, reading the same grid of features.

python benchmarks/neural_field.py            five paired seeds, half a minute
python benchmarks/neural_field.py --quick    two seeds, few steps: checks that everything runs, says nothing

A procedural image of 64×64 pixels and three channels in [-1, 1] is fitted from coordinates through a learned 16×16 grid of 8 features,
read bilinearly, by Adam over all pixels at once. The rate of each decoder is chosen on seeds that are not counted. Shown is the peak
signal-to-noise ratio in dB of the fit (range 2), per seed and in the mean, with the parameters of the decoder and the time of a fit.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slaf.compare.table import bootstrap
from slaf.layers import RBFNetwork

FEATURES, GRID, SIZE = 8, 16, 64
RATES = (0.005, 0.01, 0.02, 0.05, 0.1)
CHOOSING = (100, 101)
DECODERS: dict[str, Callable[[], nn.Module]] = {
    "32 Gaussian units": lambda: RBFNetwork(FEATURES, 32, 3),
    "ReLU 32-32-32": lambda: nn.Sequential(
        nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)
    ),
}


def image() -> tuple[Tensor, Tensor]:
    """Coordinates (4096, 2) in [-1, 1] and colours (4096, 3): smooth waves, rings and an edge."""
    line = torch.linspace(-1, 1, SIZE)
    y, x = torch.meshgrid(line, line, indexing="ij")
    waves = torch.sin(6 * x + 3 * torch.sin(4 * y))
    rings = torch.cos(12 * torch.hypot(x - 0.3, y + 0.2))
    edge = torch.tanh(20 * (x + 0.5 * y - 0.2))
    return torch.stack([x, y], -1).reshape(-1, 2), torch.stack([waves, rings, edge], -1).reshape(-1, 3)


class Field(nn.Module):
    """A grid of features, read bilinearly, and its decoder."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.grid = nn.Parameter(0.1 * torch.randn(1, FEATURES, GRID, GRID))
        self.decoder = decoder

    def forward(self, at: Tensor) -> Tensor:
        read = F.grid_sample(self.grid, at[None, None], align_corners=True)
        return self.decoder(read[0, :, 0].mT)


def fitted(make: Callable[[], nn.Module], seed: int, rate: float, steps: int) -> tuple[float, float]:
    """The ratio in dB and the seconds; equal seeds have equal grids."""
    torch.manual_seed(seed)
    grid = 0.1 * torch.randn(1, FEATURES, GRID, GRID)
    field = Field(make())
    with torch.no_grad():
        field.grid.copy_(grid)
    at, colour = image()
    optimizer = torch.optim.Adam(field.parameters(), rate)
    start = time.perf_counter()
    for _ in range(steps):
        loss = F.mse_loss(field(at), colour)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        error = F.mse_loss(field(at), colour)
    return float(10 * torch.log10(4 / error)), time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds, 20 steps")
    given = parser.parse_args()
    torch.set_num_threads(1)
    seeds, steps = (range(2), 20) if given.quick else (range(5), 500)
    print(f"{'decoder':<20}{'parameters':>11}{'rate':>7}{'mean dB':>9}   by seed{'':<28}seconds")
    ratios = []
    for name, make in DECODERS.items():
        rate = max(RATES, key=lambda r, make=make: statistics.fmean(fitted(make, seed, r, steps)[0] for seed in CHOOSING))  # type: ignore[misc]
        found = [fitted(make, seed, rate, steps) for seed in seeds]
        ratios.append([dB for dB, _ in found])
        by_seed = "  ".join(f"{dB:.1f}" for dB, _ in found)
        count = sum(p.numel() for p in make().parameters())
        mean, seconds = (statistics.fmean(column) for column in zip(*found, strict=True))
        print(f"{name:<20}{count:>11,}{rate:>7g}{mean:>9.1f}   {by_seed:<35}{seconds:.2f}")
    differences = [a - b for a, b in zip(*ratios, strict=True)]
    low, high = bootstrap(differences)
    print(f"difference, paired: {statistics.fmean(differences):+.1f} dB, 95 % interval {low:+.1f} to {high:+.1f} (bootstrap over seeds)")


if __name__ == "__main__":
    main()
