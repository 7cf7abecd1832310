"""Two routines of the SLAF paper, usable in a loop of your own: the separate penalty step and alternating updates."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from slaf.core import SlafError

from .groups import IsActivation, activation_parameters
from .penalties import Penalty

__all__ = ["Alternation", "separate_step"]


def separate_step(optimizer: torch.optim.Optimizer, model: nn.Module, penalty: Penalty, only: Iterable[nn.Parameter] | None = None) -> None:
    """Step ``optimizer`` on the gradients at hand, then take a plain gradient step on ``penalty``: p ← p − η · ∂penalty/∂p.

    Call it in place of ``optimizer.step()``, after ``backward``. Both gradients belong to the point before the step; η is the learning
    rate of p's group; a p that the penalty does not depend on takes the optimiser's step alone. The penalty is thus not rescaled by Adam's
    second moment, which is the point (routine R3 of the SLAF paper's code, mohit1997/PAF: two minimisers grouped without an order).

    Args:
        only: the parameters that the penalty may move; all of the optimiser's if not given.
    """
    allowed = None if only is None else {id(p) for p in only}
    rates = [(p, group["lr"]) for group in optimizer.param_groups for p in group["params"] if allowed is None or id(p) in allowed]
    with torch.enable_grad():
        value = penalty(model)
    gradients: tuple[Tensor | None, ...] = (None,) * len(rates)
    if rates and value.requires_grad:
        gradients = torch.autograd.grad(value, [p for p, _ in rates], allow_unused=True)
    optimizer.step()
    with torch.no_grad():
        for (p, rate), gradient in zip(rates, gradients, strict=True):
            if gradient is not None:
                p.sub_(gradient, alpha=float(rate))


class Alternation:
    """Weights and activations in turn, ``every`` steps each, weights first.

    ``turn(step)`` drops the gradients of those whose turn it is not, so that the optimiser leaves them and its state for them alone. Call
    it after ``backward`` and before clipping and the step. A model with one kind of parameter alone trains that kind at every step.

    Raises:
        SlafError: ``every`` is no positive integer.
    """

    def __init__(self, model: nn.Module, every: int = 1, is_activation: IsActivation | None = None) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise SlafError(f"every must be a positive integer; got {every!r}")
        self.every = every
        self.activations = activation_parameters(model, is_activation)
        own = {id(p) for p in self.activations}
        self.weights = [p for p in model.parameters() if p.requires_grad and id(p) not in own]

    def turn(self, step: int) -> list[nn.Parameter]:
        """Drop the other kind's gradients for step number ``step`` (from 0); returns the parameters whose turn it is."""
        if not self.activations or not self.weights:
            return self.activations or self.weights
        mine, others = (self.weights, self.activations) if (step // self.every) % 2 == 0 else (self.activations, self.weights)
        for p in others:
            p.grad = None
        return mine
