"""How much accuracy networks lose when slaf makes them polynomial: ReLU networks and their polynomial ones, paired by seed.

python benchmarks/polynomialize.py digits                       # degree 4, five seeds, minutes
python benchmarks/polynomialize.py digits --degree 22
python benchmarks/polynomialize.py mnist --data FOLDER          # files as MNIST's, idx or idx.gz
python benchmarks/polynomialize.py digits --seeds 1 --json out.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import slaf
from slaf.core import SlafError
from slaf.data.images import read_images
from slaf.studies.digits import Digits
from slaf.surgery import nonpolynomial_operations
from slaf.train import Recipe, generator, train

Pair = tuple[Tensor, Tensor]
EPOCHS = {"digits": (40, 15), "mnist": (8, 10)}
"""Of the ReLU network, and of making it polynomial."""
MOST = 10_000
"""Images of a folder: more would only take longer."""


def digits(seed: int, _: argparse.Namespace) -> tuple[Pair, Pair]:
    """8×8 pixels in [-1, 1]: 1,257 to train on, 540 held out."""
    data = Digits().data(seed, {"widths": ()})
    (x, y), (test_x, test_y) = data.train, data.test
    return (x.reshape(-1, 1, 8, 8), y), (test_x.reshape(-1, 1, 8, 8), test_y)


def mnist(seed: int, options: argparse.Namespace) -> tuple[Pair, Pair]:
    """28×28 pixels in [-1, 1], 20 % held out."""
    images = read_images(options.data, max_images=MOST).tensors(generator(seed, "data"))
    return images.train, images.test


def network(x: Tensor, channels: int = 8) -> nn.Module:
    """Two convolutions and two linear layers; three ReLUs, two batch norms, a max pooling."""
    side = x.shape[-1] // (2 if x.shape[-1] < 16 else 4)
    first = nn.Conv2d(1, channels, 3, padding=1) if x.shape[-1] < 16 else nn.Conv2d(1, channels, 5, stride=2, padding=2)
    return nn.Sequential(
        *(first, nn.BatchNorm2d(channels), nn.ReLU()),
        *(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(channels * side * side, 32), nn.ReLU(), nn.Linear(32, 10)),
    )


def one(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """A ReLU network of this seed, trained, and what becomes of it."""
    data, test = {"digits": digits, "mnist": mnist}[name](seed, options)
    torch.manual_seed(seed)
    model = network(data[0])
    first, then = EPOCHS[name]
    recipe = Recipe(epochs=first, batch_size=64, lr=3e-3, schedule="cosine", optimizer="adamw", weight_decay=1e-4)
    train(model, data, F.cross_entropy, recipe, seed)
    start = time.perf_counter()
    result: Any = slaf.polynomialize(model, options.degree, data, test, epochs=options.epochs or then, seed=seed)
    seconds = time.perf_counter() - start
    report = result.slaf_report
    output = result(test[0])
    left = nonpolynomial_operations(result, test[0][:2])
    print(f"seed {seed}\n{report}\n{seconds:.0f} s, largest output {float(output.abs().max()):.3g}, other operations: {left or 'none'}\n")
    return {"seed": seed, "seconds": seconds, "finite": bool(output.isfinite().all()), "other_operations": left} | report.to_dict()


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds; losses in points, positive where the polynomial network is worse."""
    lost = {stage: [100 * (r["original"]["accuracy"] - r[stage]["accuracy"]) for r in rows] for stage in ("replaced", "trained")}
    out: dict[str, Any] = {
        "seeds": len(rows),
        "original": 100 * mean(r["original"]["accuracy"] for r in rows),
        "trained": 100 * mean(r["trained"]["accuracy"] for r in rows),
        "all_finite": all(r["finite"] for r in rows),
        "all_polynomial": not any(r["other_operations"] for r in rows),
        "depth": rows[0]["depth"],
        "outside_share": max(s["outside_share"] for r in rows for s in r["sites"]),
    }
    for stage, points in lost.items():
        out[f"lost_{stage}"] = mean(points)
        out[f"lost_{stage}_each"] = points
        out[f"lost_{stage}_deviation"] = stdev(points) if len(points) > 1 else None
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=("digits", "mnist"))
    parser.add_argument("--data", type=Path, help="folder of files in MNIST's format")
    parser.add_argument("--degree", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--epochs", type=int, help="of making the network polynomial; by default 15 for digits, 10 for mnist")
    options = parser.parse_args()
    try:
        if options.seeds < 1:
            raise SlafError(f"--seeds must be at least 1; got {options.seeds}")
        if options.study == "mnist" and options.data is None:
            raise SlafError("mnist needs --data, a folder of files in its format")
        rows = [one(options.study, seed, options) for seed in range(options.first, options.first + options.seeds)]
    except SlafError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = summary(rows)
    print("\n".join(f"{name}: {value}" for name, value in found.items()))
    if options.json:
        options.json.write_text(json.dumps({"summary": found, "runs": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
