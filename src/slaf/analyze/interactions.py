"""``interactions``: how strongly inputs act together, E|∂²f/∂x_i∂x_j| over samples of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slaf.core import SlafError
from slaf.surgery.polynomializing.data import device_of
from slaf.train import rows_at_once

from .exact import Array, Exact, samples

__all__ = ["Interactions", "interactions", "interactions_of"]

MOST = 64
"""Features whose pairs are all looked at without being asked to."""


@dataclass(frozen=True)
class Interactions:
    """E|∂²f_o/∂s_i∂s_j|, s_i what is added to feature i (of a patch: to all of its pixels).

    Attributes:
        names: of the features.
        each: (outputs, features, features), and ``each_error`` the standard error of these means over samples.
        mean: (features, features), the mean over the outputs, and ``mean_error`` its standard error.
        count: samples.
        grid: rows and columns of the patches, for images whose patches are the features.
    """

    names: tuple[str, ...]
    each: Array
    each_error: Array
    mean: Array
    mean_error: Array
    count: int
    grid: tuple[int, int] | None = None

    def strongest(self, n: int = 5, output: int | None = None) -> list[tuple[str, str, float, float]]:
        """The ``n`` pairs of two features with the largest mean, of one output or of their mean: (name, name, mean, standard error)."""
        mean, error = (self.mean, self.mean_error) if output is None else (self.each[output], self.each_error[output])
        i, j = np.triu_indices(len(self.names), 1)
        order = np.argsort(-mean[i, j], kind="stable")[:n]
        return [(self.names[a], self.names[b], float(mean[a, b]), float(error[a, b])) for a, b in zip(i[order], j[order], strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        arrays = {name: getattr(self, name).tolist() for name in ("each", "each_error", "mean", "mean_error")}
        return {"names": list(self.names), "count": self.count, "grid": self.grid and list(self.grid)} | arrays


def interactions(
    model: nn.Module,
    data: Tensor,
    features: Sequence[int] | None = None,
    patch: int | None = None,
    count: int = 64,
    seed: int = 0,
) -> Interactions:
    """The mean size of every mixed second derivative over inputs drawn from ``data``, for each output.

    Zero for a pair means that the network is a sum of a part without the one and a part without the other, on what was sampled.

    Args:
        model: a network that is a polynomial of its input in evaluation.
        data: inputs (n, …).
        features: places in the flattened input; all of them if not given and no more than 64.
        patch: of images (n, channels, height, width), the side of square patches, which are the features then; if neither is given and
            an image has more than 64 numbers, the smallest that makes at most 64 patches.
        count: how many inputs are drawn, without putting back; all if there are no more.
        seed: of the draw.

    Raises:
        SlafError: the model is no polynomial (the operations are named), too many features, or an argument that is not allowed.
    """
    x = samples(data, least=2)
    return interactions_of(Exact(model, x), x, features, patch, count, seed)


def interactions_of(
    exact: Exact,
    x: Tensor,
    features: Sequence[int] | None = None,
    patch: int | None = None,
    count: int = 64,
    seed: int = 0,
) -> Interactions:
    """See :func:`interactions`."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 2:
        raise SlafError(f"count must be a whole number of at least 2, for a standard error; got {count!r}")
    names, directions, grid = _directions(x, features, patch)
    drawn = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:count]]
    device = device_of(exact.network)
    total = [np.zeros(0)] * 4
    for part in drawn.split(min(len(drawn), rows_at_once(x))):
        size = _second_derivatives(exact.network, part.to(device), directions.to(device)).abs().cpu().numpy()
        if not np.isfinite(size).all():
            raise SlafError("the network's second derivatives are not finite in float64 on the data")
        parts = [v.sum(0) for v in (size, size**2, size.mean(1), size.mean(1) ** 2)]
        total = [a + b if a.size else b for a, b in zip(total, parts, strict=True)]
    (each, each_error), (mean, mean_error) = (_estimate(total[i], total[i + 1], len(drawn)) for i in (0, 2))
    return Interactions(names, each, each_error, mean, mean_error, len(drawn), grid)


