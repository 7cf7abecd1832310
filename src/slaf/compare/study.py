"""``Study``: a workload in which the activation function is the only thing that varies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from slaf.core import Registry
from slaf.train import Recipe, Trace, train

__all__ = ["Data", "Make", "Study", "register_study", "studies"]

Make = Callable[..., nn.Module]
"""``make(slot, num_channels, channel_dim=1) -> nn.Module``: builds the activation under test for one site of the model."""


@dataclass
class Data:
    """Tensors of one seed: ``train`` and ``test`` are (inputs, targets); ``truth`` holds what the generator knows.

    ``spec`` holds what ``build`` needs beyond the tensors' shapes, such as the widths that the budget asks for.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    truth: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)


class Study:
    """One workload. Subclass it, fill the class attributes, write ``data``, ``build``, ``loss`` and ``metrics``, and register it.

    Attributes:
        name: what ``slaf compare NAME`` calls it.
        source: the paper or data set; ``claim``: the one sentence that the metrics can refute.
        primary: the metric that the table ranks by; ``direction``: ``"max"`` or ``"min"``.
        slots: the named places where an activation goes; the first is the default.
        budgets: sizes and steps by budget name: ``smoke`` (≤ 10 s), ``small`` (≤ 3 min), ``full`` (≤ 15 min), maybe ``paper``.
            ``slaf compare -o name=value`` changes an entry.
        activations: what is compared by default, besides ``identity``.
        seeds: the default number of seeds.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    claim: ClassVar[str]
    primary: ClassVar[str] = "accuracy"
    direction: ClassVar[str] = "max"
    slots: ClassVar[tuple[str, ...]] = ("hidden",)
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]]
    activations: ClassVar[tuple[str, ...]] = ("relu", "gelu", "slaf")
    seeds: ClassVar[int] = 3

    def files(self) -> tuple[Path, ...]:
        """The data files that ``data`` reads; their SHA-256 is part of every trial's key. Generated data have none."""
        return ()

    def data(self, seed: int, budget: Mapping[str, Any]) -> Data:
        """The tensors: a pure function of the seed and the budget's sizes; no network.

        ``seed`` is the trial's root seed: take ``slaf.train.generator(seed, "data")``, for batches and first weights come from it too.
        """
        raise NotImplementedError

    def build(self, make: Make, data: Data) -> nn.Module:
        """The model; ``make(slot, num_channels)`` once per site. Weights come from torch's global generator, seeded by the runner."""
        raise NotImplementedError

    def recipe(self, budget: Mapping[str, Any]) -> Recipe:
        """How it is trained: the same for every activation."""
        raise NotImplementedError

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The task loss of one batch, a scalar."""
        raise NotImplementedError

    def train(
        self, model: nn.Module, data: Data, budget: Mapping[str, Any], seed: int, on_epoch: Callable[[int, int, float], None]
    ) -> Trace:
        """Train ``model`` in place; ``on_epoch(done, total, loss)`` reports progress."""
        return train(model, data.train, self.loss, self.recipe(budget), seed=seed, on_epoch=on_epoch)

    def metrics(self, model: nn.Module, data: Data) -> dict[str, float]:
        """All numbers the claim needs, on ``data.test``, the model in evaluation mode; must hold ``primary``."""
        raise NotImplementedError


studies: Registry[Study] = Registry("study")


def register_study(cls: type[Study]) -> type[Study]:
    """Class decorator: make the study known under its name (an underscore or a hyphen may be typed)."""
    studies.register(cls.name.replace("-", "_"), cls())
    return cls
