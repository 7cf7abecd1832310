"""The same contract over other collections of activations: torch.nn's, torch-activation's 415, and ours without its claims.

pip install torch-activation==1.0.0 plotly     (not a dependency; without plotly a quarter of it does not import)
python benchmarks/contract_peers.py --json docs/peers.json --jobs 2

Fair means: the checks that need no claims and no API of ours, on classes built with their default arguments. A module that acts on
each element alone is handed over as a scalar function without facts, so that the checks of values, gradients and half types apply to it;
any other as a plain module. Classes that cannot be built without arguments, or that change the shape of their input, are counted apart.
``slaf`` is treated the same; ``slaf_claims`` are the same entries by name, with every check that their claims allow. Two demands are ours
and few others share them: ``dtype_kept`` and ``autocast`` want the input's dtype back even from a module whose parameters have another.

Each finished entry is kept at once; the same command goes on after a Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import Activation, Facts, SlafError

KEEP = Path("slaf-runs") / "contract-peers.jsonl"
INSTALL = "pip install torch-activation==1.0.0 plotly"
TITLES = {"torch_nn": "torch.nn", "torch_activation": "torch-activation 1.0.0", "slaf": "slaf, no claims", "slaf_claims": "slaf"}
OURS = ("reset_parameters", "derivative_method", "antiderivative_method", "bounds", "second_moment", "identity_of_facts")
"""Checks of methods that only an Activation of ours has."""
NN_ARGUMENTS: dict[str, tuple[Any, ...]] = {"Threshold": (0.1, 0.0), "Softmax": (1,), "LogSoftmax": (1,), "Softmin": (1,)}
SECONDS = 240
"""An entry that takes longer is recorded as one that does not end."""


class Scalar(Activation):
    """A module that acts on each element alone, as a scalar function of which nothing is claimed."""

    name = "plain"

    def __init__(self, module: nn.Module, title: str) -> None:
        super().__init__()
        self.module = module
        self.facts = Facts(title)

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


# -- what is run -----------------------------------------------------------------------------------------------------------------


def names(collection: str) -> list[str]:
    """The entries of a collection, sorted."""
    if collection == "torch_nn":
        return sorted(set(torch.nn.modules.activation.__all__) - {"MultiheadAttention"})
    if collection == "torch_activation":
        return sorted(_peers().get_all_activations())
    import slaf
    from slaf.plot import example

    return [example(name) for name in slaf.list()]


def _peers() -> Any:
    if importlib.util.find_spec("torch_activation") is None or importlib.util.find_spec("plotly") is None:
        raise SystemExit(f"torch-activation 1.0.0 (and plotly, which it imports without asking for it) is needed: {INSTALL}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("torch_activation")


def maker(collection: str, entry: str) -> Callable[[], nn.Module]:
    """How the entry is built at its defaults."""
    if collection == "torch_nn":
        return lambda: getattr(nn, entry)(*NN_ARGUMENTS.get(entry, ()))
    if collection == "torch_activation":
        return _peers()._ACTIVATIONS[entry]["class"]
    import slaf

    def make() -> nn.Module:
        try:
            return slaf.make(entry)
        except SlafError:
            return slaf.make(entry, num_channels=3)

    return make


def elementwise(module: nn.Module) -> bool:
    """Whether the module, in evaluation, is a function of each element alone: its place and its neighbours do not matter."""
    x = torch.randn(5, 3, 4, 2, generator=torch.Generator().manual_seed(0))
    module = module.eval()
    try:
        with torch.no_grad():
            y = module(x)
            turned = module(x.flatten().flip(0).reshape(x.shape)).flatten().flip(0).reshape(x.shape)
            alone = torch.stack([module(v.reshape(1)).reshape(()) for v in x.flatten()[:7]])
    except Exception:
        return False
    tolerance = {"rtol": 1e-4, "atol": 1e-5}
    return y.shape == x.shape and torch.allclose(turned, y, **tolerance) and torch.allclose(alone, y.flatten()[:7], **tolerance)


def run(collection: str, entry: str) -> dict[str, Any]:
    """One entry's results: ``{"status": "ok" | "unbuildable" | "other shape", "results": {check: [status, message]}}``."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch._dynamo.reset()
    told = {"collection": collection, "entry": entry, "torch": torch.__version__}
    make = maker(collection, entry)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            x = torch.randn(5, 3, 4, 2)
            same_shape = make().eval()(x).shape == x.shape
        except Exception as error:
            return told | {"status": "unbuildable", "why": f"{type(error).__name__}: {error}"[:200]}
        if not same_shape:
            return told | {"status": "other shape"}
        return told | {"status": "ok"} | _checked(collection, entry, make)


def _checked(collection: str, entry: str, make: Callable[[], nn.Module]) -> dict[str, Any]:
    from slaf.testing import check_activation

    scalar = elementwise(make())
    subject = entry if collection == "slaf_claims" else Scalar(make(), entry) if scalar else make()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        report = check_activation(subject)
    except Exception as error:  # the module cannot even be copied or evaluated
        return {"scalar": scalar, "results": {}, "broken": f"{type(error).__name__}: {error}"[:200]}
    finally:
        signal.alarm(0)
    return {"scalar": scalar, "results": {r.check: [r.status, " ".join(r.message.split())[:160]] for r in report.results}}


def _too_long(*_: object) -> None:
    raise TimeoutError(f"longer than {SECONDS} s")


# -- running, keeping, counting --------------------------------------------------------------------------------------------------


def outcomes(todo: list[tuple[str, str]], jobs: int) -> Iterator[dict[str, Any]]:
    """Run all in ``jobs`` processes, as they finish."""
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_quiet)
    try:
        for done in as_completed([pool.submit(run, *task) for task in todo]):
            yield done.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _quiet() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    warnings.simplefilter("ignore")


