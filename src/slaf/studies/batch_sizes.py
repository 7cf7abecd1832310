"""What layers that normalise make of small batches: the same network trained on the digits with batches of 2, 8, 32 and 128."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor, nn

from slaf.compare.study import Data, Make, register_study
from slaf.core import SlafError
from slaf.train import Recipe, Trace, train

from .digits import Digits

__all__ = ["BatchSizes"]

BASE = 128
"""The batch size that ``lr`` is for; at others it is in proportion."""


class _Copies(nn.Module):
    """One network for each batch size, all of them starting alike; called, the one of the smallest."""

    def __init__(self, network: nn.Module, sizes: tuple[int, ...]) -> None:
        super().__init__()
        first, *others = sorted(set(sizes))
        self.of = nn.ModuleDict({str(first): network} | {str(size): copy.deepcopy(network) for size in others})

    def forward(self, x: Tensor) -> Tensor:
        return next(iter(self.of.values()))(x)


@register_study
class BatchSizes(Digits):
    """Two convolutions read 8×8 digits; every batch size gets as many epochs, with a learning rate in proportion to it."""

    name = "batch-sizes"
    title = "Digits in small batches"
    source = (
        "Liu, Brock, Simonyan, Le, Evolving Normalization-Activation Layers, 2020, arXiv:2004.02967 (the layers); rates in proportion "
        "to the batch as in Goyal et al., 2017, arXiv:1706.02677; the digits bundled with scikit-learn"
    )
    claim = "EvoNorm-S0 loses no more than 2 points of accuracy from batches of 128 down to batches of 2."
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"epochs": 3, "widths": (4, 8), "sizes": (32, 128), "lr": 0.1},
        "small": {"epochs": 10, "widths": (16, 32), "sizes": (2, 8, 32, 128), "lr": 0.1},
        "full": {"epochs": 40, "widths": (32, 64), "sizes": (2, 8, 32, 128), "lr": 0.1},
    }
    activations = ("relu", "batch_norm(relu)", "batch_norm(silu)", "evonorm_b0", "evonorm_s0(groups=8)")

    def data(self, seed: int, budget: Mapping[str, Any]) -> Data:
        sizes = budget["sizes"]
        if not isinstance(sizes, (tuple, list)) or len(set(sizes)) < 2 or not all(isinstance(n, int) and n > 0 for n in sizes):
            raise SlafError(f"sizes must be two or more batch sizes, such as (2, 128); got {sizes!r}")
        data = super().data(seed, budget)
        data.spec["sizes"] = tuple(sizes)
        data.notes = (f"Parameters are those of {len(set(sizes))} networks, one for each batch size.",)
        return data

    def build(self, make: Make, data: Data) -> nn.Module:
        first, second = data.spec["widths"]
        network = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, first, 3, padding=1),
            make("hidden", first),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            make("hidden", second),
            nn.Flatten(),
            nn.Linear(16 * second, 10),
        )
        return _Copies(network, data.spec["sizes"])

    def recipe(self, budget: Mapping[str, Any], data: Data) -> Recipe:
        return Recipe(epochs=budget["epochs"], batch_size=BASE, lr=budget["lr"], optimizer="sgd", schedule="cosine")

    def train(
        self,
        model: nn.Module,
        data: Data,
        budget: Mapping[str, Any],
        seed: int,
        on_epoch: Callable[[int, int, float], None],
        *,
        lr_factor: float = 1.0,
        fabric: Any = None,
    ) -> Trace:
        assert isinstance(model, _Copies)
        recipe, whole = self.recipe(budget, data).scaled(lr_factor), Trace()
        for k, (size, network) in enumerate(model.of.items()):

            def report(done: int, total: int, loss: float, k: int = k) -> None:
                if on_epoch is not None:  # as in the loop, none may be given
                    on_epoch(k * total + done, len(model.of) * total, loss)

            own = replace(recipe.scaled(int(size) / BASE), batch_size=int(size))
            trace = train(network, data.train, self.loss, own, seed=seed, on_epoch=report, fabric=fabric)
            for name, values in trace.history.items():
                whole.history.setdefault(name, []).extend(values)
            whole.finite, whole.steps = whole.finite and trace.finite, whole.steps + trace.steps
        return whole

    def metrics(self, model: nn.Module, data: Data) -> dict[str, float]:
        """``accuracy`` and ``loss`` at the smallest batch size, ``accuracy_N`` at N; ``drop``: points lost from the largest on."""
        assert isinstance(model, _Copies)
        each = {size: super(BatchSizes, self).metrics(network, data) for size, network in model.of.items()}
        of = [m["accuracy"] for m in each.values()]
        return {**next(iter(each.values())), "drop": 100 * (of[-1] - of[0]), **{f"accuracy_{n}": m["accuracy"] for n, m in each.items()}}
