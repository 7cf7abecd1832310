"""The contract over every registered activation and every pair of learned family and basis, as one file that the gallery reads.

python benchmarks/contract_badges.py            everything, two processes, seconds for each entry
python benchmarks/contract_badges.py --missing  only what docs/contract.json does not hold yet
python benchmarks/contract_badges.py --checks vmap,jvp  only these checks, of every entry that it holds: after a change of theirs

The file holds no dates and no times: the same code gives the same file. What passed is only counted; everything else has its reason.
Of what was measured it holds by how much bounds are wider than the range, on average over 100 boxes, rounding included.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[1] / "docs" / "contract.json"
COMMAND = "python benchmarks/contract_badges.py"


def every() -> list[str]:
    """What is run: every entry at its defaults, and every basis in every kind of family that takes one."""
    import slaf
    from slaf.learnable.pairs import valid_pairs
    from slaf.plot import example

    return list(dict.fromkeys((*(example(name) for name in slaf.list()), *valid_pairs())))


def run(spec: str, checks: list[str] | None = None) -> tuple[str, dict[str, Any]]:
    """One entry's outcome: counts, and status and message of every check that did not simply pass."""
    import torch

    from slaf.testing import check_activation

    torch.set_num_threads(1)
    report = check_activation(spec, checks=checks).to_dict()
    told = {s: found for s in ("failed", "xfailed", "skipped") if (found := _messages(report, s))}
    measured = {k: float(f"{v:.2g}") for r in report["results"] for k, v in r["measured"].items() if k == "mean_excess_width"}
    return spec, {"counts": report["counts"], **told, **({"measured": measured} if measured else {})}


def _messages(report: dict[str, Any], status: str) -> dict[str, str]:
    return {r["check"]: " ".join(r["message"].split())[:300] for r in report["results"] if r["status"] == status}


def merged(old: dict[str, Any], found: dict[str, Any], checks: list[str], known: Iterable[str]) -> dict[str, Any]:
    """An entry of the file, whose checks are ``known``, with the outcomes of these ``checks`` in place of its own."""
    told = {s: {c: m for c, m in old.get(s, {}).items() if c not in checks} | found.get(s, {}) for s in ("failed", "xfailed", "skipped")}
    counts = {s: len(messages) for s, messages in told.items()}
    counts = {"passed": len({*known, *checks}) - sum(counts.values())} | counts
    measured = old.get("measured", {}) | found.get("measured", {})
    ordered = {s: counts[s] for s in ("passed", "failed", "skipped", "xfailed")}
    return {"counts": ordered, **{s: m for s, m in told.items() if m}, **({"measured": measured} if measured else {})}


def outcomes(specs: Iterable[str], jobs: int, checks: list[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run all, in ``jobs`` processes, as they finish."""
    specs, run_one = list(specs), partial(run, checks=checks)
    if jobs == 1:
        yield from map(run_one, specs)
        return
    pool: Executor = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        waiting: list[Future[tuple[str, dict[str, Any]]]] = [pool.submit(run_one, s) for s in specs]
        for done in as_completed(waiting):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def document(entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """All that is kept: how it was made, the checks with their groups, the outcome of every entry."""
    import torch

    import slaf
    from slaf.testing.check import CHECKS

    return {
        "command": COMMAND,
        "slaf": slaf.__version__,
        "torch": torch.__version__.partition("+")[0],
        "checks": {name: {"group": c.group, "doc": c.doc} for name, c in CHECKS.items() if not c.slow and not c.layer},
        "entries": dict(sorted(entries.items())),
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """One line for each entry, so that a change is a line of a diff."""
    parts = []
    for key, value in content.items():
        if key in ("checks", "entries"):
            inside = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in value.items())
            parts.append(f" {json.dumps(key)}: {{\n{inside}\n }}" if inside else f" {json.dumps(key)}: {{}}")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    text = "{\n" + ",\n".join(parts) + "\n}\n"
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def main() -> int:
    """Run the command line; 1 if an entry breaks the contract."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--missing", action="store_true", help="only entries that the file does not hold yet")
    parser.add_argument("--only", default="", metavar="A,B", help="only these entries, the others stay as they are")
    parser.add_argument("--checks", default="", metavar="A,B", help="only these checks, of the entries that the file holds")
    given = parser.parse_args()

    from slaf.core import split

    specs = every()
    file = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {"entries": {}, "checks": {}}
    kept, checks = file["entries"], split(given.checks)
    chosen = split(given.only) or [s for s in specs if (s in kept if checks else not given.missing or s not in kept)]
    stay = {s: kept[s] for s in specs if s in kept and s not in chosen}
    entries = dict(stay)
    try:
        for n, (spec, found) in enumerate(outcomes(chosen, given.jobs, checks or None), 1):
            entries[spec] = merged(kept[spec], found, checks, file["checks"]) if checks else found
            counts = ", ".join(f"{n} {s}" for s, n in found["counts"].items() if n)
            print(f"[{n}/{len(chosen)}] {spec}: {counts}", file=sys.stderr, flush=True)
            for check, message in found.get("failed", {}).items():
                print(f"    {check}: {message}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"stopped: {given.out} is as it was; --missing goes on from what it holds", file=sys.stderr)
        return 130
    write(given.out, document(entries))
    total = {s: sum(e["counts"].get(s, 0) for e in entries.values()) for s in ("passed", "skipped", "xfailed", "failed")}
    print(f"{len(entries)} entries: {', '.join(f'{n} {s}' for s, n in total.items() if n)}; wrote {given.out}")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
