"""Checks of derivatives, in float64 and evaluation mode, at points away from kinks, and of the convention at them."""

from __future__ import annotations

import math

import torch

from slaf.core import Activation, SlafError

from .case import Case
from .check import check, close, expect, has_parameters
from .grids import points
from .oracle import formula_values

GROUP = "derivatives"
# fast_mode, for layers: torch compares a random projection of the Jacobians, which have a column for every weight


def _few(case: Case) -> torch.Tensor:
    """A few points on either side of 0, away from kinks by more than a finite difference."""
    return case.away_from_kinks(torch.tensor([-3.7, -1.234, -0.321, 0.123, 0.777, 2.345, 4.321], dtype=torch.float64), 1e-2)


def _gradcheck_input(case: Case) -> torch.Tensor:
    return case.spread(_few(case)).clone().requires_grad_() if case.scalar else case.input(torch.float64, batch=4).requires_grad_()


@check(GROUP)
def gradcheck(case: Case) -> None:
    """Gradients with respect to the input agree with finite differences, in reverse and forward mode."""
    module = case.evaluated(torch.float64)
    x = _gradcheck_input(case)
    expect(torch.autograd.gradcheck(module, (x,), check_forward_ad=True, fast_mode=case.layer), "gradcheck fails")


@check(GROUP, unless=lambda case: "part of parameter_gradgradcheck" if case.layer and has_parameters(case) is None else None)
def gradgradcheck(case: Case) -> None:
    """Second derivatives with respect to the input agree with finite differences."""
    module = case.evaluated(torch.float64)

    def through(x: torch.Tensor) -> torch.Tensor:
        return module(x) + 0 * x.square().sum()  # a straight line's gradient has no graph, which gradgradcheck would report as an error

    expect(torch.autograd.gradgradcheck(through, (_gradcheck_input(case),)), "gradgradcheck fails")


@check(GROUP, unless=has_parameters)
def parameter_gradients(case: Case) -> None:
    """Gradients with respect to every parameter agree with finite differences."""
    module = case.evaluated(torch.float64)
    x = case.spread(_few(case)) if case.scalar else case.input(torch.float64, batch=4)
    names = [n for n, _ in module.named_parameters()]

    def loss(*values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x,))

    values = tuple(p.detach().clone().requires_grad_() for _, p in module.named_parameters())
    expect(torch.autograd.gradcheck(loss, values, fast_mode=case.layer), "gradcheck of the parameters fails")


def _second_derivatives(case: Case, module: torch.nn.Module, x: torch.Tensor) -> None:
    """With respect to x and the parameters together, from the same statistics."""
    named = {n: p.detach().clone().requires_grad_() for n, p in module.named_parameters()}
    kept = {n: b.clone() for n, b in module.named_buffers()}

    def through(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        state = dict(zip(named, values, strict=True)) | {n: b.clone() for n, b in kept.items()}
        y = torch.func.functional_call(module, state, (x,))
        return y + 0 * sum(t.square().sum() for t in (x, *values))  # what is linear in a parameter has no second gradient

    x = case.smooth(x).requires_grad_()
    for seed in range(2):  # of the random outer gradient: with one alone a mistake can fall within the tolerance
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # fast_mode multiplies the tolerance by the number of entries, for its directions are all positive: hence the small one
            right = torch.autograd.gradgradcheck(through, (x, *named.values()), fast_mode=True, atol=1e-7)
        expect(right, "gradgradcheck of input and parameters fails")


@check(GROUP, layer=True, unless=has_parameters)
def parameter_gradgradcheck(case: Case) -> None:
    """Second derivatives of a layer with respect to input and parameters together agree with finite differences."""
    _second_derivatives(case, case.evaluated(torch.float64), case.input(torch.float64, batch=2))


@check(GROUP, norm=True)
def training_gradgradcheck(case: Case) -> None:
    """In training, second derivatives through the statistics, of input and parameters together, agree with finite differences."""
    _second_derivatives(case, case.build().to(torch.float64).train(), case.input(torch.float64, batch=3))


@check(GROUP, scalar=True, needs=["formula"])
def first_derivative(case: Case) -> None:
    """f' is the formula's, differentiated symbolically, to 1e-10."""
    x = points(case)
    wanted = formula_values(case, x, 1)
    close(case.d(x, 1), wanted, 1e-10 * wanted.abs().clamp(min=1e-2), "f'", x)


@check(GROUP, scalar=True, needs=["formula"])
def second_derivative(case: Case) -> None:
    """f'' is the formula's, differentiated symbolically, to 1e-9."""
    x = points(case)
    wanted = formula_values(case, x, 2)
    close(case.d(x, 2), wanted, 1e-9 * wanted.abs().clamp(min=1e-2), "f''", x)


@check(GROUP, scalar=True)
def derivative_method(case: Case) -> None:
    """``derivative(x, n)`` is the difference quotient of order n, keeps the shape, and refuses an order that is none."""
    module = case.module64
    assert isinstance(module, Activation)
    x = _few(case)
    steep = case.facts.lipschitz or 1.0
    h = 1e-4 / max(1.0, steep if math.isfinite(steep) else 1.0)  # short against the bends of what is steep
    first = (case.f(x + h) - case.f(x - h)) / (2 * h)
    second = (case.f(x + h) - 2 * case.f(x) + case.f(x - h)) / h**2
    for order, wanted, rounding in ((1, first, 1e-6), (2, second, 1e-4)):
        with torch.no_grad():
            got = case.first(module.derivative(case.spread(x), order))
        close(got, wanted, rounding * wanted.detach().abs().clamp(min=1), f"derivative(x, {order})", x)
    try:
        module.derivative(case.spread(x), 0)
    except SlafError:
        return
    raise AssertionError("derivative(x, 0) is accepted")


@check(GROUP, scalar=True)
def antiderivative_method(case: Case) -> None:
    """``antiderivative(x)`` is the integral from 0 to x, by an independent quadrature, and 0 at 0."""
    module = case.module64
    assert isinstance(module, Activation)
    ends = torch.tensor([-4.0, -1.3, 0.0, 0.45, 3.2], dtype=torch.float64)
    wanted = []
    for end in ends.tolist():
        t = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000 * end
        wanted.append(float(case.f(t).detach().mean()) * end)  # midpoint rule
    got = case.first(module.antiderivative(case.spread(ends)))
    close(got, torch.tensor(wanted, dtype=torch.float64), 2e-4 if case.facts.smoothness == -1 else 2e-7, "antiderivative", ends)


@check(GROUP, scalar=True, needs=["kinks"], unless=lambda case: None if case.facts.kinks else "has no kinks")
def kink_gradients(case: Case) -> None:
    """At a kink value and gradient are finite, the value is a one-sided limit (or between them), the gradient a subgradient."""
    for kink in case.facts.kinks:
        at = torch.tensor([kink], dtype=torch.float64)
        h = 1e-7 * max(1.0, abs(kink))
        for order, what in ((0, "value"), (1, "gradient")):
            middle = float(case.f(at).detach() if order == 0 else case.d(at))
            sides = torch.cat([at - h, at + h])
            left, right = (case.f(sides) if order == 0 else case.d(sides)).tolist()
            low, high = min(left, right), max(left, right)
            expect(low - 1e-5 <= middle <= high + 1e-5, f"{what} {middle:g} at the kink x={kink:g} is not between {left:g} and {right:g}")
