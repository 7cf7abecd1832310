"""SLAF over a polynomial basis on the native kernels: the function that :mod:`.folded` defines, in few passes over memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slaf.bases.polynomial import PolynomialBasis
from slaf.kernels.normalized import QUIET, Measured, measure, normalized
from slaf.kernels.persite import series_of_sites
from slaf.kernels.recurrence import Recurrence
from slaf.kernels.standardised import Kept, standardised

from .fused_fold import BatchFold, mean_and_var, second_moment
from .statistics import InputStatistics, TermStatistics

if TYPE_CHECKING:
    from .slaf import SLAF

__all__ = ["evaluated", "measured_batch", "trained", "unit_of"]

FAR, SMALL, LARGE, CONSTANT = 1.0, 0.04, 6.0, 1e-12
"""Moments hold their digits where the batch's mean lies within ``FAR`` of its variance from where they were taken, and that variance
between ``SMALL`` and ``LARGE`` of the unit; or where the channel is constant and lies there."""


def evaluated(act: SLAF, x: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """The function of ``x`` with the running statistics as they are; ``None`` where the definition must run."""
    if act.term_statistics is not None or act.gate is not None or act.mixing is not None or act.squash != "none":
        return None
    center = rscale = None
    weight, bias = _parameters(act)
    if act.input_statistics is not None:
        center, rscale = act.input_statistics.frozen()
        center, rscale = center.float(), (rscale * (act.basis.half_width / act.input_scale)).float()
    elif act.interval is not None:
        middle, rate = act.fixed_map()
        center, rscale = (x.new_full((act.sharing.sites,), v, dtype=torch.float32) for v in (middle, rate * act.basis.half_width))
    elif weight.shape[0] == 1:
        shape = (1,) * x.dim()
    recurrence = act.basis.recurrence  # type: ignore[attr-defined]
    return series_of_sites(x, weight, bias, act.coefficient_scale, shape, center, rscale, recurrence)


def trained(act: SLAF, x: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """The function of a training batch, whose statistics it counts; ``None`` where the definition must run."""
    inputs, terms = act.input_statistics, act.term_statistics
    if act.squash != "none" or (inputs is not None and inputs.ranks is not None) or (terms is not None and terms.ranks is not None):
        return None
    if terms is not None and act.mixing is not None:
        return None
    if inputs is not None and terms is None and act.gate is None and act.mixing is None:
        y = _standardised(act, x, shape, inputs)
        if y is not None:
            return y
    measured = measured_batch(act, x, shape, inputs, terms, _recurrence(act.basis, terms), act.num_terms)  # type: ignore[arg-type]
    if measured is None:
        return None
    return _folded(act, x, measured)


def _standardised(act: SLAF, x: Tensor, shape: tuple[int, ...], inputs: InputStatistics) -> Tensor | None:
    unit, factor = unit_of(act), act.coefficient_scale

    def fold(measured: Measured) -> BatchFold:
        running = (measured.center, (unit / measured.rscale) ** 2 - inputs.eps) if inputs.renorm else None
        return BatchFold(measured, inputs, running, None, unit, factor, _repeat(act))

    own = inputs._buffers  # past __getattr__, as the parameters
    kept = Kept(own["mean"], own["var"], own["num_batches_tracked"], inputs.momentum, inputs.warm_up, inputs.renorm, inputs.eps)  # type: ignore[arg-type]
    recurrence = act.basis.recurrence  # type: ignore[attr-defined]
    return standardised(x, *_parameters(act), factor, shape, kept, unit, recurrence, fold)


def _parameters(act: SLAF) -> tuple[Tensor, Tensor]:
    """Weight and bias past the module's __getattr__, which takes as long as a check."""
    found = act._parameters.get("weight"), act._parameters.get("bias")
    return (act.weight, act.bias) if found[0] is None or found[1] is None else found  # type: ignore[return-value]


def _repeat(act: SLAF) -> int:
    return act.sharing.sites // act.sharing.count if act.sharing.share == "group" else 1


