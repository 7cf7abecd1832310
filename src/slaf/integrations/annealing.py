"""What the annealing callbacks of all trainers share: progress as a function of the trainer's own count of steps."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from slaf.core import SlafError
from slaf.surgery.annealing import Annealing

__all__ = ["Steering"]


class Steering:
    """Takes an annealing from the progress it is given with to 1, in equal parts, one for every step of the trainer.

    Args:
        annealing: of the trained model, or of a part of it.
        finish: put the new activations in place of the blends when training has come to its end.

    Raises:
        SlafError: ``annealing`` is none, or finished.
    """

    def __init__(self, annealing: Annealing, finish: bool = True) -> None:
        if not isinstance(annealing, Annealing):
            raise SlafError(f"annealing must be what slaf.anneal returns; got {type(annealing).__name__}")
        self.annealing, self.finish, self.start, self._steps = annealing, finish, annealing.progress, 0

    def begin(self, trained: nn.Module, steps: float, done: int) -> None:
        """Before training of ``trained`` in ``steps`` steps, of which a checkpoint has ``done``.

        Raises:
            SlafError: the annealing's blends are not in ``trained``; the number of steps is not known, or 0.
        """
        inside = set(trained.modules())
        if not all(blend in inside for blend in self.annealing.blends.values()):
            raise SlafError("the trained model must be annealing.model, or hold it")
        if not (math.isfinite(steps) and steps >= 1):
            raise SlafError(f"annealing needs the number of training steps beforehand (max_steps or epochs, data of a length); got {steps}")
        self._steps = int(steps)
        self.at(done)

    def at(self, step: int) -> None:
        """The progress of step number ``step``, from 0."""
        share = step / self._steps
        self.annealing.progress = 1.0 if share >= 1 else self.start + (1 - self.start) * share

    def end(self, step: int) -> None:
        """After ``step`` steps; where these are all, and it is wished, the exchange is finished."""
        self.at(step)
        if self.finish and step >= self._steps:
            self.annealing.finish()

    def state(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {"start": self.start, "annealing": self.annealing.state_dict()} if not self.annealing.finished else {}

    def load(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        if state:
            self.start = state["start"]
            self.annealing.load_state_dict(state["annealing"])
