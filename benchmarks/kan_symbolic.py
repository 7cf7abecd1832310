"""From samples to formulas with Kolmogorov–Arnold networks: how often the right one is found, and how fast.

python benchmarks/kan_symbolic.py                   seeds 20–29 of every task, `slaf.train.symbolic_regression` at its defaults
python benchmarks/kan_symbolic.py --quick           one small task, one seed: checks that everything runs
python benchmarks/kan_symbolic.py --peers FOLDER    pykan too, where it is found in FOLDER: pip install --no-deps --target FOLDER
                                                    pykan==0.2.8 (it imports scikit-learn, pandas, sympy, tqdm, pyyaml and matplotlib)
python benchmarks/kan_symbolic.py --noise 0.01      normal noise on the samples, as a part of the target's standard deviation
python benchmarks/kan_symbolic.py --json FILE       what was found, seed by seed, as JSON

Tasks: the first four are toy tasks of Liu et al. (2024), arXiv:2404.19756 [from memory]; the last two have known shapes as well. 1000
samples, without noise unless it is asked for; data and first weights follow the seed. Settings were chosen on seeds 0–4;
the order of the search was mended after seed 10 of the quotient, and starts added after seeds 43 and 49 of the norm.

A formula is right if it is equal to the target in sympy, or else if on 4000 fresh points of a larger region it is within 1e-3 of it,
relative to the target's absolute value or, where that is less, to its standard deviation. It is close, not right, if it is within 2e-2.

pykan follows its first tutorial [from memory]: width [n, 5, 1], grid 3, LBFGS 50 steps with lamb 0.001, prune, 50 steps, refine to 10
intervals, 50 steps, auto_symbolic over its tutorial's functions, 50 steps, formula rounded to 4 digits. Times are processor time of one
thread, from the data to the formula.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sympy
import torch
from torch import Tensor

from slaf.train import symbolic_regression

Ends = tuple[float, float]
SAMPLES, FRESH = 1000, 4000
TOLERANCES = {"numeric": 1e-3, "close": 2e-2}
LIBRARY = ("x", "x^2", "x^3", "x^4", "exp", "log", "sqrt", "tanh", "sin", "abs")
"""pykan's tutorial's functions."""


@dataclass(frozen=True)
class Task:
    """A target of x1, x2, …, sampled evenly on a box, and compared on a larger one."""

    formula: str
    inside: Ends
    beyond: Ends

    def expression(self) -> Any:
        return sympy.sympify(self.formula, locals={str(s): s for s in self.symbols()})

    def symbols(self) -> list[Any]:
        return [sympy.Symbol(f"x{k + 1}", real=True) for k in range(3 if "x3" in self.formula else 2)]

    def sample(self, count: int, ends: Ends, seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        x = ends[0] + (ends[1] - ends[0]) * torch.rand(count, len(self.symbols()), generator=generator, dtype=torch.float64)
        return x, torch.from_numpy(values(self.expression(), self.symbols(), x))[:, None]


TASKS = {
    "exponential": Task("exp(sin(pi*x1) + x2**2)", (-1, 1), (-1.5, 1.5)),
    "product": Task("x1*x2", (-1, 1), (-3, 3)),
    "quotient": Task("x1/x2", (0.5, 2), (0.25, 4)),
    "transition": Task("tanh(5*(x1**4 + x2**3 + x3**2 - 1))", (-1, 1), (-1.5, 1.5)),
    "norm": Task("sqrt(x1**2 + x2**2)", (-1, 1), (-3, 3)),
    "velocities": Task("(x1 + x2)/(1 + x1*x2)", (-0.9, 0.9), (-0.99, 0.99)),
}


def values(expression: Any, symbols: list[Any], x: Tensor) -> np.ndarray:
    """An expression at samples."""
    with np.errstate(all="ignore"):
        y = sympy.lambdify(symbols, expression, "numpy")(*x.T.numpy())
    return np.broadcast_to(np.asarray(np.real(y), dtype=np.float64), (len(x),)).copy()


def judged(found: Any, task: Task) -> str:
    """``symbolic``, ``numeric``, ``close`` or ``wrong``."""
    target, symbols = task.expression(), task.symbols()
    if sympy.simplify(sympy.expand(found - target)) == 0:
        return "symbolic"
    x, y = task.sample(FRESH, task.beyond, seed=12345)
    wanted, got = y[:, 0].numpy(), values(found, symbols, x)
    error = float(np.max(np.abs(got - wanted) / np.maximum(np.abs(wanted), wanted.std())))
    return next((verdict for verdict, tolerance in TOLERANCES.items() if error <= tolerance), "wrong")


def ours(x: Tensor, y: Tensor, seed: int, small: bool) -> Any:
    """The formula that slaf finds."""
    return symbolic_regression(x, y, seed=seed, hidden=2 if small else 5).expressions()[0]


def pykan(x: Tensor, y: Tensor, seed: int, small: bool) -> Any:
    """The formula that pykan finds."""
    from kan.utils import ex_round

    from kan import KAN

    steps = 2 if small else 50
    x, y = x.float(), y.float()
    data = {"train_input": x, "train_label": y, "test_input": x, "test_label": y}
    with tempfile.TemporaryDirectory() as folder:  # it keeps every state in files
        model = KAN(width=[x.shape[1], 5, 1], grid=3, k=3, seed=seed, ckpt_path=folder)
        model.fit(data, opt="LBFGS", steps=steps, lamb=0.001)
        model = model.prune()
        model.fit(data, opt="LBFGS", steps=steps)
        model = model.refine(10)
        model.fit(data, opt="LBFGS", steps=steps)
        model.auto_symbolic(lib=list(LIBRARY))
        model.fit(data, opt="LBFGS", steps=steps)
        formula = ex_round(model.symbolic_formula()[0][0], 4)
    return formula.xreplace({s: sympy.Symbol(s.name.replace("_", ""), real=True) for s in formula.free_symbols})


def one(find: Callable[..., Any], task: Task, seed: int, small: bool, noise: float) -> dict[str, Any]:
    """The formula of one seed, how right it is, and the seconds it took."""
    x, y = task.sample(100 if small else SAMPLES, task.inside, seed)
    if noise:
        y = y + noise * y.std() * torch.randn(y.shape, generator=torch.Generator().manual_seed(1000 + seed), dtype=y.dtype)
    start = time.process_time()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = find(x, y, seed, small)
    except Exception as problem:  # a run that fails is a result
        found, verdict = f"{type(problem).__name__}: {problem}", "failed"
        seconds = time.process_time() - start
    else:
        seconds = time.process_time() - start
        verdict = judged(found, task)
    return {"seed": seed, "verdict": verdict, "seconds": round(seconds, 2), "formula": str(found)}


def row(name: str, finder: str, runs: list[dict[str, Any]]) -> str:
    """A line of the table, and one for every seed that is not right."""
    verdicts = [run["verdict"] for run in runs]
    right = sum(v in ("symbolic", "numeric") for v in verdicts)
    seconds = statistics.median(run["seconds"] for run in runs)
    counts = "".join(f"{verdicts.count(verdict):9}" for verdict in ("symbolic", "close", "failed"))
    lines = [f"{name:12}{finder:8}{right:4} of {len(runs):<4}{counts}{seconds:10.1f}"]
    lines += [f"    seed {r['seed']} {r['verdict']}: {r['formula'][:110]}" for r in runs if r["verdict"] not in ("symbolic", "numeric")]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="a folder with pykan")
    parser.add_argument("--only", help="tasks, with commas between")
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--first", type=int, default=20, help="the first seed")
    parser.add_argument("--peer-seeds", type=int, default=3, help="how many of them pykan gets")
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="one small task")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else ["exponential"] if given.quick else list(TASKS)
    if unknown := [n for n in names if n not in TASKS]:
        parser.error(f"unknown task {unknown[0]!r}; there are {', '.join(TASKS)}")
    finders = {"slaf": (ours, given.seeds)}
    if given.peers:
        sys.path.insert(0, str(given.peers))
        finders["pykan"] = (pykan, given.peer_seeds)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    print(f"{'':12}{'':8}{'right':>12}{'in sympy':>9}{'close':>9}{'failed':>9}{'seconds':>10}")
    for name in names:
        found[name] = {}
        for finder, (find, count) in finders.items():
            seeds = range(given.first, given.first + (1 if given.quick else count))
            found[name][finder] = [one(find, TASKS[name], seed, given.quick, given.noise) for seed in seeds]
            print(row(name, finder, found[name][finder]), flush=True)
        if len(found[name]) == 2:
            ratio = math.prod(statistics.median(r["seconds"] for r in found[name][f]) ** s for f, s in (("pykan", 1), ("slaf", -1)))
            print(f"{'':12}slaf is {ratio:.0f} x as fast")
    if given.json:
        given.json.write_text(
            json.dumps({"command": " ".join(["python", *sys.argv]), "torch": torch.__version__, "tasks": found}, indent=1)
        )


if __name__ == "__main__":
    main()
