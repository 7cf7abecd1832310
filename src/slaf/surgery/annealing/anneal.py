"""``anneal``: other activations in any model, exchanged gradually while it trains."""

from __future__ import annotations

import copy
import math
from typing import Any

from torch import nn

from slaf.core import SlafError, one_of
from slaf.surgery.plan import copied, plan
from slaf.surgery.rules import Rules
from slaf.train.distillation import DISTANCES

from .annealing import Annealing
from .numbers import number
from .schedule import ORDERS, Schedule, at_sites, schedule_of

__all__ = ["anneal"]


def anneal(
    model: nn.Module,
    rules: Rules,
    example: Any,
    schedule: Schedule = "linear",
    order: str = "together",
    settle: float = 0.0,
    distill: float = 0.0,
    distance: str = "kl",
    teacher: nn.Module | None = None,
    range_penalty: float = 0.0,
    interval: tuple[float, float] | None = None,
    held_out: Any = None,
    share: str | None = None,
    outside: str = "linear",
    inplace: bool = False,
) -> Annealing:
    """Blend the activations that ``rules`` mean into new ones while you train: y = (1 - α)·old(x) + α·new(x), α from 0 to 1.

    What becomes what, and how new ones are fitted to old ones, is as in :func:`slaf.swap`; at progress 0 the model computes what it did.

    Args:
        model, rules, example, held_out, share, outside, inplace: as in :func:`slaf.swap`.
        schedule: α over a site's time: ``"linear"``, ``"cosine"``, or a function from [0, 1] to [0, 1], 0 to 0, 1 to 1, never back.
        order: ``"together"``; or ``"front_to_back"``: site after site in the order of the data, each in its equal share of the time.
        settle: share of the time, at the end, in which the new ones train alone, in [0, 1).
        distill: weight of :meth:`Annealing.distillation`, the distance of the output from the original model's, or that of ``teacher``, of
            which a frozen copy is kept; ``distance`` is ``"kl"`` (of logits) or ``"mse"``.
        range_penalty: weight of :meth:`Annealing.penalty`, the boundary loss of the inputs of every site, on ``interval``; by default
            each site's interval of the fit.

    Returns:
        An :class:`Annealing`. Make the optimiser after this call: the new activations have parameters of their own.

    Raises:
        SlafError: as :func:`slaf.swap`; a schedule, order or number that is not allowed. The model stays as it was.

    Example:
        >>> annealing = slaf.anneal(model, {"silu": "hardswish"}, example=x, distill=1.0)
        >>> for batch, target in loader:
        ...     output = annealing.model(batch)
        ...     loss = task(output, target) + annealing.penalty() + annealing.distillation(batch, output)
        ...     ...  # backward, step
        ...     annealing.step(1 / len(loader))
        >>> model = annealing.finish()
    """
    ramp = schedule_of(schedule)
    one_of("order", order, ORDERS)
    one_of("distance", distance, DISTANCES)
    for name, value in (("distill", distill), ("range_penalty", range_penalty)):
        number(name, value, "of at least 0", value_ok=lambda v: v >= 0)
    number("settle", settle, "of at least 0 and below 1", value_ok=lambda v: 0 <= v < 1)
    if interval is not None and not (len(interval) == 2 and all(map(math.isfinite, interval)) and interval[0] < interval[1]):
        raise SlafError(f"interval must be two numbers (low, high), low < high; got {interval!r}")
    planned = plan(model, rules, example, held_out, share, outside)
    changed = model if inplace else copied(model)
    kept = _frozen(changed if teacher is None else teacher) if distill else None
    annealing = Annealing(changed, planned, interval, lambda t, n: at_sites(t, n, order, ramp, settle))
    annealing._teacher, annealing.distill, annealing.distance, annealing.range_penalty = kept, distill, distance, range_penalty
    for blend in annealing._blends:
        blend.watched = range_penalty > 0
    return annealing


def _frozen(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).eval().requires_grad_(False)
