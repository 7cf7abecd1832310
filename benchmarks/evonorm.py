"""What EvoNorm costs: forward and backward, paired with BatchNorm2d + SiLU, and with its formula in eager torch.

python benchmarks/evonorm.py                (32, 64, 32, 32), one thread
python benchmarks/evonorm.py --threads 2    and with two
python benchmarks/evonorm.py --quick        tiny: checks that everything runs, says nothing about time

Every sample stands beside a fresh one of BatchNorm2d + SiLU; shown are the median of the ratios and its 95 % interval by bootstrap.
``saved`` is what autograd keeps for backward beside the parameters, the input = 1. The allocator is kept warm.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

import slaf

sys.path.insert(0, str(Path(__file__).parent))
from _speed.allocator import start_warm
from _speed.measure import compare, contender, interval, saved_bytes

GROUPS, EPS = 32, 1e-5


class Eager(nn.Module):
    """The formula as torch computes it step by step."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain, self.v = (nn.Parameter(torch.ones(channels, 1, 1)) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))


class EagerS0(Eager):
    def forward(self, x: Tensor) -> Tensor:
        groups = x.unflatten(1, (GROUPS, -1))
        deviation = (groups.var((2, 3, 4), correction=0, keepdim=True) + EPS).sqrt().expand_as(groups).flatten(1, 2)
        return x * torch.sigmoid(self.v * x) / deviation * self.gain + self.bias


class EagerB0(Eager):
    def forward(self, x: Tensor) -> Tensor:
        batch = (x.var((0, 2, 3), correction=0, keepdim=True) + EPS).sqrt()
        own = (x.var((2, 3), correction=0, keepdim=True) + EPS).sqrt()
        return x / torch.maximum(batch, self.v * x + own) * self.gain + self.bias


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="tiny shapes")
    given = parser.parse_args()
    if not given.quick:
        start_warm()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    shape = (2, 64, 2, 2) if given.quick else (32, 64, 32, 32)
    x, weight = torch.randn(shape).requires_grad_(), torch.randn(shape)
    base = nn.Sequential(nn.BatchNorm2d(64), nn.SiLU())
    modules = {
        "evonorm_s0": slaf.make("evonorm_s0", num_channels=64),
        "evonorm_b0": slaf.make("evonorm_b0", num_channels=64),
        "S0 in eager torch": EagerS0(64),
        "B0 in eager torch": EagerB0(64),
    }
    torch.testing.assert_close(modules["evonorm_s0"](x), modules["S0 in eager torch"](x))
    torch.testing.assert_close(modules["evonorm_b0"](x), modules["B0 in eager torch"](x))
    timed = [contender(name, module, x, weight, 1) for name, module in modules.items()]
    for each in timed:
        each.against = {"base": contender("base", base, x, weight, 1)}
    compare(timed, time.process_time if given.threads == 1 else time.perf_counter, 2 if given.quick else 15, 4.0)
    print(f"{'BatchNorm2d + SiLU = 1':24}{'ms':>8}{'ratio':>8}{'95 %':>16}{'saved':>8}")
    print(f"{'BatchNorm2d + SiLU':56}{saved_bytes(base, x) / x.nbytes:8.2f}")
    for each in timed:
        middle, low, high = interval([s["own"] / s["base"] for s in each.samples])
        ms = 1e3 * statistics.median(s["own"] for s in each.samples)
        print(f"{each.name:24}{ms:8.2f}{middle:8.2f}{low:9.2f} -{high:5.2f}{saved_bytes(modules[each.name], x) / x.nbytes:8.2f}")


if __name__ == "__main__":
    main()