def _recurrence(basis: PolynomialBasis, terms: TermStatistics | None) -> Recurrence:
    return basis.recurrence if terms is not None or basis.evaluated_in is None else basis.evaluated_in


def unit_of(act: SLAF) -> float:
    """u over (x - mean)/std: what a standardised input is multiplied by before the polynomial."""
    return 1.0 if act.input_statistics is None else act.basis.half_width / act.input_scale / _shrink(act)


def _shrink(act: SLAF) -> float:
    return act.basis.half_width if act.mixing is not None else 1.0


def measured_batch(
    act: SLAF,
    x: Tensor,
    shape: tuple[int, ...],
    inputs: InputStatistics | None,
    terms: TermStatistics | None,
    recurrence: Recurrence,
    degree: int,
) -> Measured | None:
    """The moments that the batch's statistics are made of, taken about the running mean if that is near, else about the batch's own."""
    unit = unit_of(act)
    count = 2 if terms is None else 2 * act.num_terms
    if inputs is not None:
        center, rstd = inputs.frozen()
    elif terms is not None:
        center, std = terms.location(torch.float64)
        rstd = 1 / std
    else:
        return None
    measured = measure(x, count, shape, center, rstd * unit, recurrence, degree)
    if measured is None or _accurate(measured, unit):
        return measured
    with torch.no_grad():
        dims = [d for d in range(x.dim()) if shape[d] == 1]
        std, center = (t.reshape(-1).double() for t in torch.std_mean(x.float(), dims, correction=0, keepdim=True))
        std = torch.where(std > 1e-6 * center.abs() + 1e-30, std, torch.ones_like(std))
    return measure(x, count, shape, center, unit / std, recurrence, degree)


@QUIET
def _accurate(measured: Measured, unit: float) -> bool:
    """Whether no digits are lost between the moments and the variances."""
    mean = measured.t[:, 0].numpy() / unit
    second = second_moment(measured, measured.t).numpy() / unit**2
    square = mean * mean
    var = second - square
    near = (square <= FAR * var) & (var >= SMALL) & (var <= LARGE)
    return bool((near | (second <= CONSTANT)).all())


def _folded(act: SLAF, x: Tensor, measured: Measured) -> Tensor:
    inputs, terms = act.input_statistics, act.term_statistics
    running = None
    if inputs is not None:
        inputs.update(*mean_and_var(measured, measured.t))
        running = inputs.running_map((-1,))
        if terms is not None:
            measured = _about_the_map(act, x, measured, running)
    weight: Tensor
    bias: Tensor
    if act.gate is None and act.mixing is None:
        weight, bias, factor = act.weight, act.bias, act.coefficient_scale
        repeat = _repeat(act)
    else:
        weight, bias = act.coefficients()
        factor, repeat = 1.0, 1
        if act.mixing is not None:
            constant = torch.nn.functional.pad(bias[:, None], (0, weight.shape[1]))
            c = constant + weight @ act.mixing.matrix
            weight, bias = c[:, 1:], c[:, 0]
    fold = BatchFold(measured, inputs, running, terms, unit_of(act), factor, repeat)
    y = normalized(x, measured, fold, weight, bias)
    if terms is not None:
        terms.update(*fold.term_statistics())
    return y


def _about_the_map(act: SLAF, x: Tensor, measured: Measured, running: tuple[Tensor, Tensor] | None) -> Measured:
    """Moments where the terms are normalised: anew if the map has moved far, since coefficients elsewhere would be huge and cancel."""
    unit, inputs = unit_of(act), act.input_statistics
    assert inputs is not None
    with torch.no_grad():
        center, rstd = inputs.standardizing(*mean_and_var(measured, measured.t), running)
    rscale = rstd * unit
    ratio, shift = (rscale / measured.rscale).numpy(), ((measured.center - center) * rscale).numpy() / unit
    if ((ratio > 0.5) & (ratio < 2) & (abs(shift) < FAR)).all():
        return measured
    again = measure(x, measured.t.shape[1], measured.shape, center, rscale, measured.recurrence, act.num_terms)
    return measured if again is None else again
