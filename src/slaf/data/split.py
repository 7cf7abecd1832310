"""Which samples train and which are held out: drawn by a seed, each class by its share; and what the draw gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from slaf.core import SlafError

__all__ = ["Split", "check_share", "draw", "scale_of"]


@dataclass(frozen=True)
class Split:
    """Tensors ready for training: ``train`` and ``test`` are (inputs float32, targets).

    Targets are int64 classes (rows,), or float32 (rows, 1), standardised: number = target · ``target_std`` + ``target_mean``. ``notes``
    are short sentences on what was done to the data, for a report.
    """

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    target_mean: float = 0.0
    target_std: float = 1.0
    notes: tuple[str, ...] = ()


def check_share(test_share: Any) -> float:
    """``test_share`` as a float.

    Raises:
        SlafError: it is not a number above 0 and below 1.
    """
    number = isinstance(test_share, Real) and not isinstance(test_share, bool) and math.isfinite(test_share)
    if not (number and 0 < test_share < 1):
        raise SlafError(f"test_share must be a number above 0 and below 1; got {test_share!r}")
    return float(test_share)


def draw(rows: int, generator: torch.Generator, test_share: float = 0.2, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Indices of the training and of the held-out rows, both in random order.

    max(1, round(rows · test_share)) rows are held out, but never all of them. With ``labels`` (rows,), int64 from 0, each class gives
    its share: rounded down, what is left over going to the largest fractions; the last row of a class always trains.

    Raises:
        SlafError: ``test_share`` is not between 0 and 1, or nothing can be held out because every class has a single row.
    """
    share = check_share(test_share)
    held_out = min(max(1, math.floor(rows * share + 0.5)), rows - 1)
    order = torch.randperm(rows, generator=generator)
    if held_out < 1:
        raise SlafError(f"test_share={test_share!r} cannot be held out of {rows} samples: at least 2 are needed")
    if labels is None:
        return order[held_out:], order[:held_out]
    counts = torch.bincount(labels)
    quota = _quota(counts, held_out, share, torch.randperm(len(counts), generator=generator))
    by_class = order[labels[order].argsort(stable=True)]  # classes one after the other, random within each
    first = counts.cumsum(0) - counts
    position = torch.arange(rows) - first.repeat_interleave(counts)
    test = torch.zeros(rows, dtype=torch.bool)
    test[by_class] = position < quota.repeat_interleave(counts)
    chosen = test[order]
    return order[~chosen], order[chosen]


def _quota(counts: Tensor, held_out: int, share: float, order: Tensor) -> Tensor:
    """How many rows of each class are held out, ``held_out`` in all where the classes allow it: the method of largest remainders.

    Equal remainders are served in ``order``, a random one: in that of the classes the last would never be held out.
    """
    most = (counts - 1).clamp(min=0)
    if not int(most.sum()):
        raise SlafError(f"every one of the {int((counts > 0).sum())} classes has a single sample: none can be held out")
    exact = counts.double() * share
    quota = exact.floor().long().minimum(most)
    while (left := min(held_out, int(most.sum())) - int(quota.sum())) > 0:
        fraction = torch.where(quota < most, exact - quota, -math.inf)[order]
        quota[order[fraction.argsort(descending=True, stable=True)][: min(left, int((quota < most).sum()))]] += 1
    return quota


def scale_of(std: Tensor, mean: Tensor, resolution: float = 1e-7) -> Tensor:
    """``std``, and 1 where it is no more than rounding (``resolution`` of the mean): a constant becomes 0, not noise blown up."""
    return torch.where(std > (resolution * mean.abs()).clamp(min=1e-30), std, torch.ones_like(std))
