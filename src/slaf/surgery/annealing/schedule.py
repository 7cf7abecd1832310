"""How far every site is, as a function of the progress of the whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from slaf.core import SlafError, one_of

__all__ = ["ORDERS", "Schedule", "at_sites", "schedule_of"]

Schedule = str | Callable[[float], float]
ORDERS = ("together", "front_to_back")
_NAMED: dict[str, Callable[[float], float]] = {"linear": lambda t: t, "cosine": lambda t: (1 - math.cos(math.pi * t)) / 2}
_CHECKED = 1000


def schedule_of(schedule: Schedule) -> Callable[[float], float]:
    """The function of t in [0, 1] that a name means: ``linear``, t; ``cosine``, (1 - cos πt)/2; a function is checked.

    Raises:
        SlafError: an unknown name; a function that does not go from 0 to 1 without going back.
    """
    if not callable(schedule):
        return _NAMED[one_of("schedule", schedule, _NAMED)]
    values = [float(schedule(k / _CHECKED)) for k in range(_CHECKED + 1)]
    if not (math.isclose(values[0], 0, abs_tol=1e-9) and math.isclose(values[-1], 1)):
        raise SlafError(f"schedule must go from 0 at 0 to 1 at 1; it goes from {values[0]:g} to {values[-1]:g}")
    for k, (before, after) in enumerate(pairwise(values)):
        if not before <= after:  # NaN too
            raise SlafError(
                f"schedule must never go back; it goes from {before:g} at {k / _CHECKED:g} to {after:g} at {(k + 1) / _CHECKED:g}"
            )
    return lambda t: 0.0 if t <= 0 else 1.0 if t >= 1 else schedule(t)


def at_sites(progress: float, sites: int, order: str, schedule: Callable[[float], float], settle: float) -> list[float]:
    """α of every site. ``settle`` is the share of the time, at the end, in which all are new.

    Front to back, site i of n goes from 0 to 1 between i/n and (i + 1)/n of the rest; together, all go at once.
    """
    time = min(1.0, progress / (1 - settle))
    if order == "together":
        return [_within(schedule(time))] * sites
    return [_within(schedule(min(1.0, max(0.0, time * sites - i)))) for i in range(sites)]


def _within(alpha: float) -> float:
    return min(1.0, max(0.0, float(alpha)))
