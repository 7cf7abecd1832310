"""``Recipe``: everything about training except model, data, loss and seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import torch
from torch import nn

from slaf.core import SlafError, one_of

from .groups import param_groups
from .penalties import Penalty

__all__ = ["Recipe"]

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
SCHEDULES = ("constant", "cosine")
ROUTINES = ("joint", "alternating")


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; a plain value that can be compared, pickled and printed.

    Attributes:
        epochs, batch_size: the last, smaller batch is used unless ``drop_last``; one of a single sample is merged into the batch before
            it, because batch statistics of one sample say nothing.
        lr: initial learning rate of the weights.
        schedule: ``"constant"``; ``"cosine"`` (to 0, step by step); or milestones ``((8, 1e-3), (10, 1e-4))``: from epoch 8 on (counted
            from 0) the learning rate is 1e-3, from epoch 10 on 1e-4.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"`` (with ``momentum``).
        weight_decay: of the weights; activations have none.
        clip: largest global norm of the gradient, or ``None``; with ``clip_selectively`` that of batch norms is neither counted nor scaled
            (:func:`slaf.train.clip_selectively`).
        activation_lr_factor: the activations' learning rate over the weights', at all times.
        routine: ``"joint"``, or ``"alternating"``: weights and activations in turn, ``alternate_every`` steps each.
        penalty: added to the loss the optimiser sees.
        separate_penalty: followed by plain gradient descent at the same learning rate, beside the optimiser (``separate_step``).
        mixup: α of :func:`slaf.train.mixing.mixed`: trains on weighted means of pairs of samples; 0 trains on the samples.

    Raises:
        SlafError: a value that is not allowed.
    """

    epochs: int
    batch_size: int
    lr: float = 1e-3
    schedule: str | tuple[tuple[int, float], ...] = "constant"
    optimizer: str = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip: float | None = None
    clip_selectively: bool = False
    activation_lr_factor: float = 1.0
    routine: str = "joint"
    alternate_every: int = 1
    penalty: Penalty | None = None
    separate_penalty: Penalty | None = None
    drop_last: bool = False
    mixup: float = 0.0

    def __post_init__(self) -> None:
        _whole("epochs", self.epochs, 0)
        _whole("batch_size", self.batch_size, 1)
        _whole("alternate_every", self.alternate_every, 1)
        for name in ("lr", "weight_decay", "activation_lr_factor", "momentum", "mixup"):
            _at_least_zero(name, getattr(self, name))
        if self.clip is not None and not (_is_number(self.clip) and self.clip > 0):
            raise SlafError(f"clip must be a positive number or None; got {self.clip!r}")
        if self.clip_selectively and self.clip is None:
            raise SlafError("clip_selectively needs clip, the largest norm of the gradient")
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("routine", self.routine, ROUTINES)
        if isinstance(self.schedule, str):
            one_of("schedule", self.schedule, SCHEDULES)
            return
        try:
            milestones = tuple((_whole("schedule's epoch", e, 0), _at_least_zero("schedule's learning rate", r)) for e, r in self.schedule)
        except (TypeError, ValueError) as error:
            if isinstance(error, SlafError):
                raise
            raise SlafError(
                f"schedule must be constant, cosine or milestones such as ((8, 1e-3), (10, 1e-4)); got {self.schedule!r}"
            ) from None
        if list(milestones) != sorted(milestones, key=lambda m: m[0]):
            raise SlafError(f"schedule's milestones must be in the order of their epochs; got {self.schedule!r}")
        object.__setattr__(self, "schedule", milestones)

    def scaled(self, factor: float) -> Recipe:
        """The same recipe with every learning rate, the milestones' too, times ``factor``: for a batch that many times as large, say.

        Raises:
            SlafError: ``factor`` is not a number of at least 0.
        """
        factor = _at_least_zero("factor", factor)
        schedule = self.schedule if isinstance(self.schedule, str) else tuple((epoch, rate * factor) for epoch, rate in self.schedule)
        return replace(self, lr=self.lr * factor, schedule=schedule)

    def lr_at(self, time: float) -> float:
        """The weights' learning rate after ``time`` epochs (a fraction within one)."""
        if isinstance(self.schedule, str):
            cosine = self.schedule == "cosine"
            return self.lr * 0.5 * (1 + math.cos(math.pi * min(time / max(self.epochs, 1), 1.0))) if cosine else self.lr
        return [self.lr, *(rate for epoch, rate in self.schedule if time >= epoch)][-1]

    def optimizer_for(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser over ``param_groups(model)``; set the groups' learning rates by ``set_lr``."""
        rate = self.lr
        groups = param_groups(model, rate, self.weight_decay, rate * self.activation_lr_factor)
        options: dict[str, Any] = {"momentum": self.momentum} if self.optimizer == "sgd" else {}
        # one kernel for all parameters: on networks this small the optimiser is otherwise a third of the step
        options["fused"] = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for g in groups for p in g["params"])
        return OPTIMIZERS[self.optimizer](groups, lr=rate, **options)

    def set_lr(self, optimizer: torch.optim.Optimizer, time: float) -> float:
        """Set the learning rates that hold after ``time`` epochs; returns the weights'."""
        rate = self.lr_at(time)
        for group in optimizer.param_groups:
            group["lr"] = rate * self.activation_lr_factor if group.get("name") == "activations" else rate
        return rate


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SlafError(f"{name} must be an integer of at least {least}; got {value!r}")
    return value


def _at_least_zero(name: str, value: Any) -> float:
    if not _is_number(value) or value < 0:
        raise SlafError(f"{name} must be a number of at least 0; got {value!r}")
    return value
