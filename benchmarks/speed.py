"""What activations cost: forward and backward, paired with fresh samples of nn.ReLU and nn.GELU in the same process.

python benchmarks/speed.py                          all tables, one thread and two: about a quarter of an hour
python benchmarks/speed.py --only 4d,normalised     some of them
python benchmarks/speed.py --json docs/speed.json   the numbers on the site; written after every table
python benchmarks/speed.py --json docs/speed.json --resume   and only what is not there yet, if commit and machine are the same
python benchmarks/speed.py --quick                  tiny shapes: checks that everything runs, says nothing about time
python benchmarks/speed.py --data FOLDER            the network trains on IDX files (MNIST and its like), not on generated images

Other libraries are timed where they are found, each in a process of its own:

pip install --no-deps --target slaf-runs/peers rational-activations==0.2.0 torch-activation==1.0.0 plotly deepsplines==1.0.0
python benchmarks/speed.py --peers slaf-runs/peers

A step is the forward pass and the gradient of the input *and of all coefficients*. Each sample of a row stands beside fresh samples of what
it is compared with, in random order, rows in turn; shown are the median of the ratios and its 95 % interval by bootstrap. With one
thread the clock is the process' processor time, with more it is wall time. Every table has a fresh process in which glibc keeps its memory
(MALLOC_MMAP_THRESHOLD_ and its relatives), except where the allocator's own cost is what is shown. ``saved`` is what autograd keeps
for backward, nn.ReLU = 1. A ratio is good to about 10 %: nn.ReLU's own row, timed against itself, says how far the noise reaches.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from _speed.allocator import WARM
from _speed.cases import PEERS, TABLES, Table, goals_of
from _speed.network import images, train
from _speed.report import goals_missed, network_text, table_text
from _speed.worker import measured

HERE = Path(__file__).parent
NAMES = (*(t.name for t in TABLES), "network")


def environment(allocator: str, threads: int, peers: Path | None) -> dict[str, str]:
    """Of a fresh process."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | (WARM if allocator == "warm" else {})
    paths = [str(HERE), *([str(peers.resolve())] if peers else []), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(paths)}


