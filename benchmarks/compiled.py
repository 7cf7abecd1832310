"""What torch.compile makes of the learned families: forward and backward with all gradients, by Inductor.

python benchmarks/compiled.py                (32, 64, 32, 32), (8192, 1024) and (32, 64), one thread
python benchmarks/compiled.py --threads 2    and with two
python benchmarks/compiled.py --quick        tiny, without Inductor: checks that everything runs, says nothing about time

``eager`` is the module as it is; ``operator`` its compiled graph, in which the kernels are one operator, here for small tensors too;
``definition`` is the graph that Inductor makes of the plain torch operations, compiled inside ``slaf.kernels.use("reference")``. Every
sample stands beside fresh ones of nn.ReLU and the others; shown are median milliseconds, the median of the ratios of definition to operator
and its 95 % interval by bootstrap, and what autograd keeps for backward of either beside the parameters, the input = 1. A first run takes
minutes, in which a C++ compiler works; after that Inductor's cache has its results. The allocator is kept warm.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slaf.kernels import compiled, use

sys.path.insert(0, str(Path(__file__).parent))
from _speed.allocator import start_warm
from _speed.cases import OURS, build
from _speed.measure import Contender, compare, contender, interval, saved_bytes

NAMES = "power_5,power_9,rational,piecewise_linear,spline,bspline,rbf,apl,slaf,power_5_batch,evonorm_s0"
SHAPES = {"4d": (32, 64, 32, 32), "2d": (8192, 1024), "small": (32, 64)}
TINY = {"4d": (2, 8, 16, 16), "2d": (4, 8), "small": (3, 8)}
COLUMNS = ("relu", "eager", "operator", "definition")


class Definition(nn.Module):
    """A module of its own for Dynamo, which else finds the graph of the other copy."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        return self.inner(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default=NAMES, help=f"some of {', '.join(OURS)}, with commas")
    parser.add_argument("--shapes", default=",".join(SHAPES), help="some of them, with commas")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each row")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, without Inductor")
    given = parser.parse_args()
    if not given.quick:
        start_warm()
    torch.set_num_threads(given.threads)
    compiled.LEAST = 1
    for which in given.shapes.split(","):
        shape = (TINY if given.quick else SHAPES)[which]
        print(
            f"\n{shape}, {given.threads} thread(s)\n{'ms':18}" + "".join(f"{c:>11}" for c in COLUMNS),
            "   ratio      95 %     saved",
            flush=True,
        )
        for name in given.only.split(","):
            print(row(name, shape, given), flush=True)


def row(name: str, shape: tuple[int, ...], given: argparse.Namespace) -> str:
    torch.manual_seed(0)
    torch._dynamo.reset()
    x, weight = torch.randn(shape).requires_grad_(), torch.randn(shape)
    act = build(name, shape[1], len(shape)).train()
    backend = "aot_eager" if given.quick else "inductor"
    modules: dict[str, nn.Module] = {"eager": act, "relu": nn.ReLU()}
    copies = {"operator": copy.deepcopy(act), "definition": Definition(copy.deepcopy(act))}
    modules |= {k: torch.compile(m, fullgraph=True, backend=backend) for k, m in copies.items()}  # type: ignore[misc]
    with use("reference"):
        modules["definition"](x)
    calls = 20 if x.numel() < 1 << 16 else 1
    timed: dict[str, Contender] = {k: contender(k, m, x, weight, calls) for k, m in modules.items()}
    first = timed.pop("operator")
    first.against = timed
    compare([first], time.process_time if given.threads == 1 else time.perf_counter, 2 if given.quick else 60, given.seconds)
    ms = {k: 1e3 * statistics.median(s["own" if k == "operator" else k] for s in first.samples) for k in COLUMNS}
    middle, low, high = interval([s["definition"] / s["own"] for s in first.samples])
    kept = [saved_bytes(modules[k], x) / x.nbytes for k in ("operator", "definition")]
    return f"{name:18}" + "".join(f"{ms[c]:11.3f}" for c in COLUMNS) + f"{middle:9.2f}{low:8.2f} –{high:6.2f}{kept[0]:6.2f}{kept[1]:6.2f}"


if __name__ == "__main__":
    main()
