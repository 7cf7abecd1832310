"""Speed-up of N Dask workers over one on the same trials: OMP_NUM_THREADS=1 python benchmarks/cluster.py [--workers 2] [--repeats 5]

Starts two clusters on this machine, of one worker and of N, warms both up, and runs the same plan on each in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from slaf.compare import Plan, make_plan, processors, run_plan
from slaf.compare.cluster import Cluster, connect

FULL, SHARE = 60.0, 0.9


@contextmanager
def dask(workers: int, folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and its workers on this machine: its address, and all processes, which end with the context."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "scheduler.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> None:
        with open(folder / "dask.log", "ab") as log:
            command = [sys.executable, "-m", "dask", *words]
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment))

    try:
        start("scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file))
        end = time.monotonic() + FULL
        while not (file.exists() and file.read_text().strip().endswith("}")):
            if processes[0].poll() is not None or time.monotonic() > end:
                raise SystemExit(f"no scheduler: {(folder / 'dask.log').read_text()}")
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        for _ in range(workers):
            start("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(folder))
        yield address, processes
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def seconds(plan: Plan, cluster: Cluster) -> float:
    """How long the whole plan takes on a cluster that is connected."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run_plan(plan, folder, executor=cluster)
        return time.perf_counter() - started


def used(processes: Sequence[psutil.Process]) -> float:
    """Processor seconds that they have taken."""
    return sum(sum(p.cpu_times()[:2]) for p in processes)


def busy() -> float:
    """Processor seconds that the machine has worked."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=80, help="of the digits study: one to two seconds")
    given = parser.parse_args()
    plan, warm = (
        make_plan("digits", ["relu"], seeds, "small", {"epochs": given.epochs}, identity=False)
        for seeds in (range(given.trials), range(1000, 1000 + 3 * given.workers))
    )
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        clusters, processes = {}, [psutil.Process()]
        for workers in (1, given.workers):
            address, started = stack.enter_context(dask(workers, base / str(workers)))
            processes += [psutil.Process(p.pid) for p in started]
            clusters[workers] = stack.enter_context(connect(address, timeout=FULL))
        for cluster in clusters.values():
            seconds(warm, cluster)
        ratios, loads = [], []
        for repeat in range(given.repeats):
            before = time.perf_counter(), used(processes), busy()
            order = sorted(clusters, reverse=bool(repeat % 2))
            took = {workers: seconds(plan, clusters[workers]) for workers in order}
            elapsed, ours, all_busy = (b - a for a, b in zip(before, (time.perf_counter(), used(processes), busy()), strict=True))
            ratios.append(took[1] / took[given.workers])
            others = max(0.0, all_busy - ours) / elapsed
            loads.append(others)
            print(
                f"1 worker {took[1]:.2f} s, {given.workers} workers {took[given.workers]:.2f} s: {ratios[-1]:.2f}; "
                f"other processes kept {others:.2f} of {processors()} processors busy",
                flush=True,
            )
    goal = f"{SHARE} × {given.workers} is {SHARE * given.workers:.2f}"
    note = "" if max(loads) < 0.1 else "; the machine had other work, so measure again"
    print(f"speed-up of {given.workers} workers over one: {statistics.median(ratios):.2f} (median of {given.repeats}; {goal}){note}")


if __name__ == "__main__":
    main()