def in_fresh_process(code: list[str], env: dict[str, str]) -> Any:
    """The JSON on the last line that a Python process prints."""
    done = subprocess.run([sys.executable, *code], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(code)}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def rows(table: Table, threads: int, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All rows of a table; of a library that is not installed, a row that says so."""
    for number, process in enumerate(table.processes):
        peer = PEERS.get(process.rows[0])
        if peer is not None and peer.installed() is None:
            note = f"not installed: pip install --no-deps {peer.package}=={peer.version}"
            yield {"name": process.rows[0], "title": f"{peer.package}: {peer.title}", "note": note}
            continue
        what = {"table": table.name, "process": number, "threads": threads, "quick": given.quick}
        what |= {"rounds": given.rounds, "seconds": given.seconds}
        try:
            if given.quick and process.allocator == "warm":
                yield from measured(**what)
            else:
                yield from in_fresh_process(["-m", "_speed.worker", json.dumps(what)], environment(process.allocator, threads, given.peers))
        except Exception as error:
            if peer is None:
                raise
            note = f"does not run: {str(error).strip().splitlines()[-1:] or type(error).__name__}"
            yield {"name": process.rows[0], "title": f"{peer.package} {peer.installed()}: {peer.title}", "note": note}


def measure(table: Table, threads: int, given: argparse.Namespace) -> dict[str, Any]:
    """One table for a number of threads; every row with its goals."""
    found = [row | {"goals": goals_of(table.name, row["name"])} for row in rows(table, threads, given)]
    return {
        "name": table.name,
        "title": table.title,
        "shape": table.small if given.quick else table.shape,
        "channels_last": table.channels_last,
        "threads": threads,
        "clock": "processor" if threads == 1 else "wall",
        "rows": found,
    }


def network(threads: int, given: argparse.Namespace) -> dict[str, Any]:
    """The network, in a fresh process unless it is only a check."""
    count = 256 if given.quick else given.images
    if given.quick:
        return train(given.data, threads, count)
    folder = "None" if given.data is None else f"Path({str(given.data.resolve())!r})"
    code = (
        f"import json; from pathlib import Path; from _speed.network import train; print(json.dumps(train({folder}, {threads}, {count})))"
    )
    return in_fresh_process(["-c", code], environment("warm", threads, given.peers))


# -- where and when ---------------------------------------------------------------------------------------------------------------


def about(given: argparse.Namespace) -> dict[str, Any]:
    """Machine, versions, commit, what ran."""
    import slaf
    from slaf import kernels

    return {
        "command": command(sys.argv[1:]),
        "quick": given.quick,
        "machine": machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__.partition("+")[0],
        "slaf": slaf.__version__,
        "python": platform.python_version(),
        "backend": re.sub(r"/\S*/", "", str(kernels.backend())),  # where it lies is the machine's own business
    }


def command(words: list[str]) -> str:
    """As it was given; of an absolute path its last part, of the machine nothing."""
    return " ".join(["python benchmarks/speed.py", *(Path(w).name if Path(w).is_absolute() else w for w in words)])


def machine() -> str:
    """The processor's name, as the system knows it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    """The commit's short hash, with a + if files were changed since; empty outside a repository."""
    words = [["git", "describe", "--always", "--abbrev=9", "--exclude=*"], ["git", "status", "--porcelain", "-uno"]]
    try:
        found = [subprocess.run(w, cwd=HERE, capture_output=True, text=True, check=True).stdout.strip() for w in words]
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found[0] + ("+" if found[1] else "")


def rounded(found: dict[str, Any]) -> dict[str, Any]:
    """To four digits, so that what is printed and what is stored agree on what is met."""
    return json.loads(json.dumps(found), parse_float=lambda text: float(f"{float(text):.4g}"))


def write(path: Path, document: dict[str, Any]) -> None:
    """One line a row, so that a change shows what changed."""
    document = dict(document)

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    networks = ",\n".join(f"  {line(n)}" for n in document.pop("network"))
    tables = []
    for table in document.pop("tables"):
        inside = ",\n".join(f"   {line(row)}" for row in table["rows"])
        about_it = line({k: v for k, v in table.items() if k != "rows"})
        tables.append(f'  {about_it[:-1]}, "rows": [\n{inside}\n  ]}}')
    head = "".join(f" {line(k)}: {line(v)},\n" for k, v in document.items())
    text = f'{{\n{head} "network": [\n{networks}\n ],\n "tables": [\n' + ",\n".join(tables) + "\n ]\n}\n"
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def already(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    """The tables of a run that was stopped, if it was this one."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    same = all(found.get(k) == document[k] for k in ("quick", "machine", "cores", "commit", "torch", "python", "backend"))
    return {k: found[k] for k in ("network", "tables")} if same else {}


def arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny shapes, two rounds, one thread: no time means anything")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here too")
    parser.add_argument("--resume", action="store_true", help="keep the tables that FILE has already")
    parser.add_argument("--threads", default=None, help="numbers of threads, such as 1,2 (the default)")
    parser.add_argument("--only", default="", metavar="NAME,…", help="of " + ", ".join(NAMES))
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="where other libraries are (pip install --target FOLDER)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="IDX files for the network")
    parser.add_argument("--images", type=int, default=6400, help="how many images make an epoch of the network (6400)")
    parser.add_argument("--rounds", type=int, default=None, help="samples of each row at most (31)")
    parser.add_argument("--seconds", type=float, default=3.0, help="and not many more seconds than these for a row (3)")
    given = parser.parse_args()
    given.chosen = [n for n in given.only.split(",") if n] or list(NAMES)
    unknown = next((n for n in given.chosen if n not in NAMES), None)
    if unknown is not None:
        parser.error(f"unknown table {unknown!r}; there are {', '.join(NAMES)}")
    if given.resume and given.json is None:
        parser.error("--resume needs --json FILE, where the tables are")
    for name in ("peers", "data"):
        folder = getattr(given, name)
        if folder is not None and not folder.is_dir():
            parser.error(f"--{name} {folder} is no folder")
    if given.data is not None:
        from slaf.core import SlafError

        try:
            images(given.data, 1)
        except SlafError as error:
            parser.error(f"--data: {error}")
    given.threads = [int(n) for n in (given.threads or ("1" if given.quick else "1,2")).split(",")]
    given.rounds = given.rounds or (2 if given.quick else 31)
    return given


def main() -> int:
    """Run the command line."""
    given = arguments()
    if given.peers is not None:
        sys.path.append(str(given.peers))
    document = about(given) | {"network": [], "tables": []}
    print("\n".join(f"{k}: {v}" for k, v in document.items() if v not in ([], "")), flush=True)
    if given.resume:
        document |= already(given.json, document)
    done = {("network", n["threads"]) for n in document["network"]} | {(t["name"], t["threads"]) for t in document["tables"]}
    todo = [(n, t) for n in NAMES if n in given.chosen for t in given.threads if (n, t) not in done]
    for name, threads in todo:
        if name == "network":
            document["network"].append(rounded(network(threads, given)))
            text = network_text(document["network"][-1])
        else:
            document["tables"].append(rounded(measure(next(t for t in TABLES if t.name == name), threads, given)))
            text = table_text(document["tables"][-1], not given.quick)
        print("\n" + text, flush=True)
        if given.json is not None:
            write(given.json, document)
    missed, count = goals_missed(document["tables"])
    if count and not given.quick:
        print(f"\n{count - missed} of {count} goals are met")
    if given.json is not None:
        print(f"wrote {given.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
