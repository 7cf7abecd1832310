"""Two interleaved spirals, the SLAF paper's generator, network and schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slaf.compare.study import Data, Make, Study, register_study
from slaf.core import SlafError
from slaf.train import Recipe, generator

from ._mlp import mlp, predict, xavier

__all__ = ["Spirals", "two_spirals"]

_FULL = {"points": 100_000, "turns": 2.0, "noise": 0.1, "epochs": 15, "milestones": ((8, 1e-3), (10, 1e-4))}


def two_spirals(points: int, turns: float = 2.0, noise: float = 0.1, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """``points`` points of each of two spirals, and their labels 0 and 1; class 1 is class 0 mirrored at the origin, point by point.

    t = √U · 780 · 2π/360, d = (−t cos(turns · t) + noise · U, t sin(turns · t) + noise · U), U uniform on [0, 1).

    Returns:
        Inputs (2·points, 2) and targets (2·points, 1), class 0 first.

    Raises:
        SlafError: no points, or ``noise`` below 0.

    Source: mohit1997/PAF, two spirals, where turns is 2 (the published generator also sorts t, which shuffling undoes).
    """
    if points < 1:
        raise SlafError(f"points must be a positive integer; got {points!r}")
    if not (noise >= 0 and math.isfinite(noise) and math.isfinite(turns)):
        raise SlafError(f"turns must be a number and noise one of at least 0; got turns={turns!r}, noise={noise!r}")
    t = torch.rand(points, generator=generator).sqrt() * (780 * 2 * math.pi / 360)
    d = torch.stack([-t * torch.cos(turns * t), t * torch.sin(turns * t)], 1) + noise * torch.rand(points, 2, generator=generator)
    return torch.cat([d, -d]), torch.cat([torch.zeros(points, 1), torch.ones(points, 1)])


@register_study
class Spirals(Study):
    """Two spirals, 2–20–20–1, sigmoid cross-entropy; ``turns`` = 2 is the paper's task, ``turns`` = 1 an easy one."""

    name = "spirals"
    title = "Two spirals"
    source = "M. Goyal, R. Goyal, B. Lall, Learning Activation Functions, arXiv:1906.09529; generator and schedule from mohit1997/PAF"
    claim = "A small network of learned polynomial activations separates two long spirals: 99 % of held-out points, on every seed."
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"points": 2_000, "turns": 1.0, "noise": 0.1, "epochs": 8, "milestones": ((4, 1e-3),)},
        "small": {"points": 5_000, "turns": 1.0, "noise": 0.1, "epochs": 60, "milestones": ((30, 1e-3), (48, 1e-4))},
        "full": _FULL,
        "paper": _FULL,
    }
    activations = ("relu", "tanh", "slaf", "batch_norm(relu)", "slaf(preset=paper_a, degree=7)")
    seeds = 5

    def data(self, seed: int, budget: Mapping[str, Any]) -> Data:
        """Both classes shuffled together, 80 % of the points for training; inputs unscaled."""
        stream = generator(seed, "data")
        x, y = two_spirals(budget["points"], budget["turns"], budget["noise"], stream)
        order = torch.randperm(len(x), generator=stream)
        x, y = x[order], y[order]
        cut = int(0.8 * len(x))
        return Data((x[:cut], y[:cut]), (x[cut:], y[cut:]), truth={"turns": budget["turns"], "noise": budget["noise"]})

    def build(self, make: Make, data: Data) -> nn.Module:
        return xavier(mlp(make, (2, 20, 20, 1)))

    def recipe(self, budget: Mapping[str, Any], data: Data) -> Recipe:
        return Recipe(epochs=budget["epochs"], batch_size=256, lr=1e-2, schedule=budget["milestones"], clip=5.0)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(output, target)

    def metrics(self, model: nn.Module, data: Data) -> dict[str, float]:
        x, y = data.test
        output = predict(model, x)
        return {"accuracy": float(((output > 0) == (y > 0.5)).double().mean()), "loss": float(self.loss(output, y))}
