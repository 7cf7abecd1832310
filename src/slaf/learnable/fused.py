"""SLAF over a polynomial basis on the native kernels: the function that :mod:`.folded` defines, in few passes over memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from slaf.bases.polynomial import PolynomialBasis, substitution_table
from slaf.kernels.normalized import Measured, measure, normalized
from slaf.kernels.persite import series_of_sites
from slaf.kernels.recurrence import Recurrence

from .statistics import InputStatistics, TermStatistics

if TYPE_CHECKING:
    from .slaf import SLAF

__all__ = ["evaluated", "trained"]

FAR, SMALL, LARGE, CONSTANT = 1.0, 0.04, 6.0, 1e-12
"""Moments hold their digits where the batch's mean lies within ``FAR`` of its variance from where they were taken, and that variance
between ``SMALL`` and ``LARGE`` of the unit; or where the channel is constant and lies there."""


def evaluated(act: SLAF, x: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """The function of ``x`` with the running statistics as they are; ``None`` where the definition must run."""
    if act.term_statistics is not None or act.gate is not None or act.mixing is not None or act.squash != "none":
        return None
    center = rscale = None
    half_width = act.basis.half_width
    if act.input_statistics is not None:
        center, rscale = act.input_statistics.frozen()
        rscale = rscale * (half_width / act.input_scale)
    elif act.interval is not None:
        middle, rate = act.fixed_map()
        center, rscale = (torch.full((act.sharing.sites,), v, dtype=torch.float64) for v in (middle, rate * half_width))
    elif act.weight.shape[0] == 1:
        shape = (1,) * x.dim()
    recurrence = act.basis.recurrence  # type: ignore[attr-defined]
    repeat = act.sharing.sites // act.sharing.count if act.sharing.share == "group" else 1
    return series_of_sites(x, act.weight, act.bias, act.coefficient_scale, repeat, shape, center, rscale, recurrence)


def trained(act: SLAF, x: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """The function of a training batch, whose statistics it counts; ``None`` where the definition must run."""
    inputs, terms = act.input_statistics, act.term_statistics
    if act.squash != "none" or any(s is not None and s.ranks is not None for s in (inputs, terms)):
        return None
    if terms is not None and act.mixing is not None:
        return None
    measured = _measured(act, x, shape, inputs, terms)
    if measured is None:
        return None
    return (_standardised if terms is None else _normalised)(act, x, measured)


def _expanded(act: SLAF, center: Tensor, scale: Tensor) -> Tensor:
    """:meth:`TermStatistics.expand_about` in few operations."""
    i, j, table = substitution_table(act.basis.recurrence, act.num_terms)  # type: ignore[attr-defined]
    size = act.num_terms + 1
    return ((scale[:, None] ** i * center[:, None] ** j) @ table).reshape(-1, size, size)


def _recurrence(basis: PolynomialBasis, terms: TermStatistics | None) -> Recurrence:
    return basis.recurrence if terms is not None or basis.evaluated_in is None else basis.evaluated_in


def _unit(act: SLAF) -> float:
    """u over (x - mean)/std: what a standardised input is multiplied by before the polynomial."""
    return 1.0 if act.input_statistics is None else act.basis.half_width / act.input_scale / _shrink(act)


def _shrink(act: SLAF) -> float:
    return act.basis.half_width if act.mixing is not None else 1.0


def _measured(
    act: SLAF, x: Tensor, shape: tuple[int, ...], inputs: InputStatistics | None, terms: TermStatistics | None
) -> Measured | None:
    """The moments that the batch's statistics are made of, taken about the running mean if that is near, else about the batch's own."""
    unit, recurrence = _unit(act), _recurrence(act.basis, terms)  # type: ignore[arg-type]
    count = 2 if terms is None else 2 * act.num_terms
    if inputs is not None:
        center, rstd = inputs.frozen()
    elif terms is not None:
        center, std = terms.location(torch.float64)
        rstd = 1 / std
    else:
        return None
    measured = measure(x, count, shape, center, rstd * unit, recurrence, act.num_terms)
    if measured is None or _accurate(measured, unit):
        return measured
    with torch.no_grad():
        dims = [d for d in range(x.dim()) if shape[d] == 1]
        std, center = (t.reshape(-1).double() for t in torch.std_mean(x.float(), dims, correction=0, keepdim=True))
        std = torch.where(std > 1e-6 * center.abs() + 1e-30, std, torch.ones_like(std))
    return measure(x, count, shape, center, unit / std, recurrence, act.num_terms)


def _accurate(measured: Measured, unit: float) -> bool:
    """Whether no digits are lost between the moments and the variances."""
    mean = measured.t[:, 0].numpy() / unit
    second = _second(measured).numpy() / unit**2
    square = mean * mean
    var = second - square
    near = (square <= FAR * var) & (var >= SMALL) & (var <= LARGE)
    return bool((near | (second <= CONSTANT)).all())


def _second(measured: Measured, t: Tensor | None = None) -> Tensor:
    """The mean of u² from those of φ_1, φ_2, …: φ_1 is u and φ_2 is a u² - b in the families of the kernels."""
    a, b = measured.recurrence.factors(1)
    return ((measured.t if t is None else t)[:, 1] + b) / a


def _mean_and_var(measured: Measured, t: Tensor) -> tuple[Tensor, Tensor]:
    """Of x itself."""
    first = t[:, 0]
    var = (_second(measured, t) - first * first).clamp(min=0)
    return measured.center + first / measured.rscale, var / measured.rscale**2


def _counted(measured: Measured, inputs: InputStatistics) -> tuple[Tensor, Tensor] | None:
    inputs.update(*_mean_and_var(measured, measured.t))
    return inputs.running_map((-1,))


def _standardised(act: SLAF, x: Tensor, measured: Measured) -> Tensor:
    """Only the input is standardised by the batch."""
    inputs, unit = act.input_statistics, _unit(act)
    assert inputs is not None
    running = _counted(measured, inputs)
    a, b = act.coefficients()
    c = torch.cat([b[:, None], a], 1)
    if act.mixing is not None:
        c = torch.nn.functional.pad(c[:, :1], (0, c.shape[1] - 1)) + c[:, 1:] @ act.mixing.matrix

    def fold(t: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        center, rstd = inputs.standardizing(*_mean_and_var(measured, t), running)
        return c, center, rstd * unit

    return normalized(x, measured, fold, c)


def _normalised(act: SLAF, x: Tensor, measured: Measured) -> Tensor:
    """Every term is standardised by the batch, perhaps after the input."""
    inputs, terms, unit = act.input_statistics, act.term_statistics, _unit(act)
    assert terms is not None
    running = None if inputs is None else _counted(measured, inputs)
    a, b = act.coefficients()
    seen: list[Any] = []
    own = None if inputs is not None else _expanded(act, measured.center, 1 / measured.rscale)

    def fold(t: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, None, None]:
        expansion = own
        if inputs is not None:  # the terms are of the standardised input, the moments about where it was expected
            center, rstd = inputs.standardizing(*_mean_and_var(measured, t), running)
            rscale = rstd * unit
            expansion = _expanded(act, (measured.center - center) * rscale, rscale / measured.rscale)
        c, mean, var = terms.fold(t, a, b, expansion)
        seen[:] = mean.detach(), var.detach()
        return c, None, None

    y = normalized(x, measured, fold, a, b)
    terms.update(*seen)
    return y
