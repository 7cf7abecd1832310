"""What folded forms cost: forward alone, and with backward, by the kernels and by their definitions, each paired with nn.ReLU.

python benchmarks/folded.py                (32, 64, 32, 32), one thread
python benchmarks/folded.py --threads 2    and with two
python benchmarks/folded.py --quick        tiny: checks that everything runs, says nothing about time

Every sample stands beside a fresh one of nn.ReLU; shown are medians: milliseconds, and the ratio with its 95 % interval by bootstrap.
The allocator is kept warm. Forward alone runs under ``torch.no_grad()``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

import slaf
from slaf.core import Sharing
from slaf.kernels import use
from slaf.surgery.folded_per_channel import per_channel

sys.path.insert(0, str(Path(__file__).parent))
from _speed.allocator import start_warm
from _speed.measure import Contender, compare, interval

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "piecewise_linear, 32": ("piecewise_linear", {}),
    "piecewise_linear, 1000": ("piecewise_linear", {"pieces": 1000}),
    "piecewise_polynomial, 8, degree 3": ("piecewise_polynomial", {}),
    "piecewise_polynomial, 60, degree 3": ("piecewise_polynomial", {"pieces": 60}),
    "polynomial, degree 7": ("polynomial", {}),
    "polynomial, degree 15": ("polynomial", {"degree": 15}),
    "int8": ("int8", {}),
}


def modules() -> dict[str, nn.Module]:
    """GELU folded, and 64 channels of four functions."""
    own: dict[str, nn.Module] = {name: slaf.fold("gelu", to=to, **options) for name, (to, options) in FORMS.items()}
    four = [slaf.fold(f, to="piecewise_linear") for f in ("gelu", "silu", "tanh", "mish")]
    return own | {"piecewise_linear, 32, by channel": per_channel(four, torch.arange(64) % 4, Sharing("channel", 64))}


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

    def steps(act: nn.Module, reference: bool) -> dict[str, Callable[[], Any]]:
        def forward() -> None:
            with torch.no_grad(), use("reference") if reference else nullcontext():
                act(x)

        def both() -> None:
            with use("reference") if reference else nullcontext():
                torch.autograd.grad(act(x), x, weight)

        return {"forward": forward, "both": both}

    clock = time.process_time if given.threads == 1 else time.perf_counter
    base = {what: Contender("relu", step) for what, step in steps(nn.ReLU(), False).items()}
    timed = {}
    for name, act in {"nn.ReLU": nn.ReLU(), **modules()}.items():
        for reference in (False, True) if name != "nn.ReLU" else (False,):
            for what, step in steps(act, reference).items():
                timed[name, reference, what] = Contender(name, step, against={"relu": base[what]})
    compare(list(timed.values()), clock, 2 if given.quick else 15, 2.0)
    print(f"{'':36}{'':26}{'ms':>8}{'× ReLU':>8}{'95 %':>16}")
    for (name, reference, what), each in timed.items():
        middle, low, high = interval([s["own"] / s["relu"] for s in each.samples])
        ms = 1e3 * statistics.median(s["own"] for s in each.samples)
        how = ("definition, " if reference else "") + ("forward" if what == "forward" else "and backward")
        print(f"{name:36}{how:26}{ms:8.2f}{middle:8.2f}{low:9.2f} -{high:6.2f}")


if __name__ == "__main__":
    main()