def kept(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """What an earlier run has finished on this torch; a torn last line is left out."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if record["torch"] == torch.__version__:
            found[record["collection"], record["entry"]] = record
    return found


def comparable() -> list[str]:
    """The checks that need neither claims nor a name nor a method of ours, in the order they run."""
    from slaf.testing import check_activation

    nothing_claimed = check_activation(Scalar(nn.PReLU(), "PReLU"))
    return [r.check for r in nothing_claimed.results if r.status != "skipped" and r.check not in OURS]


def document(records: dict[tuple[str, str], dict[str, Any]], limit: int | None, arguments: list[str]) -> dict[str, Any]:
    """Counts by collection and check, the failures behind them, and how they came about."""
    chosen = comparable()
    collections = {}
    for key, title in TITLES.items():
        own = [r for (c, _), r in sorted(records.items()) if c == key]
        ran = [r for r in own if r["status"] == "ok"]
        counts = {check: Counter(r["results"].get(check, ["failed"])[0] for r in ran) for check in chosen}
        failures = {r["entry"]: [c for c in chosen if r["results"].get(c, ["failed"])[0] == "failed"] for r in ran}
        everything = Counter(status for r in ran for status, _ in r["results"].values())
        if own:
            collections[key] = {
                "title": title,
                "entries": len(ran),
                "scalar": sum(r["scalar"] for r in ran),
                "unbuildable": [r["entry"] for r in own if r["status"] == "unbuildable"],
                "other_shape": [r["entry"] for r in own if r["status"] == "other shape"],
                "broken": {r["entry"]: r["broken"] for r in ran if "broken" in r},
                "pass_all": sum(not f for f in failures.values()),
                "checks": {check: {s: counts[check][s] for s in ("passed", "failed", "skipped")} for check in chosen},
                "every_check": dict(sorted(everything.items())),
                "failures": {entry: checks for entry, checks in failures.items() if checks},
            }
    import slaf

    command = " ".join(["python", "benchmarks/contract_peers.py", *arguments])
    about = {"command": command, "slaf": slaf.__version__, "torch": torch.__version__.partition("+")[0], "limit": limit}
    return about | {"checks": chosen, "collections": collections}


def table(found: dict[str, Any]) -> str:
    """The comparison as text: of the entries to which a check applies, how many pass."""
    collections = found["collections"].values()
    width = max(len(c) for c in found["checks"]) + 2
    lines = ["".ljust(width) + "".join(c["title"].rjust(24) for c in collections)]
    for label, key in (("entries", "entries"), ("of them scalar functions", "scalar"), ("pass all of these", "pass_all")):
        lines.append(label.ljust(width) + "".join(str(c[key]).rjust(24) for c in collections))
    for label, key in (("not built by default", "unbuildable"), ("change the shape", "other_shape")):
        lines.append(label.ljust(width) + "".join(str(len(c[key])).rjust(24) for c in collections))
    for check in found["checks"]:
        cells = []
        for c in collections:
            n = c["checks"][check]
            skipped = f" (–{n['skipped']})" if n["skipped"] else ""
            cells.append(f"{n['passed']} of {n['passed'] + n['failed']}{skipped}".rjust(24))
        lines.append(check.ljust(width) + "".join(cells))
    return "\n".join(lines)


def main() -> int:
    """Run the command line: 0 done, 130 stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collections", default=",".join(TITLES), help="of " + ", ".join(TITLES))
    parser.add_argument("--limit", type=int, help="only so many entries of each, evenly chosen")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=KEEP, help="finished entries, one JSON object a line")
    parser.add_argument("--json", type=Path, help="write the counts here too")
    given = parser.parse_args()
    wanted = given.collections.split(",")
    unknown = next((c for c in wanted if c not in TITLES), None)
    if unknown is not None:
        parser.error(f"unknown collection {unknown!r}; there are {', '.join(TITLES)}")
    tasks = []
    for collection in wanted:
        entries = names(collection)
        step = 1 if not given.limit else max(1, len(entries) // given.limit)
        tasks += [(collection, entry) for entry in entries[::step][: given.limit]]
    done = {task: record for task, record in kept(given.keep).items() if task in tasks}
    todo = [task for task in tasks if task not in done]
    given.keep.parent.mkdir(parents=True, exist_ok=True)
    stopped = False
    try:
        with given.keep.open("a", encoding="utf-8") as file:
            for record in outcomes(todo, given.jobs) if todo else ():
                done[record["collection"], record["entry"]] = record
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
                file.flush()
                _show(len(done), len(tasks), record)
    except KeyboardInterrupt:
        stopped = True
        print(f"\nstopped at {len(done)} of {len(tasks)}; the same command goes on", file=sys.stderr)
    found = document(done, given.limit, sys.argv[1:])
    print(table(found))
    if given.json is not None and not stopped:
        temporary = given.json.with_suffix(".part")
        temporary.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(given.json)
        print(f"wrote {given.json}")
    return 130 if stopped else 0


def _show(count: int, total: int, record: dict[str, Any]) -> None:
    """A bar that stays on its line at a terminal, and a line for each tenth elsewhere."""
    filled = round(30 * count / total)
    bar = f"[{'█' * filled}{'·' * (30 - filled)}] {count}/{total} {record['collection']} {record['entry']}"
    if sys.stderr.isatty():
        print(f"\r{bar[:110]:<110}", end="" if count < total else "\n", file=sys.stderr, flush=True)
    elif count == total or count % max(1, total // 10) == 0:
        print(bar, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
