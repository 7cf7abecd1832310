"""SLAF over Gaussian radial basis functions on the native kernels: the function that :mod:`.summed` defines."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slaf.bases import Basis
from slaf.bases.gaussian import uniform_centres
from slaf.bases.rbf import RBF
from slaf.core.sharing import broadcast
from slaf.kernels.dispatch import on_gpu
from slaf.kernels.rbf import POWER, Definition, Grid, bumps, bumps_at, bumps_fixed
from slaf.kernels.series import standardize, working_dtype

from .fused import measured_batch, unit_of
from .fused_fold import BatchFold, mean_and_var
from .own import own

if TYPE_CHECKING:
    from .slaf import SLAF

__all__ = ["evaluated", "grid_of", "with_map"]


def grid_of(act: SLAF) -> Grid | None:
    """Where the kernels have the function."""
    return _grid(act.basis, act.num_terms) if act.squash == "none" else None


def _grid(basis: Basis, terms: int) -> Grid | None:
    if not isinstance(basis, RBF):
        return None
    grid = Grid(terms, uniform_centres(basis.domain, terms)[1], basis.width)
    return grid if grid.fits() else None


_kept_grid = lru_cache(maxsize=64)(_grid)  # apart: a compiler warns of caches


def evaluated(act: SLAF, x: Tensor, shape: tuple[int, ...], training: bool) -> Tensor | None:
    """f(x), by the statistics of this batch, which it counts, if ``training``; ``None`` where the definition must run."""
    inputs, grid = act.input_statistics, None
    if act.squash == "none" and not torch.compiler.is_compiling():
        grid = _kept_grid(act.basis, act.num_terms)
    if grid is None or act.gate is not None or on_gpu(x) or (training and inputs is not None and inputs.ranks is not None):
        return None
    definition, factor = _definition(act, shape), act.coefficient_scale
    if not training or inputs is None:
        weight, bias = own(act, "weight", "bias")
        return bumps_fixed(x, grid, weight, bias, factor, shape, *_frozen(act), definition)
    measured = measured_batch(act, x, shape, inputs, POWER, 1)
    if measured is None:
        return None
    inputs.update(*mean_and_var(measured, measured.t))
    repeat = act.sharing.sites // act.sharing.count if act.sharing.share == "group" else 1
    fold = BatchFold(measured, inputs, inputs.running_map((-1,)), None, unit_of(act), factor, repeat)
    return bumps(x, grid, measured, fold, act.weight, act.bias, definition)


def with_map(act: SLAF, x: Tensor, c: Tensor, shape: tuple[int, ...], center: Tensor | None, rscale: Tensor | float) -> Tensor | None:
    """f(x) on a GPU from c, (sites or 1, terms + 1), and the input map, which may depend on x; ``None`` where the definition must run."""
    grid = None if torch.compiler.is_compiling() else grid_of(act)
    if grid is None or not on_gpu(x):
        return None
    mid = x.new_zeros(shape, dtype=torch.float32) if center is None else center
    scale = rscale * act.basis.half_width
    if not isinstance(scale, Tensor):
        scale = x.new_full(shape, scale, dtype=torch.float32)
    return bumps_at(x, grid, c, mid, scale, shape, _definition(act, shape))


def _definition(act: SLAF, shape: tuple[int, ...]) -> Definition:
    basis, count = act.basis, act.num_terms

    def definition(x: Tensor, c: Tensor, center: Tensor, rscale: Tensor) -> Tensor:
        work = working_dtype(x.dtype)
        c = broadcast(c, shape if len(c) > 1 else (1,) * x.dim()).to(work)
        u = standardize(x, center.to(work), rscale.to(work))
        return (basis.combine(u, c[1:], count) + c[0]).to(x.dtype)

    return definition


def _frozen(act: SLAF) -> tuple[float | Tensor, float | Tensor]:
    """u over x: center and scale, numbers or (sites,) in float64."""
    half_width = act.basis.half_width
    if act.input_statistics is not None:
        center, rscale = act.input_statistics.frozen()
        return center, rscale * (half_width / act.input_scale)
    middle, rate = act.fixed_map() if act.interval is not None else (0.0, 1 / act.input_scale)
    return middle, rate * half_width
