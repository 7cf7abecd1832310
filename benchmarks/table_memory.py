"""Memory and time of `slaf compare table` on tables of 1,400 and 500,000 rows: python benchmarks/table_memory.py [--rows N …]

Makes each table (numbers, categories, gaps; a target that depends on them), runs the command on it in processes of its own, and samples
the memory of all of them together ten times a second: resident memory, and its proportional share (PSS), which counts shared pages once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

LIMIT = 2 * 2**30


def write_table(path: Path, rows: int, seed: int = 0) -> None:
    """12 numeric columns, 3 categorical ones, 2 % of the values missing, and a target with noise."""
    import pandas

    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(rows, 12)).round(4)
    town, kind = rng.integers(0, 40, rows), rng.integers(0, 5, rows)
    target = np.sin(2 * numbers[:, 0]) + numbers[:, 1] * numbers[:, 2] + 0.3 * kind + 0.1 * rng.normal(size=rows)
    frame = pandas.DataFrame({f"x{i}": numbers[:, i] for i in range(12)})
    frame = frame.mask(rng.random(frame.shape) < 0.02)
    frame["town"] = np.char.add("town ", town.astype(str))
    frame["kind"] = np.array(list("abcde"))[kind]
    frame["member"] = np.where(rng.random(rows) < 0.5, "yes", "no")
    frame["target"] = target.round(4)
    frame.to_csv(path, index=False)


def memory(root: psutil.Process) -> tuple[int, int]:
    """(resident, proportional) bytes of a process and all below it."""
    resident = proportional = 0
    for process in (root, *root.children(recursive=True)):
        try:
            info = process.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        resident += info.rss
        proportional += getattr(info, "pss", info.rss)
    return resident, proportional


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_400, 500_000])
    parser.add_argument("--workers", default="2")
    parser.add_argument("-a", "--activations", default="relu,gelu,slaf")
    parser.add_argument("--seeds", default="2")
    given = parser.parse_args()
    bad = False
    for rows in given.rows:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.csv"
            write_table(path, rows)
            words = ["-m", "slaf", "compare", "table", "--data", str(path), "--target", "target", "-a", given.activations]
            words += ["--seeds", given.seeds, "--workers", given.workers, "--out", str(Path(folder) / "run")]
            started = time.monotonic()
            process = psutil.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
            most = [0, 0]
            while process.poll() is None:
                try:
                    most = [max(a, b) for a, b in zip(most, memory(process), strict=True)]
                except psutil.NoSuchProcess:
                    break
                time.sleep(0.1)
            told = process.stdout.read()
            size = path.stat().st_size
        print(told)
        over = most[0] > LIMIT or process.returncode != 0
        bad = bad or over
        print(
            f"{rows:,} rows ({size / 1e6:.1f} MB): exit code {process.returncode}, {time.monotonic() - started:.0f} s, at most "
            f"{most[0] / 2**20:,.0f} MiB resident, {most[1] / 2**20:,.0f} MiB proportional in all processes{' OVER 2 GiB' if over else ''}",
            flush=True,
        )
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
