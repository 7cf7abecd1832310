"""Checks of what is promised on intervals: bounds and Lipschitz constants that hold for everything inside, and are tight."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from slaf.core import Activation, SlafError

from .case import Case
from .check import check, close, expect

GROUP = "intervals"
BOXES, FEWER_BOXES = 10_000, 2_000


def _bounded(case: Case) -> str | None:
    module = case.module64
    assert isinstance(module, Activation)
    own = type(module).bounds is not Activation.bounds  # a rule of the family's own
    facts = case.facts
    known = facts.critical_points is not None or facts.monotone in ("nondecreasing", "nonincreasing") or facts.formula is not None
    return None if own or known else "neither critical points nor a formula are claimed"


def _random_boxes(case: Case, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """``count`` boxes within ±21, 1e-3 to 10 wide, evenly in the logarithm, in a shape that fits: every channel has its own."""
    sites = max(1, math.prod(case.own))
    shape = case.spread(torch.empty(math.ceil(count / sites), dtype=torch.float64)).shape
    generator = torch.Generator().manual_seed(seed)
    centre = 32 * torch.rand(shape, generator=generator, dtype=torch.float64) - 16
    width = 10 ** (4 * torch.rand(shape, generator=generator, dtype=torch.float64) - 3)
    return centre - width / 2, centre + width / 2


def _samples(case: Case, module: Activation, boxes: tuple[Tensor, Tensor], points: int) -> tuple[Tensor, Tensor]:
    """Inputs evenly inside each box and f at them: (points, *boxes)."""
    lower, upper = boxes
    inside = [(lower + t * (upper - lower)).clamp(lower, upper) for t in torch.linspace(0, 1, points).tolist()]
    dim = case.batch_dim if case.own else 0
    with torch.no_grad():
        together = [module(torch.cat(inside[i : i + 64], dim)).split(lower.shape[dim], dim) for i in range(0, points, 64)]
    return torch.stack(inside), torch.stack([y for part in together for y in part])


def _violations(case: Case, module: Activation, boxes: tuple[Tensor, Tensor], points: int) -> tuple[Tensor, Tensor, Tensor]:
    """The bounds and the values inside; raises where a value is outside."""
    low, high = module.bounds(*boxes)
    inside, y = _samples(case, module, boxes, points)
    for what, violated in (("below", y < low), ("above", y > high)):
        expect(not bool(violated.any()), f"f is {what} its bounds at x={inside[violated][:3].tolist()} in {inside.dtype}")
    return low, high, y


@check(GROUP, scalar=True, unless=_bounded)
def bounds(case: Case) -> dict[str, float]:
    """``bounds`` holds on 10,000 random boxes (2,000 where arguments are given) in float64 and float32, is tight in float64, and
    refuses lower > upper.
    """
    case = case.unsized or case
    varied = case.spec is not None and (case.spec.args or case.spec.kwargs)
    lower, upper = _random_boxes(case, FEWER_BOXES if varied else BOXES)
    module = case.module64
    assert isinstance(module, Activation)
    try:
        module.bounds(upper, lower)
    except SlafError:
        pass
    else:
        raise AssertionError("bounds accepts lower > upper")
    _violations(case, module, (lower, upper), 33)
    single = case.evaluated(torch.float32)
    assert isinstance(single, Activation)
    _violations(case, single, (lower.float(), upper.float()), 33)
    few = _random_boxes(case, 100, seed=1)
    low, high, y = _violations(case, module, few, 4097)
    slack = 1e-7 * y.abs().amax(0).clamp(min=1) + y.diff(dim=0).abs().amax(0)  # the samples may miss an extreme by one step
    close(low, y.amin(0), slack, "the lower bound is loose", few[0])
    close(high, y.amax(0), slack, "the upper bound is loose", few[0])
    excess = (high - low) - (y.amax(0) - y.amin(0))
    return {"boxes": float(lower.numel()), "mean_excess_width": float(excess.mean())}


def _sloped(case: Case) -> str | None:
    return None if case.facts.formula is not None else "no formula is claimed"


@check(GROUP, scalar=True, unless=_sloped)
def lipschitz_on_intervals(case: Case) -> None:
    """``lipschitz(lower, upper)`` exceeds every difference quotient inside random boxes, by little where f is smooth."""
    case = case.unsized or case
    module = case.module64
    assert isinstance(module, Activation)
    lower, upper = _random_boxes(case, 60, seed=2)
    claimed = module.lipschitz(lower, upper)
    inside, y = _samples(case, module, (lower, upper), 513)
    rounding = 16 * torch.finfo(torch.float64).eps
    noise = rounding * (y.abs().clamp(min=1) + inside.abs())[1:] / inside.diff(dim=0)
    quotient = y.diff(dim=0).abs() / inside.diff(dim=0) - noise
    steepest = quotient.amax(0)
    wrong = steepest > claimed * (1 + 1e-9)
    expect(not bool(wrong.any()), f"f rises faster than lipschitz(lower, upper) says in boxes from x={lower[wrong][:3].tolist()}")
    if (case.facts.smoothness or 0) >= 2 and not case.facts.kinks:
        bend = quotient.diff(dim=0).abs().amax(0) + noise.amax(0)
        close(claimed, steepest, 1e-5 + 4 * bend + 1e-4 * steepest.abs().max(), "lipschitz(lower, upper) is loose", lower)
