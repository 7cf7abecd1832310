"""What Kolmogorov–Arnold layers cost: forward and backward, paired with the bare matrix product of the expanded input.

python benchmarks/kan.py                   64 → 64 at batch 1024 and 784 → 64 at batch 256, one thread
python benchmarks/kan.py --threads 2       and with two
python benchmarks/kan.py --quick           tiny: checks that everything runs, says nothing about time
python benchmarks/kan.py --peers FOLDER    other libraries where they are found in FOLDER:

pip install --no-deps --target FOLDER pykan==0.2.8        (it imports scikit-learn, pandas, sympy, tqdm, pyyaml and matplotlib)
efficient-kan and fast-kan are not on PyPI: put their packages efficient_kan and fastkan into FOLDER (github.com/Blealtan/efficient-kan at
7b6ce1c, github.com/ZiyaoLi/fast-kan at 17b6540)

A step is the forward pass and the gradients of the input and of all parameters. In every round all rows run once in random order, each
after a pass that is not counted; taken are medians of the ratios to the product of the same round, which is (batch, inputs·(K + 1)) by
(inputs·(K + 1), outputs) for grid 5, order 3 and SiLU, with the gradients of both. One thread: processor time; more: wall time. ``saved``
is what autograd keeps for backward beside the parameters, the input = 1. The allocator is kept warm (MALLOC_MMAP_THRESHOLD_, …). Where
its tensors come to lie moves the time of a step by a third from process to process, so there are several, and medians of theirs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slaf.layers import KANLinear

sys.path.insert(0, str(Path(__file__).parent))
from _speed.allocator import WARM

SHAPES = [(64, 64, 1024), (784, 64, 256)]
COLUMNS = 8
SLOW = "pykan"
GOALS = {"efficient-kan": 5.0, "fast-kan": 1.8, "pykan KANLayer": 15.0}
"""How many times faster than each the spline layer is meant to be."""


def peers(inputs: int, outputs: int) -> dict[str, Callable[[], nn.Module]]:
    """The layers of other libraries, those of one that is not there missing."""
    found: dict[str, Callable[[], nn.Module]] = {}
    try:
        from efficient_kan import KANLinear as Efficient

        found["efficient-kan"] = lambda: Efficient(inputs, outputs)
    except ImportError:
        pass
    try:
        from fastkan import FastKANLayer

        found["fast-kan"] = lambda: FastKANLayer(inputs, outputs)
    except ImportError:
        pass
    try:
        from kan.KANLayer import KANLayer

        class Layer(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = KANLayer(inputs, outputs, num=5, k=3)

            def forward(self, x: Tensor) -> Any:
                return self.layer(x)[0]

        found["pykan KANLayer"] = Layer
    except ImportError:
        pass
    return found


class Product(nn.Module):
    """The bare matrix product."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) / inputs**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def rows(inputs: int, outputs: int) -> dict[str, Callable[[], nn.Module]]:
    """Every row by its name; the product first."""
    slaf = {f"slaf B-spline, grid {grid}": lambda grid=grid: KANLinear(inputs, outputs, grid=grid) for grid in (5, 8, 64)}
    others = {
        "slaf Chebyshev, degree 4": lambda: KANLinear(inputs, outputs, "chebyshev", degree=4, base=None),
        "slaf RBF, 8": lambda: KANLinear(inputs, outputs, "rbf", terms=8),
        "nn.Linear + SiLU": lambda: nn.Sequential(nn.Linear(inputs, outputs), nn.SiLU()),
    }
    return {"product": lambda: Product(COLUMNS * inputs, outputs)} | slaf | others | peers(inputs, outputs)


def saved_bytes(module: nn.Module, x: Tensor) -> int:
    """What autograd keeps, each memory once, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()} | {b.untyped_storage().data_ptr() for b in module.buffers()}
    kept: dict[int, int] = {}

    def keep(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        module(x)
    return sum(kept.values())


def seconds(module: nn.Module, x: Tensor, g: Tensor, clock: Callable[[], float], repeat: int) -> float:
    """Of one step."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    best = []
    for number in range(2):
        start = clock()
        for _ in range(repeat):
            torch.autograd.grad(module(x), (x, *parameters), g, allow_unused=True)
        if number:
            best.append((clock() - start) / repeat)
    return best[0]


