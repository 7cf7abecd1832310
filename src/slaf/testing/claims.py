"""Checks of the claimed facts: every one can be refuted by a number."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from slaf.core import Activation
from slaf.core.quadrature import gauss_legendre

from .case import Case
from .check import check, close, expect
from .grids import is_jump, jump_points, supremum, wide_grid

GROUP = "claims"
EPS = torch.finfo(torch.float64).eps


def _sharp(claimed: float, found: float, at: float, far: float, what: str) -> None:
    """``claimed`` is a supremum: not exceeded by ``found`` (attained at ``at``) and approached within 1e-3."""
    if math.isinf(claimed) and claimed > 0:
        expect(far > 1e3, f"{what} is claimed to be unbounded; the largest value found is {far:g}")
        return
    expect(found <= claimed + 1e-12 * max(1.0, abs(claimed)), f"{what} is claimed to be {claimed!r}, but {found!r} occurs near x={at:.9g}")
    slack = 1e-3 * min(1.0, abs(claimed) or 1.0)
    expect(found >= claimed - slack, f"{what} is claimed to be {claimed!r}, but nothing beyond {found!r} occurs: it is not sharp")


@check(GROUP, scalar=True, needs=["range"])
def range(case: Case) -> None:
    """The claimed range is never left, and both of its ends are approached within 1e-3."""
    low, high = case.facts.range
    grid = wide_grid(case)
    far = torch.tensor([-1e12, -1e9, 1e9, 1e12], dtype=torch.float64)
    for sign, claimed, what in ((1, high, "the supremum"), (-1, -low, "minus the infimum")):

        def signed(x: Tensor, sign: int = sign) -> Tensor:
            return sign * case.f(x).detach()

        found, at = supremum(signed, grid)
        left, left_near, right_near, right = signed(far).tolist()
        growing = left > left_near + 1 or right > right_near + 1  # as a logarithm does, which never gets large
        _sharp(claimed, found, at, math.inf if growing else max(found, left, right), what)


@check(GROUP, scalar=True, needs=["lipschitz"])
def lipschitz(case: Case) -> None:
    """|f'| and all difference quotients stay below the claimed constant, which is approached within 1e-3."""
    claimed, grid = case.facts.lipschitz, wide_grid(case)
    found, at = supremum(lambda x: case.d(x).abs(), case.away_from_kinks(grid, 1e-10))
    x = grid[torch.cat([torch.ones(1, dtype=torch.bool), grid.diff() > 1e-7 * grid[1:].abs().clamp(min=1)])]
    y = case.f(x).detach()
    quotient = (y.diff() / x.diff()).abs()
    noise = 8 * EPS * y.abs().clamp(min=1)[1:] / x.diff()
    steepest = int((quotient - noise).argmax())
    far = max(found, float(quotient[steepest]))
    _sharp(claimed, found, at, far, "the Lipschitz constant")
    if math.isfinite(claimed):
        excess = float((quotient - noise)[steepest])
        expect(
            excess <= claimed * (1 + 1e-9),
            f"the Lipschitz constant is claimed to be {claimed!r}, but f rises by {excess:.9g} near x={float(x[steepest]):.9g}",
        )


@check(GROUP, scalar=True, needs=["monotone"])
def monotone(case: Case) -> None:
    """f never moves against the claimed direction; ``"neither"`` needs a rise and a fall."""
    x = wide_grid(case)
    y = case.f(x).detach()
    noise = 16 * EPS * torch.maximum(y[1:].abs(), y[:-1].abs()).clamp(min=1)
    rises, falls = y.diff() > noise, y.diff() < -noise
    claim = case.facts.monotone
    expect(claim in ("nondecreasing", "nonincreasing", "neither"), f"monotone is {claim!r}")
    if claim == "neither":
        expect(bool(rises.any()) and bool(falls.any()), "claimed not to be monotone, but no rise and fall are found")
        return
    against = falls if claim == "nondecreasing" else rises
    expect(not bool(against.any()), f"claimed {claim}, but not so near x={x[1:][against][:3].tolist()}")


