"""SLAF over a polynomial basis on the native kernels: the function that :mod:`.folded` defines, in few passes over memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from slaf.kernels.again import again
from slaf.kernels.normalized import Measured, measure, normalized, own_map
from slaf.kernels.persite import series_of_sites
from slaf.kernels.recurrence import Recurrence
from slaf.kernels.standardised import Kept, standardised
from slaf.kernels.terms import KeptTerms, normalised_terms

from .fused_fold import BatchFold, mean_and_var
from .own import own
from .statistics import InputStatistics, Running, TermStatistics

if TYPE_CHECKING:
    from .slaf import SLAF

__all__ = ["evaluated", "measured_batch", "trained", "unit_of"]


def evaluated(act: SLAF, x: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """The function of ``x`` with the running statistics as they are; ``None`` where the definition must run."""
    if act.term_statistics is not None or act.gate is not None or act.mixing is not None or act.squash != "none":
        return None
    center = rscale = None
    weight, bias = own(act, "weight", "bias")
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
    if terms is not None:
        return None if act.mixing is not None else _with_terms(act, x, shape, inputs, terms)
    if inputs is not None and act.gate is None and act.mixing is None:
        y = _standardised(act, x, shape, inputs)
        if y is not None:
            return y
    measured = measured_batch(act, x, shape, inputs, act.basis.evaluated_in or act.basis.recurrence, act.num_terms)  # type: ignore[attr-defined]
    return None if measured is None else _folded(act, x, measured)


def _standardised(act: SLAF, x: Tensor, shape: tuple[int, ...], inputs: InputStatistics) -> Tensor | None:
    unit, factor = unit_of(act), act.coefficient_scale

    def fold(measured: Measured) -> BatchFold:
        running = (measured.center, (unit / measured.rscale) ** 2 - inputs.eps) if inputs.renorm else None
        return BatchFold(measured, inputs, running, None, unit, factor, _repeat(act))

    recurrence = act.basis.recurrence  # type: ignore[attr-defined]
    weight, bias = own(act, "weight", "bias")
    return standardised(x, weight, bias, factor, shape, _kept(inputs), unit, recurrence, fold)


def _kept(inputs: InputStatistics) -> Kept:
    return Kept(*_counted(inputs), inputs.renorm, inputs.eps)


def _counted(running: Running) -> tuple[Tensor, Tensor, Tensor, float, bool]:
    """Mean, variance and number of batches, with the weight of the newest: none if a checkpoint has it computed again."""
    own = running._buffers  # past __getattr__, as the parameters
    mean, var, batches = own["mean"], own["var"], own["num_batches_tracked"]
    if again():
        return mean, var, batches.clone(), 0.0, False  # type: ignore[return-value, union-attr]
    return mean, var, batches, running.momentum, running.warm_up  # type: ignore[return-value]


def _with_terms(act: SLAF, x: Tensor, shape: tuple[int, ...], inputs: InputStatistics | None, terms: TermStatistics) -> Tensor | None:
    unit, factor, repeat = unit_of(act), act.coefficient_scale, _repeat(act)
    if act.gate is None:
        weight, bias = own(act, "weight", "bias")
    else:
        weight, bias = act.coefficients()
        factor, repeat = 1.0, 1
    weight, bias = (p if p.dtype is torch.float32 else p.float() for p in (weight, bias))

    def fold(measured: Measured, by_map: tuple[Tensor, Tensor]) -> BatchFold:
        running = None if inputs is None or not inputs.renorm else (by_map[0], (unit / by_map[1]) ** 2 - inputs.eps)
        return BatchFold(measured, inputs, running, terms, unit, factor, repeat)

    kept = KeptTerms(*_counted(terms), terms.eps)
    by_input = None if inputs is None else _kept(inputs)
    recurrence = act.basis.recurrence  # type: ignore[attr-defined]
    return normalised_terms(x, weight, bias, factor, shape, kept, by_input, unit, recurrence, fold)


def _repeat(act: SLAF) -> int:
    return act.sharing.sites // act.sharing.count if act.sharing.share == "group" else 1


def unit_of(act: SLAF) -> float:
    """u over (x - mean)/std: what a standardised input is multiplied by before the polynomial."""
    return 1.0 if act.input == "identity" else act.basis.half_width / act.input_scale / _shrink(act)


def _shrink(act: SLAF) -> float:
    return act.basis.half_width if act.mixing is not None else 1.0


def measured_batch(
    act: SLAF, x: Tensor, shape: tuple[int, ...], inputs: InputStatistics | None, recurrence: Recurrence, degree: int
) -> Measured | None:
    """The moments of the batch's mean and variance, taken about the running mean if that is near, else about the batch's own."""
    if inputs is None:
        return None
    unit = unit_of(act)
    center, rstd = inputs.frozen()
    measured = measure(x, 2, shape, center, rstd * unit, recurrence, degree)
    if measured is None or measured.accurate(unit):
        return measured
    center, std = own_map(x, shape)
    return measure(x, 2, shape, center, unit / std, recurrence, degree)


def _folded(act: SLAF, x: Tensor, measured: Measured) -> Tensor:
    inputs = act.input_statistics
    assert inputs is not None
    inputs.update(*mean_and_var(measured, measured.t))
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
    fold = BatchFold(measured, inputs, inputs.running_map((-1,)), None, unit_of(act), factor, repeat)
    return normalized(x, measured, fold, weight, bias)
