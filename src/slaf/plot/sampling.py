"""``sample``: the values of f and its derivatives on a grid that kinks cut into pieces, one column for each learned function."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from slaf.core import Activation, NormActivation, SlafError, make

__all__ = ["Sampled", "Subject", "sample"]

Subject = str | nn.Module | Callable[[Tensor], Tensor]
"""What can be drawn: an activation string, a module, or a function of a tensor."""

_POINTS, _MOST_KINKS = 801, 400


@dataclass(frozen=True)
class Sampled:
    """One activation on a grid: ``values[n]`` is the n-th derivative, (points, functions); NaN where its line is broken."""

    label: str
    x: np.ndarray
    values: tuple[np.ndarray, ...]
    outside: tuple[tuple[float, float], ...]
    """The parts of the interval beyond a learned function's domain."""


def sample(subject: Subject, low: float, high: float, derivatives: int) -> Sampled:
    """Evaluate ``subject`` and its derivatives over [low, high] in float64.

    Raises:
        SlafError: an unknown name, an empty interval, or a module that is no function of one number.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SlafError(f"low must be less than high, both finite; got {low!r} and {high!r}")
    label, module = _module(subject)
    facts = getattr(module, "facts", None)
    kinks = () if facts is None else facts.kinks or ()
    inside = sorted({float(k) for k in kinks if low < k < high})[:_MOST_KINKS]
    x, starts = _grid([low, *inside, high])
    if len(x) == 0:
        raise SlafError(f"the interval from {low!r} to {high!r} is too short to draw")
    values = [_evaluate(module, torch.from_numpy(x), order, label) for order in range(derivatives + 1)]
    broken = [_broken(v, starts) for v in values]
    return Sampled(label, np.insert(x, starts, x[starts]), tuple(broken), _outside(module, low, high))


def _module(subject: Subject) -> tuple[str, Activation]:
    if isinstance(subject, str):
        made: object = make(subject, num_channels=1)  # one channel is enough to look at
        label = subject
    else:
        made = copy.deepcopy(subject) if isinstance(subject, nn.Module) else subject
        label = str(made.spec()) if isinstance(made, (Activation, NormActivation)) else _name(subject)
    if isinstance(made, NormActivation):
        raise SlafError(f"{label} mixes elements (it normalises over a token, a sample or a batch), so it has no curve to draw")
    if not isinstance(made, Activation):
        if not callable(made):
            raise SlafError(f"an activation to draw must be a string, a module or a function; got {type(made).__name__}")
        made = _Plain(made)
    return label if len(label) <= 48 else label[:47] + "…", made.eval().double()


def _name(subject: object) -> str:
    return type(subject).__name__ if isinstance(subject, nn.Module) else getattr(subject, "__name__", type(subject).__name__)


class _Plain(Activation):
    """Any module or function as an Activation without facts, for its generic derivative."""

    name = "given"

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    facts = None  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _grid(edges: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Points from just after each edge to just before the next, and the indices where a piece starts, the first left out."""
    whole, pieces = edges[-1] - edges[0], []
    for index, (a, b) in enumerate(itertools.pairwise(edges)):
        margin = min(1e-6 * whole, (b - a) / 4)
        first, last = (a if index == 0 else a + margin), (b if b == edges[-1] else b - margin)
        if last > first:
            pieces.append(np.linspace(first, last, max(3, round(_POINTS * (b - a) / whole))))
    x = np.concatenate(pieces) if pieces else np.empty(0)
    return x, np.cumsum([len(p) for p in pieces])[:-1]


def _evaluate(module: Activation, x: Tensor, order: int, label: str) -> np.ndarray:
    try:
        y = module.curves(x) if order == 0 else module.derivative(module._spread(x).contiguous(), order).detach()
        y = y.reshape(len(x), -1)
        # a copy, because abs has a symbolic zero as its second derivative, which numpy cannot read
        return torch.zeros(y.shape, dtype=torch.float64).copy_(y).numpy()
    except SlafError:
        raise
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        what = "cannot be drawn as a function of one number" if order == 0 else f"has no derivative of order {order} to draw"
        raise SlafError(f"{label} {what}: {type(error).__name__}: {error}") from error


def _broken(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """A row put in before each piece: NaN where the function jumps, so that its line is broken there, and its value elsewhere."""
    values = np.where(np.isfinite(values), values, math.nan)
    finite = values[np.isfinite(values)]
    size = float(np.ptp(finite)) if len(finite) else 0.0
    rows = values[starts].copy()
    rows[np.abs(values[starts] - values[starts - 1]) > 1e-3 * size] = math.nan
    return np.insert(values, starts, rows, axis=0)


def _outside(module: Activation, low: float, high: float) -> tuple[tuple[float, float], ...]:
    if module.domain is None:
        return ()
    first, last = (float(end) for end in module.domain)
    parts = ((low, min(first, high)), (max(last, low), high))
    return tuple(p for p in parts if p[0] < p[1])