def measured(shape: tuple[int, int, int], rounds: int, threads: int) -> dict[str, list[float]]:
    """Of one shape, by row: ms, the ratios to the product and to grid 5, medians all, and what is saved; and ``growth`` of the grid."""
    inputs, outputs, batch = shape
    made = {name: make() for name, make in rows(inputs, outputs).items()}
    x, g = 2 * torch.rand(batch, inputs) - 1, torch.randn(batch, outputs)
    given = {name: (torch.randn(batch, COLUMNS * inputs) if name == "product" else x.clone()).requires_grad_() for name in made}
    clock = time.process_time if threads == 1 else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in made}
    ratios: dict[str, list[float]] = {name: [] for name in made}
    for number in range(rounds):
        names = [n for n in made if not n.startswith(SLOW) or number < 1]
        random.shuffle(names)
        once = {n: seconds(made[n], given[n], g, clock, 1 if n.startswith(SLOW) else 3) for n in names}
        for name, value in once.items():
            taken[name].append(value)
            ratios[name].append(value / once["product"])
    ours, median = taken["slaf B-spline, grid 5"], statistics.median
    found = {}
    for name, module in made.items():
        kept = saved_bytes(module, x.clone().requires_grad_() if name != "product" else given[name]) / (4 * x.numel())
        faster = median(t / o for t, o in zip(taken[name], ours, strict=False))
        found[name] = [1e3 * median(taken[name]), median(ratios[name]), faster, kept]
    growth = zip(taken["slaf B-spline, grid 64"], taken["slaf B-spline, grid 8"], strict=True)
    return found | {"growth": [median(a / b for a, b in growth)]}


def show(shape: tuple[int, int, int], found: list[dict[str, list[float]]], threads: int) -> None:
    """One shape: medians over the processes, and the range of the ratio to the product."""
    inputs, outputs, batch = shape
    print(f"\n{inputs} -> {outputs}, batch {batch}, {threads} thread{'s' if threads > 1 else ''}, {len(found)} processes")
    print(f"{'':28}{'ms':>9}{'product = 1':>13}{'from - to':>13}{'grid 5 is':>13}{'saved':>8}")
    for name in found[0]:
        if name == "growth":
            continue
        ms, ratio, faster, kept = (statistics.median(values) for values in zip(*(f[name] for f in found), strict=True))
        ends = [f[name][1] for f in found]
        goal = f"   goal: {GOALS[name]:g} x faster" if name in GOALS else ""
        print(f"{name:28}{ms:9.2f}{ratio:13.2f}{min(ends):7.2f} -{max(ends):5.2f}{faster:11.2f} x{kept:8.2f}{goal}")
    growth = statistics.median(f["growth"][0] for f in found)
    print(f"64 intervals cost {growth:.2f} x those of 8 (goal: 1.5)")


def in_a_process(shape: tuple[int, int, int], given: argparse.Namespace) -> dict[str, list[float]]:
    """What a fresh process measures."""
    words = [sys.executable, __file__, "--threads", str(given.threads), "--rounds", str(given.rounds)]
    words += ["--only", ",".join(map(str, shape)), *(["--peers", str(given.peers)] if given.peers else [])]
    return json.loads(subprocess.run(words, env=os.environ | WARM, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="a folder with other libraries")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="in every process")
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny shapes, in this process")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # one shape, as JSON: what the fresh processes run
    given = parser.parse_args()
    if given.peers:
        sys.path.insert(0, str(given.peers))
    warnings.simplefilter("ignore")
    torch.set_num_threads(given.threads)
    if given.only:
        inputs, outputs, batch = map(int, given.only.split(","))
        print(json.dumps(measured((inputs, outputs, batch), given.rounds, given.threads)))
    elif given.quick:
        torch.manual_seed(0)
        show((4, 3, 8), [measured((4, 3, 8), 2, given.threads)], given.threads)
    else:
        for shape in SHAPES:
            show(shape, [in_a_process(shape, given) for _ in range(given.processes)], given.threads)


if __name__ == "__main__":
    main()
