"""A table as tensors: split, standardised, one-hot; every number that this needs is taken from the training rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .split import Split, draw, scale_of

if TYPE_CHECKING:
    from .table import Table

__all__ = ["TableSplit", "encode"]

_MOST_LEVELS = 32

Column = tuple[str, Callable[[Tensor], Tensor]]
"""A feature's name and what fills it: row indices to float32 values. Filled in place, so that no second copy of all features exists."""


@dataclass(frozen=True)
class TableSplit(Split):
    """Training and held-out rows; ``features`` names the inputs' columns."""

    features: tuple[str, ...] = ()


def encode(table: Table, generator: torch.Generator, test_share: float = 0.2) -> TableSplit:
    """Split the rows of ``table`` and encode them, a pure function of the generator's seed.

    Numbers: (value − mean) / std over the training rows, 0 where missing, followed by a 0/1 column ``name missing`` if training has a
    missing value. Categories: a 0/1 column for each level that training has (with more than 32 the 31 most frequent, and ``other``), and
    one for a missing value. Classes are split by their shares. A regression target is standardised by training's mean and std.

    Raises:
        SlafError: ``test_share`` is not between 0 and 1.
    """
    classes = table.task == "classification"
    y = torch.from_numpy(table.y)
    train, test = draw(table.rows, generator, test_share, y if classes else None)
    columns = [*_numeric(table, train), *_categorical(table, train)]
    x_train, x_test = torch.empty(len(train), len(columns)), torch.empty(len(test), len(columns))
    for j, (_, fill) in enumerate(columns):
        x_train[:, j], x_test[:, j] = fill(train), fill(test)
    how = "each class by its share" if classes else "at random"
    counted = f"{table.rows:,} rows: {len(train):,} for training, {len(test):,} held out ({how})"
    features, notes = tuple(name for name, _ in columns), (counted, *table.notes)
    if classes:
        return TableSplit((x_train, y[train]), (x_test, y[test]), notes=notes, features=features)
    mean = y[train].mean()
    std = scale_of(y[train].std(correction=0), mean, 1e-12)
    targets = [((y[rows] - mean) / std).float()[:, None] for rows in (train, test)]
    return TableSplit((x_train, targets[0]), (x_test, targets[1]), float(mean), float(std), notes, features)


def _numeric(table: Table, train: Tensor) -> Iterator[Column]:
    values = torch.from_numpy(table.numeric)
    for j, name in enumerate(table.numeric_names):
        column = values[:, j]
        seen = column[train].double()
        known = seen[~seen.isnan()]
        # without a single number in training all that is left is whether one is missing
        mean = known.mean() if len(known) else torch.zeros((), dtype=torch.float64)
        std = scale_of(known.std(correction=0), mean) if len(known) else torch.ones((), dtype=torch.float64)
        yield name, partial(_standardised, column, mean, std)
        if len(known) < len(seen):
            yield f"{name} missing", partial(_missing, column)


def _categorical(table: Table, train: Tensor) -> Iterator[Column]:
    codes = torch.from_numpy(table.codes)
    for j, (name, levels) in enumerate(zip(table.categorical_names, table.levels, strict=True)):
        column = codes[:, j]
        seen = column[train].long()
        counts = torch.bincount(seen[seen >= 0], minlength=len(levels))
        kept = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
        rare = len(kept) > _MOST_LEVELS
        if rare:
            kept = kept[: _MOST_LEVELS - 1]
        kept = kept.sort().values
        for level in kept.tolist():
            yield f"{name}={levels[level]}", partial(_equal, column, level)
        if rare:
            common = torch.zeros(len(levels) + 1, dtype=torch.bool)
            common[kept] = common[-1] = True  # the last entry is code -1, a missing value
            yield f"{name}=other", partial(_rare, column, common)
        if bool((seen < 0).any()):
            yield f"{name} missing", partial(_equal, column, -1)


def _standardised(column: Tensor, mean: Tensor, std: Tensor, rows: Tensor) -> Tensor:
    return ((column[rows].double() - mean) / std).nan_to_num(0.0).float()


def _missing(column: Tensor, rows: Tensor) -> Tensor:
    return column[rows].isnan().float()


def _equal(column: Tensor, level: int, rows: Tensor) -> Tensor:
    return (column[rows] == level).float()


def _rare(column: Tensor, common: Tensor, rows: Tensor) -> Tensor:
    return (~common[column[rows].long()]).float()