def _estimate(total: Array, squares: Array, n: int) -> tuple[Array, Array]:
    """Mean and its standard error."""
    mean = total / n
    return mean, np.sqrt(np.maximum(squares / n - mean**2, 0.0) / (n - 1))


def _second_derivatives(network: nn.Module, x: Tensor, directions: Tensor) -> Tensor:
    """∂²f_o(x + Σ s_i d_i)/∂s_i∂s_j at s = 0, of every sample: (n, outputs, k, k)."""
    s = torch.zeros(len(x), len(directions), dtype=x.dtype, device=x.device, requires_grad=True)
    with torch.enable_grad():
        y = network(x + torch.tensordot(s, directions, 1)).reshape(len(x), -1)
        out = torch.zeros(len(x), y.shape[1], len(directions), len(directions), dtype=x.dtype, device=x.device)
        for o in range(y.shape[1]):
            slope = torch.autograd.grad(y[:, o].sum(), s, create_graph=True, materialize_grads=True)[0] if y.requires_grad else s.detach()
            if not slope.requires_grad:
                continue  # an affine output
            for i in range(len(directions)):
                out[:, o, i] = torch.autograd.grad(slope[:, i].sum(), s, retain_graph=True, materialize_grads=True)[0]
    return out


def _directions(x: Tensor, features: Any, patch: Any) -> tuple[tuple[str, ...], Tensor, tuple[int, int] | None]:
    """Names, what of the input each feature is, (k, …), and the patches' rows and columns."""
    size, image = x[0].numel(), x.dim() == 4
    if features is not None and patch is not None:
        raise SlafError("features and patch say the same thing; give one of them")
    if features is None and patch is None and size > MOST and image:
        patch = next(p for p in range(1, size + 1) if math.ceil(x.shape[2] / p) * math.ceil(x.shape[3] / p) <= MOST)
    if patch is not None:
        return _patches(x, patch)
    if features is None and size > MOST:
        raise SlafError(f"an input has {size} numbers; name at most {MOST} places of them in features (patch= is for images)")
    chosen = list(range(size)) if features is None else list(features)
    whole = all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i < size for i in chosen)
    if not chosen or len(set(chosen)) != len(chosen) or not whole:
        raise SlafError(f"features must be different whole numbers from 0 to {size - 1}; got {features!r}")
    directions = torch.zeros(len(chosen), size, dtype=x.dtype)
    directions[torch.arange(len(chosen)), torch.tensor(chosen)] = 1
    pixels = (x.shape[2], x.shape[3]) if image and x.shape[1] == 1 else None
    grid = pixels if features is None else None
    names = tuple(f"x{i}" if pixels is None else f"({i // pixels[1]}, {i % pixels[1]})" for i in chosen)
    return names, directions.reshape(-1, *x.shape[1:]), grid


def _patches(x: Tensor, patch: Any) -> tuple[tuple[str, ...], Tensor, tuple[int, int]]:
    if x.dim() != 4:
        raise SlafError(f"patch is for images (n, channels, height, width); got inputs of shape {tuple(x.shape)}")
    height, width = x.shape[2:]
    if isinstance(patch, bool) or not isinstance(patch, int) or not 1 <= patch <= max(height, width):
        raise SlafError(f"patch must be a whole number from 1 to {max(height, width)}; got {patch!r}")
    grid = math.ceil(height / patch), math.ceil(width / patch)
    places = [(r, c) for r in range(grid[0]) for c in range(grid[1])]
    directions = torch.zeros(len(places), *x.shape[1:], dtype=x.dtype)
    for d, (r, c) in zip(directions, places, strict=True):
        d[:, r * patch : (r + 1) * patch, c * patch : (c + 1) * patch] = 1
    return tuple(f"({r}, {c})" for r, c in places), directions, grid
