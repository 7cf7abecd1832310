"""What `import slaf` and the first `slaf.make` add to `import torch`: python benchmarks/import_time.py [--runs 9]

Fresh interpreters in turn, medians.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

PROGRAM = "import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
AFTER_TORCH = (
    "import torch, numpy, sys, time; before = set(sys.modules); t = time.perf_counter(); import slaf; slaf.make('gelu'); "
    "print(time.perf_counter() - t); print(sorted({m.partition('.')[0] for m in set(sys.modules) - before}), file=sys.stderr)"
)


def run(program: str) -> tuple[float, str]:
    """Seconds that the program prints, and what it wrote to standard error."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(done.stdout), done.stderr.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    torch_seconds, slaf_seconds, modules = [], [], ""
    run(AFTER_TORCH)  # warm the file cache
    for _ in range(runs):
        torch_seconds.append(run(PROGRAM.format(module="torch"))[0])
        seconds, modules = run(AFTER_TORCH)
        slaf_seconds.append(seconds)
    print(f"import torch: {1000 * statistics.median(torch_seconds):.0f} ms (median of {runs})")
    middle, most = 1000 * statistics.median(slaf_seconds), 1000 * max(slaf_seconds)
    print(f"import slaf and slaf.make('gelu') after it: {middle:.1f} ms, largest {most:.1f} ms")
    print(f"packages that they add: {modules}")


if __name__ == "__main__":
    main()