@check(GROUP, scalar=True, needs=["parity"])
def parity(case: Case) -> None:
    """f(-x) is f(x), -f(x) or neither, as claimed."""
    x = wide_grid(case).abs().unique()
    right, left = case.f(x).detach(), case.f(-x).detach()
    noise = 16 * EPS * torch.maximum(right.abs(), left.abs()).clamp(min=1)
    even, odd = ((left - right).abs() <= noise).all(), ((left + right).abs() <= noise).all()
    claim = case.facts.parity
    expect(claim in ("even", "odd", "neither"), f"parity is {claim!r}")
    truth = {"even": bool(even), "odd": bool(odd), "neither": not bool(even) and not bool(odd)}
    expect(truth[claim], f"claimed to be {claim}; it is {' and '.join(k for k, v in truth.items() if v)}")


def _derivative(case: Case, order: int) -> Callable[[Tensor], Tensor]:
    return lambda x: case.f(x).detach() if order == 0 else case.d(x, order)


def _jumps(case: Case, order: int, kink: float) -> bool:
    return is_jump(_derivative(case, order), kink)


@check(GROUP, scalar=True, needs=["smoothness", "kinks"])
def smoothness(case: Case) -> None:
    """The derivatives up to the claimed order are continuous at every kink, and the next one jumps at some kink."""
    n, kinks = case.facts.smoothness, case.facts.kinks
    if n == math.inf:
        expect(not kinks, f"claimed smooth and to have kinks at {kinks}")
        _no_hidden_kinks(case, ())
        return
    expect(bool(kinks), f"claimed C^{n}, but no kink is named")
    for order in (j for j in (0, 1, 2) if j <= n):
        for kink in kinks:
            expect(not _jumps(case, order, kink), f"claimed C^{n}, but the derivative of order {order} jumps at x={kink:g}")
    if n <= 2:
        expect(
            any(_jumps(case, n + 1, kink) for kink in kinks),
            f"claimed C^{n} and no better, but the derivative of order {n + 1} jumps nowhere",
        )


@check(GROUP, scalar=True, needs=["kinks"])
def kinks(case: Case) -> None:
    """At every claimed kink a derivative of order 3 or less jumps, and f, f' and f'' jump nowhere else."""
    for kink in case.facts.kinks:
        expect(any(_jumps(case, order, kink) for order in (0, 1, 2, 3)), f"a kink is claimed at x={kink:g}, but f is smooth there")
    _no_hidden_kinks(case, case.facts.kinks)


def _no_hidden_kinks(case: Case, known: tuple[float, ...]) -> None:
    reach = 20 + max((abs(k) for k in known), default=0.0)
    grid = torch.linspace(-reach, reach, 16001, dtype=torch.float64) + 1e-4
    keep = torch.ones(len(grid) - 1, dtype=torch.bool)
    for kink in known:
        keep &= (grid[1:] < kink - 1e-6) | (grid[:-1] > kink + 1e-6)
    for order in (0, 1, 2):
        found = jump_points(_derivative(case, order), grid, keep)
        expect(not found, f"the derivative of order {order} jumps at x={found[:3]}, which is no claimed kink")


