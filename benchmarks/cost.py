"""What an activation costs: its time over ReLU's on this machine, measured side by side, for the gallery.

python benchmarks/cost.py               every entry into docs/cost.json; about four seconds an entry
python benchmarks/cost.py --only gelu   some; the others stay as they are

One float32 tensor of shape (64, 64, 16, 16), 64 channels, training mode, one thread. Each round times ReLU and the entry; the ratio is of
the smallest times over the rounds, which other work on the machine disturbs least. Run it where nothing else runs all the same: ReLU's own
ratio, which is there too, says how far from 1 this machine's noise reaches.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

OUT = Path(__file__).parents[1] / "docs" / "cost.json"
COMMAND = "python benchmarks/cost.py"
SHAPE = (64, 64, 16, 16)


def seconds(module: nn.Module, x: Tensor, weight: Tensor, backward: bool) -> float:
    """One forward pass, and the gradient of Σ weight·f(x) if asked for."""
    start = time.perf_counter()
    if backward:
        module(x).backward(weight)
        x.grad = None
        module.zero_grad()
    else:
        with torch.no_grad():
            module(x)
    return time.perf_counter() - start


def ratio(module: nn.Module, rounds: int, backward: bool) -> float:
    """The module's smallest time over ReLU's, timed in turns."""
    x = torch.randn(SHAPE, requires_grad=backward)
    weight = torch.randn(SHAPE)
    timed = [[seconds(m, x, weight, backward) for m in (module, nn.ReLU())] for _ in range(rounds)]
    return min(own for own, _ in timed) / min(relu for _, relu in timed)


def machine() -> str:
    """The processor's name, as the system knows it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", default="", metavar="A,B")
    parser.add_argument("--rounds", type=int, default=31)
    given = parser.parse_args()

    import slaf
    from slaf.core import split
    from slaf.plot import example

    torch.set_num_threads(1)
    torch.manual_seed(0)
    kept: dict[str, Any] = json.loads(given.out.read_text(encoding="utf-8"))["entries"] if given.out.exists() else {}
    chosen = split(given.only) or slaf.list()
    entries = {n: kept[n] for n in slaf.list() if n in kept}
    for n, name in enumerate(chosen, 1):
        module = slaf.make(example(name), num_channels=SHAPE[1])
        entries[name] = {key: round(ratio(module, given.rounds, key != "forward"), 3) for key in ("forward", "forward_backward")}
        print(f"[{n}/{len(chosen)}] {name}: {entries[name]}", file=sys.stderr, flush=True)
    about = {"command": COMMAND, "machine": machine(), "torch": torch.__version__.partition("+")[0], "shape": SHAPE}
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(entries.items()))
    head = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in about.items())
    temporary = given.out.with_suffix(".part")
    temporary.write_text(f'{{\n{head},\n "entries": {{\n{lines}\n }}\n}}\n', encoding="utf-8")
    temporary.replace(given.out)
    print(f"{len(entries)} entries; wrote {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
