"""A polynomial network as three kinds of steps: affine maps with sparse rows, one polynomial per feature, products. Float64, numpy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

__all__ = ["Affine", "Network", "Polynomial", "Product"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Affine:
    """out = W·(all ``sources``, one after the other) + bias, with W in compressed sparse rows.

    Attributes:
        starts: row o has the entries starts[o] … starts[o + 1] - 1 of ``columns`` and ``weights``.
    """

    name: str
    sources: tuple[int, ...]
    starts: Array
    columns: Array
    weights: Array
    bias: Array

    @classmethod
    def of(cls, name: str, sources: tuple[int, ...], matrix: torch.Tensor, bias: Array) -> Affine:
        """From W as a sparse or dense tensor (out, in)."""
        w = (matrix if matrix.is_sparse else matrix.to_sparse()).coalesce()
        (rows, columns), weights = w.indices().numpy(), w.values().numpy()
        kept = weights != 0
        rows, columns, weights = rows[kept], columns[kept], weights[kept]
        starts = np.searchsorted(rows, np.arange(w.shape[0] + 1))
        return cls(name, sources, starts, columns, weights, np.asarray(bias, dtype=np.float64))

    @property
    def rows(self) -> Array:
        """The row of every entry."""
        return np.repeat(np.arange(len(self.bias)), np.diff(self.starts))

    def matrix(self, inputs: int) -> torch.Tensor:
        """W as a sparse tensor (out, inputs)."""
        where = torch.from_numpy(np.stack([self.rows, self.columns]).astype(np.int64))
        return torch.sparse_coo_tensor(where, torch.from_numpy(self.weights), (len(self.bias), inputs), check_invariants=False)

    def __call__(self, *values: Array) -> Array:
        """(n, features) each → (n, out)."""
        x = torch.from_numpy(np.ascontiguousarray(np.concatenate(values, 1).T))
        return np.asarray(torch.sparse.mm(self.matrix(len(x)), x).numpy().T + self.bias)

    def is_sum(self) -> bool:
        """Whether in every row all weights have the same magnitude: additions alone, once that is taken out."""
        size = np.abs(self.weights)
        first = size[np.minimum(self.starts[:-1], max(len(size) - 1, 0))] if len(size) else np.zeros(len(self.bias))
        return bool(np.allclose(size, first[self.rows], rtol=1e-12, atol=0))

    def row_sizes(self) -> Array:
        """max |w| of every row, 1 for an empty one."""
        out = np.zeros(len(self.bias))
        np.maximum.at(out, self.rows, np.abs(self.weights))
        return np.where(out > 0, out, 1.0)


@dataclass(frozen=True)
class Polynomial:
    """out_i = Σ_j coefficients[index_i, j] T_j((x_i - center[index_i])·rscale[index_i]).

    Attributes:
        index: of every feature, which of the polynomials it has.
        ranged: whether they were fitted where the Chebyshev polynomials' argument is in [-1, 1]; a closed form holds everywhere.
    """

    name: str
    source: int
    coefficients: Array
    center: Array
    rscale: Array
    index: Array
    ranged: bool = True

    @property
    def sources(self) -> tuple[int]:
        """As the other steps have them."""
        return (self.source,)

    @property
    def degree(self) -> int:
        used = np.flatnonzero(np.any(self.coefficients != 0, 0))
        return int(used[-1]) if len(used) else 0

    def mapped(self, x: Array) -> Array:
        """What the Chebyshev polynomials are taken of; it was in [-1, 1] where they were fitted."""
        return np.asarray((x - self.center[self.index]) * self.rscale[self.index])

    def __call__(self, x: Array) -> Array:
        """(n, features) → (n, features)."""
        return np.asarray(chebyshev.chebval(self.mapped(x), self.coefficients[self.index].T, tensor=False))


@dataclass(frozen=True)
class Product:
    """out_i = x_i·y_i of two tensors of ``size`` features each."""

    name: str
    sources: tuple[int, int]
    size: int

    def __call__(self, x: Array, y: Array) -> Array:
        """(n, features) each → (n, features)."""
        return x * y


Step = Affine | Polynomial | Product


@dataclass
class Network:
    """Steps in order; tensor 0 is the input, tensor i + 1 what step i gives, the last one the output."""

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    steps: list[Step] = field(default_factory=list)

    @property
    def features(self) -> list[int]:
        """Of every tensor."""
        return [int(np.prod(self.input_shape)), *map(_size, self.steps)]

    def run(self, x: Array, outside: dict[str, float] | None = None) -> Array:
        """(n, features) → (n, outputs) in float64; in ``outside`` the share of each polynomial's inputs outside [-1, 1]."""
        values = [x]
        for step in self.steps:
            if isinstance(step, Polynomial) and outside is not None and step.ranged:
                outside[step.name] = float(np.mean(np.abs(step.mapped(values[step.source])) > 1 + 1e-9))
            values.append(step(*(values[s] for s in step.sources)))
        return values[-1]

    def merged(self) -> Network:
        """With affine maps that follow one another as one, where that saves a level or costs nothing."""
        steps, place = list(self.steps), 0
        while place < len(steps):
            joined = _joined(steps, place, self.features[0])
            if joined is None:
                place += 1
            else:
                steps, place = joined, 0
        return Network(self.input_shape, self.output_shape, steps)


def _joined(steps: list[Step], place: int, inputs: int) -> list[Step] | None:
    """Without step ``place``, put into the one step that reads it; None where that is not to be done."""
    first = steps[place]
    readers = [i for i, s in enumerate(steps) if place + 1 in s.sources]
    if not isinstance(first, Affine) or len(readers) != 1 or place + 1 == len(steps):
        return None
    second = steps[readers[0]]
    if not isinstance(second, Affine) or len(second.sources) != 1:
        return None
    light = any(np.diff(s.starts).max(initial=0) <= 1 for s in (first, second))
    if not light and (first.is_sum() or second.is_sum()):
        return None
    width = sum(inputs if s == 0 else _size(steps[s - 1]) for s in first.sources)
    w, after = first.matrix(width), second.matrix(len(first.bias))
    bias = (after @ torch.from_numpy(first.bias)[:, None])[:, 0].numpy() + second.bias
    name = first.name if np.diff(second.starts).max(initial=0) <= 1 else second.name
    new = Affine.of(name, first.sources, torch.sparse.mm(after, w.to_dense()), bias)
    out = [*steps]
    out[readers[0]] = new
    del out[place]
    return [_renumbered(s, place + 1) for s in out]


def _size(step: Step) -> int:
    if isinstance(step, Product):
        return step.size
    return len(step.bias) if isinstance(step, Affine) else len(step.index)


def _renumbered(step: Step, gone: int) -> Step:
    moved = tuple(i - (i > gone) for i in step.sources)
    return replace(step, source=moved[0]) if isinstance(step, Polynomial) else replace(step, sources=moved)  # type: ignore[arg-type]