@check(GROUP, scalar=True, needs=["critical_points"])
def critical_points(case: Case) -> None:
    """f' vanishes or changes sign at every claimed critical point, and at no other isolated point but a kink."""
    claimed, kinks = case.facts.critical_points, case.facts.kinks or ()
    for point in claimed:
        slope = float(case.d(torch.tensor([point], dtype=torch.float64)))
        expect(abs(slope) <= 1e-9, f"f' is {slope:.3g} at the claimed critical point x={point!r}")
    grid = torch.linspace(-30, 30, 12001, dtype=torch.float64) + 1.3e-3
    slopes, step = case.d(grid), float(grid[1] - grid[0])
    size = slopes.abs()
    solid = size > 1e-10  # below it the sign is rounding noise
    at, sign = grid[solid], slopes[solid].sign()
    turns = ((at[1:] + at[:-1]) / 2)[(sign[1:] != sign[:-1]) & (at.diff() < 2.5 * step)]
    dips = (size[1:-1] < size[:-2]) & (size[1:-1] < size[2:]) & (size[:-2] > 1e-10) & (size[2:] > 1e-10)
    touches = [x for x in grid[1:-1][dips].tolist() if _touches_zero(case, x, step)]
    for x in (*turns.tolist(), *touches):
        near = any(abs(x - p) < 3 * step for p in (*claimed, *kinks))
        expect(near, f"f' vanishes or changes sign near x={x:.4g}, which is no claimed critical point or kink")


def _touches_zero(case: Case, x: float, step: float) -> bool:
    """Whether |f'| falls to zero near ``x`` and nowhere around: a plateau is no isolated point."""
    around = torch.tensor([x - 10 * step, x + 10 * step], dtype=torch.float64)
    least, _ = supremum(lambda t: -case.d(t).abs(), torch.linspace(x - step, x + step, 401, dtype=torch.float64))
    return -least < 1e-12 and bool((case.d(around).abs() > 1e-6).all())


@check(GROUP, scalar=True, needs=["antiderivative"])
def antiderivative_claim(case: Case) -> None:
    """The claimed antiderivative is 0 at 0, and F(b) - F(a) is the integral of f from a to b, for |x| up to 1e3."""
    module = case.module64
    assert isinstance(module, Activation)

    def primitive(x: Tensor) -> Tensor:
        return case.first(module.antiderivative(case.spread(x))).detach()

    zero = primitive(torch.zeros(1, dtype=torch.float64)).item()
    expect(abs(zero) <= 1e-15, f"the claimed antiderivative is {zero!r} at 0 instead of 0")
    far = torch.logspace(1.1, 3, 16, dtype=torch.float64)
    a = torch.cat([-far, torch.arange(-12, 12, 0.25, dtype=torch.float64) + 1e-3, far])
    b = a + 0.25
    smooth = torch.ones_like(a, dtype=torch.bool)
    for kink in case.facts.kinks or ():
        smooth &= (kink <= a) | (kink >= b)
    a, b = a[smooth], b[smooth]
    nodes, weights = gauss_legendre(24)
    x = a + (b - a) / 2 * (1 + nodes[:, None])
    wanted = (b - a) / 2 * (weights[:, None] * case.f(x.reshape(-1)).detach().reshape(x.shape)).sum(0)
    fits = torch.isfinite(wanted) & (wanted.abs() < 1e300)
    a, b, wanted = a[fits], b[fits], wanted[fits]
    size = torch.maximum(primitive(a).abs(), primitive(b).abs())
    close(primitive(b) - primitive(a), wanted, 1e-11 + 1e-13 * size, "the claimed antiderivative's rise over 0.25", a)


@check(GROUP, scalar=True)
def second_moment(case: Case) -> None:
    """``second_moment()`` is E f(z)² for standard normal z, averaged over the channels, by an independent quadrature."""
    module = case.module64
    assert isinstance(module, Activation)
    z = torch.linspace(-12, 12, 48001, dtype=torch.float64) + 1e-4
    weight = torch.exp(-z * z / 2)
    y = module(case.spread(z)).detach()
    each = y.reshape(len(z), -1) if y.shape[0] == len(z) else y.reshape(-1, len(z)).T
    wanted = float((each**2 * weight[:, None]).sum(0).mean() / weight.sum())
    got = module.second_moment()
    slack = 2e-3 if case.facts.smoothness == -1 else 1e-6
    expect(abs(got - wanted) <= slack * max(wanted, 1e-6), f"second_moment() is {got!r} instead of {wanted!r}")
