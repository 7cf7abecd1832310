"""The loop's side of an annealing: progress before every step, and what is added to the loss."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from slaf.core import SlafError

__all__ = ["Annealed", "Anneals"]


class Anneals(Protocol):
    """What the loop asks of ``slaf.anneal``'s result."""

    model: nn.Module
    progress: float

    def penalty(self) -> Tensor:
        """The range penalty of the last forward."""
        ...

    def distillation(self, batch: Any, output: Any) -> Tensor:
        """The weighted distance from the original model's output."""
        ...


class Annealed:
    """Takes an annealing from where it is to its end in ``steps`` steps.

    Raises:
        SlafError: ``model`` is not the annealing's.
    """

    def __init__(self, annealing: Anneals, model: nn.Module, steps: int) -> None:
        if annealing.model is not model:
            raise SlafError("model must be annealing.model when annealing is given: train(annealing.model, …, annealing=annealing)")
        self.annealing, self.steps, self.start = annealing, steps, annealing.progress

    def at(self, step: int) -> float:
        """Set and return the progress that holds in step number ``step``, from 0; after the last one it is 1."""
        share = step / self.steps if self.steps else 0.0
        self.annealing.progress = 1.0 if share >= 1 else self.start + (1 - self.start) * share
        return self.annealing.progress

    def added(self, batch: Tensor, output: Tensor) -> Tensor:
        """What is added to the task's loss."""
        return self.annealing.penalty() + self.annealing.distillation(batch, output)
