"""Checks of what is promised on intervals: bounds and Lipschitz constants that hold for everything inside, and are tight."""

from __future__ import annotations

import torch
from torch import Tensor

from slaf.core import Activation, SlafError

from .case import Case
from .check import check, close, expect

GROUP = "intervals"
BOXES = 10_000


def _bounded(case: Case) -> str | None:
    module = case.module64
    assert isinstance(module, Activation)
    own = type(module).bounds is not Activation.bounds  # a rule of the family's own
    facts = case.facts
    known = facts.critical_points is not None or facts.monotone in ("nondecreasing", "nonincreasing") or facts.formula is not None
    return None if own or known else "neither critical points nor a formula are claimed"


def _random_boxes(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Boxes within ±21, between 1e-3 and 10 wide, evenly in the logarithm."""
    generator = torch.Generator().manual_seed(seed)
    centre = 32 * torch.rand(count, generator=generator, dtype=torch.float64) - 16
    width = 10 ** (4 * torch.rand(count, generator=generator, dtype=torch.float64) - 3)
    return centre - width / 2, centre + width / 2


def _inside(lower: Tensor, upper: Tensor, points: int) -> Tensor:
    t = torch.linspace(0, 1, points, dtype=lower.dtype)[:, None]
    return (lower + t * (upper - lower)).clamp(lower, upper)


def _violations(case: Case, module: Activation, boxes: tuple[Tensor, Tensor], points: int) -> tuple[Tensor, Tensor, Tensor]:
    """The bounds and the values inside; raises where a value is outside."""
    lower, upper = boxes
    low, high = (case.first(t) for t in module.bounds(case.spread(lower), case.spread(upper)))
    inside = _inside(lower, upper, points)
    y = case.f(inside.reshape(-1), module).detach().reshape(inside.shape)
    for what, violated in (("below", y < low), ("above", y > high)):
        expect(not bool(violated.any()), f"f is {what} its bounds at x={inside[violated][:3].tolist()} in {lower.dtype}")
    return low, high, y


@check(GROUP, scalar=True, unless=_bounded)
def bounds(case: Case) -> dict[str, float]:
    """``bounds`` holds on 10,000 random boxes in float64 and float32, is tight in float64, and refuses lower > upper."""
    case = case.unsized or case
    module = case.module64
    assert isinstance(module, Activation)
    lower, upper = _random_boxes(BOXES)
    try:
        module.bounds(case.spread(upper), case.spread(lower))
    except SlafError:
        pass
    else:
        raise AssertionError("bounds accepts lower > upper")
    for dtype in (torch.float64, torch.float32):
        module = case.evaluated(dtype)
        assert isinstance(module, Activation)
        _violations(case, module, (lower.to(dtype), upper.to(dtype)), 33)
    few = lower[:100], upper[:100]
    low, high, y = _violations(case, case.module64, few, 4097)  # type: ignore[arg-type]
    slack = 1e-7 * y.abs().amax(0).clamp(min=1) + y.diff(dim=0).abs().amax(0)  # the samples may miss an extreme by one step
    close(low, y.amin(0), slack, "the lower bound is loose", few[0])
    close(high, y.amax(0), slack, "the upper bound is loose", few[0])
    excess = (high - low) - (y.amax(0) - y.amin(0))
    return {"boxes": float(BOXES), "mean_excess_width": float(excess.mean())}


def _sloped(case: Case) -> str | None:
    return None if case.facts.formula is not None else "no formula is claimed"


@check(GROUP, scalar=True, unless=_sloped)
def lipschitz_on_intervals(case: Case) -> None:
    """``lipschitz(lower, upper)`` exceeds every difference quotient inside random boxes, by little where f is smooth."""
    case = case.unsized or case
    module = case.module64
    assert isinstance(module, Activation)
    lower, upper = _random_boxes(60, seed=1)
    claimed = case.first(module.lipschitz(case.spread(lower), case.spread(upper)))
    inside = _inside(lower, upper, 513)
    y = case.f(inside.reshape(-1)).detach().reshape(inside.shape)
    noise = 16 * torch.finfo(torch.float64).eps * (y.abs().clamp(min=1) + inside.abs())[1:] / inside.diff(dim=0)
    quotient = y.diff(dim=0).abs() / inside.diff(dim=0) - noise
    steepest = quotient.amax(0)
    at = inside[quotient.argmax(0), torch.arange(len(lower))]
    wrong = steepest > claimed * (1 + 1e-9)
    expect(not bool(wrong.any()), f"f rises faster than lipschitz(lower, upper) says near x={at[wrong][:3].tolist()}")
    if (case.facts.smoothness or 0) >= 2 and not case.facts.kinks:
        bend = quotient.diff(dim=0).abs().amax(0) + noise.amax(0)
        close(claimed, steepest, 1e-5 + 4 * bend + 1e-4 * steepest.abs(), "lipschitz(lower, upper) is loose", lower)
