"""What an exchange of activations costs on the digits: accuracy before, after the bare swap, after tuning that, and after annealing.

It is no ``Study``: there one activation is in the network from its first step on, and one network gives the numbers of a trial. Here a
trial is a pair of activations, and its numbers are differences between networks that come from one. ``python benchmarks/exchange.py`` runs
it and prints the tables.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from slaf.compare.study import Data
from slaf.core import SlafError, make, one_of
from slaf.surgery import Exchange, Site, swap
from slaf.train import Recipe, derive, train

from ._mlp import mlp, predict
from ._transformer import ViT
from .digits import Digits

__all__ = ["ARMS", "MEANWHILE", "NETWORKS", "digits", "exchanged", "network", "table", "trained"]

NETWORKS = ("vit", "cnn", "mlp")
BEFORE = Recipe(epochs=40, batch_size=128, lr=4e-3, schedule="cosine", optimizer="adamw", weight_decay=1e-2)
MEANWHILE = Recipe(epochs=30, batch_size=128, lr=3e-3, schedule="cosine", optimizer="adamw", mixup=0.4)
"""Chosen on a fifth of the training images at seeds from 100 on, for GELU in pieces; without mixup networks learn the images by heart."""
ARMS = ("before", "swapped", "kept", "tuned", "annealed")


def network(kind: str, activation: str) -> nn.Module:
    """An untrained network of one of ``NETWORKS`` around an activation; first weights from torch's global generator."""
    one_of("network", kind, NETWORKS)
    if kind == "vit":
        return ViT(lambda *_: make(activation))
    if kind == "mlp":
        return mlp(lambda *_: make(activation), (64, 32, 32, 10))
    convolutions = [nn.Conv2d(1, 8, 3, padding=1), make(activation), nn.Conv2d(8, 16, 3, stride=2, padding=1), make(activation)]
    return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *convolutions, nn.Flatten(), nn.Linear(256, 10))


def digits(seed: int) -> Data:
    """The digits study's split of this seed."""
    return Digits().data(seed, {"widths": ()})


def trained(kind: str, activation: str, seed: int, data: Data, recipe: Recipe = BEFORE) -> nn.Module:
    """A network trained with the old activation."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init"))
        model = network(kind, activation)
    train(model, data.train, F.cross_entropy, recipe, seed=seed)
    return model


def exchanged(model: nn.Module, exchange: Exchange, data: Data, seed: int, recipe: Recipe = MEANWHILE) -> dict[str, Any]:
    """Accuracies (of 1) and losses on the test images by arm, and the drifts of the output.

    ``swapped`` is the bare swap. The others train equally many steps, at the same rates, with the same distillation: ``kept`` with the old
    activations, ``tuned`` the swapped network, ``annealed`` the annealing. ``model`` is left as it is.
    """
    example = [data.train[0][:256], data.train[0][256:512]]
    swapped = swap(model, exchange.rules(), example)
    kept = exchange.anneal(model, example, rules=dict.fromkeys(exchange.rules(), _its_kind))
    # a blend that is at its end from the first step on trains the swapped network, with the same loss
    at_once = exchange.anneal(model, example)
    kept.progress = at_once.progress = 1.0
    gradual = exchange.anneal(model, example)
    for annealing in (kept, at_once, gradual):
        train(annealing.model, data.train, F.cross_entropy, recipe, seed=seed, annealing=annealing)
    arms = dict(zip(ARMS, (model, swapped, kept.finish(), at_once.finish(), gradual.finish()), strict=True))
    x, y = data.test
    outputs = {name: predict(m, x) for name, m in arms.items()}
    out: dict[str, Any] = {name: (output.argmax(1) == y).double().mean().item() for name, output in outputs.items()}
    out |= {f"loss_{name}": F.cross_entropy(output, y).item() for name, output in outputs.items()}
    out["drift_swapped"], out["drift_annealed"] = (arms[n].slaf_report.output.relative for n in ("swapped", "annealed"))  # type: ignore[union-attr]
    return out


def table(rows: Sequence[Mapping[str, Any]], of: str = "accuracy") -> str:
    """Means by exchange, and annealed minus each other arm, paired by seed, with a 95 % interval (Student's t).

    Args:
        rows: of :func:`exchanged`, with ``exchange``, ``network`` and ``seed``.
        of: ``"accuracy"``, in points, or ``"loss"``, in hundredths.

    Raises:
        SlafError: no rows; an ``of`` that is neither.
    """
    prefix = {"accuracy": "", "loss": "loss_"}[one_of("of", of, ("accuracy", "loss"))]
    if not rows:
        raise SlafError("rows is empty; there is nothing to tabulate")
    cases = dict.fromkeys((r["exchange"], r["network"]) for r in rows)
    others = ("swapped", "tuned", "kept", "before")
    lines = [
        f"| exchange ({of}) | network | seeds | " + " | ".join([*ARMS, *(f"annealed − {arm}" for arm in others)]) + " |",
        "|---|---|" + "---:|" * (1 + len(ARMS) + len(others)),
    ]
    for name, kind in cases:
        mine = [r for r in rows if (r["exchange"], r["network"]) == (name, kind)]
        points = {arm: [100 * r[prefix + arm] for r in mine] for arm in ARMS}
        means = [f"{statistics.mean(values):.2f}" for values in points.values()]
        differences = [_paired(a - b for a, b in zip(points["annealed"], points[arm], strict=True)) for arm in others]
        lines.append("| " + " | ".join([name, kind, str(len(mine)), *means, *differences]) + " |")
    return "\n".join(lines)


_T95 = (math.inf, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
"""Two-sided 95 % quantile of Student's t, by the number of seeds; that of 10 for more, which is on the safe side."""


def _its_kind(site: Site) -> str:
    return site.kind


def _paired(differences: Iterable[float]) -> str:
    d = list(differences)
    half = _T95[min(len(d), len(_T95)) - 1] * statistics.stdev(d) / math.sqrt(len(d)) if len(d) > 1 else math.inf
    return f"{round(statistics.mean(d), 2) + 0.0:+.2f} ± {half:.2f}"  # no -0.00
