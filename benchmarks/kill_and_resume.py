"""Nothing is lost and nothing runs twice when a driver is killed: OMP_NUM_THREADS=1 python benchmarks/kill_and_resume.py [--kills 10]

Runs one comparison without interruption, then the same in another folder whose driver is killed (SIGKILL) at random moments, while it
starts or while it trains, and started again with the same command until it ends by itself. Checks after every kill that no worker
process is left and that every stored trial is still there, and at the end that both folders hold the same trials, each once, with the
same numbers. With --cluster the trials run on Dask workers, which must outlive the driver. Exits with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from cluster import dask

PATIENCE = 30.0
"""Seconds that orphans are given to end."""


def stored(folder: Path) -> list[bytes]:
    """The whole lines of the results, oldest first."""
    file = folder / "results.jsonl"
    return file.read_bytes().split(b"\n")[:-1] if file.exists() else []


def by_key(lines: list[bytes]) -> dict[str, Any]:
    """What must not depend on interruptions, of every trial."""
    records = [json.loads(line) for line in lines]
    return {r["key"]: [r[n] for n in ("activation", "seed", "status", "metrics", "history", "learned")] for r in records}


def finish(command: list[str], folder: Path) -> tuple[float, float]:
    """Run to the end; the seconds until the first result and until the end."""
    started, first = time.monotonic(), None
    with subprocess.Popen([*command, "--out", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            if first is None and stored(folder):
                first = time.monotonic() - started
            time.sleep(0.02)
        if process.returncode:
            raise SystemExit(f"the command failed: {process.stderr.read() if process.stderr else ''}")
    total = time.monotonic() - started
    return first or total, total


def kill(command: list[str], folder: Path, results: int, moment: float) -> tuple[bool, int]:
    """Start a driver and kill it ``moment`` seconds after its start, or after as many new results: was it at work, how many it left."""
    before = len(stored(folder))
    with subprocess.Popen([*command, "--out", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and len(stored(folder)) < before + results:
            time.sleep(0.02)
        try:
            code = process.wait(moment)
        except subprocess.TimeoutExpired:
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
            left = psutil.wait_procs(children, timeout=PATIENCE)[1]
            for orphan in left:
                orphan.kill()
            return True, len(left)
        if code:
            raise SystemExit(f"the command failed: {process.stderr.read() if process.stderr else ''}")
    return False, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--study", default="digits")
    parser.add_argument("--activations", default="relu,slaf")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--budget", default="smoke")
    parser.add_argument(
        "-o", "--option", action="append", default=[], help="of the budget; if none, with the digits 60 epochs, about a second"
    )
    parser.add_argument("--cluster", action="store_true", help="on Dask workers")
    given = parser.parse_args()
    options = given.option or (["epochs=60"] if given.study == "digits" else [])
    words = ["-a", given.activations, "--seeds", str(given.seeds), "--budget", given.budget, *(w for o in options for w in ("-o", o))]
    command = [sys.executable, "-m", "slaf", "compare", given.study, *words]
    wrong: list[str] = []
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        there: list[Any] = []
        if given.cluster:
            address, there = stack.enter_context(dask(given.workers, base / "dask"))
            command += ["--cluster", address]
        else:
            command += ["--workers", str(given.workers)]
        first, total = finish(command, base / "whole")
        whole = stored(base / "whole")
        trial = statistics.median(json.loads(line)["cost"]["seconds"] for line in whole)
        print(f"uninterrupted: {len(whole)} trials of {trial:.1f} s (median) in {total:.0f} s, the first after {first:.1f} s", flush=True)
        moments = random.Random(given.seed)
        folder, kills = base / "killed", 0
        before: list[bytes] = []
        for number in range(1, given.kills + 1):
            results = moments.choice([0, 1, 1])
            moment = moments.uniform(0, trial if results else first)
            killed, orphans = kill(command, folder, results, moment)
            after = stored(folder)
            if after[: len(before)] != before:
                wrong.append(f"kill {number}: stored trials were lost or changed")
            if orphans:
                wrong.append(f"kill {number}: {orphans} processes outlived the driver")
            when = f"{moment:5.2f} s after {'the first new result' if results else 'its start'}"
            note = "" if killed else ", but it had ended"
            print(f"kill {number:2} {when}: {len(before)} → {len(after)} trials{note}", flush=True)
            before, kills = after, kills + killed
        finish(command, folder)
        after = stored(folder)
        if after[: len(before)] != before:
            wrong.append("the last run lost or changed stored trials")
        if kills < given.kills:
            wrong.append(f"only {kills} of {given.kills} kills hit a driver at work; take more seeds")
        if len(by_key(after)) != len(after):
            wrong.append("a trial is there twice")
        if by_key(after) != by_key(whole):
            wrong.append("trials or their numbers differ from the uninterrupted run")
        if not (folder / "report.html").exists():
            wrong.append("no report.html")
        wrong += [f"a process of the cluster ended with {p.returncode}" for p in there if p.poll() is not None]
    print(f"{kills} kills, {len(after)} trials: {'; '.join(wrong) or 'nothing lost, nothing twice, same numbers, no orphans'}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
