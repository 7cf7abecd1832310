"""Every kernel on random cases: its value and all gradients are the definition's float64 result to float32's rounding.

python -m pytest tests/kernels/test_random_cases.py --cases 10000                 the full number, a few minutes for each kernel
python -m pytest tests/kernels/test_random_cases.py --cases 2500 --case-seed 1   a piece of it, with seeds 1 … 4
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import pytest
import torch
from definitions import KERNELS
from entry import UNIT, Kernel, rows_of, spread
from hypothesis import HealthCheck, given, seed, settings
from random_cases import Case, cases
from torch import Tensor, nn

import slaf
from slaf.kernels import native, use

pytestmark = pytest.mark.skipif(not native.available(), reason=f"no compiled kernels: {native.reason()}")
IN_CI = 30

HALF_UNIT = {torch.float32: 0.0, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
"""What rounding the result once to the dtype costs beside float32's."""
SMALLEST = {torch.float32: 2.0**-140, torch.bfloat16: 2.0**-133, torch.float16: 2.0**-24}
"""Half types lose everything below; float32 is granted a few of its smallest steps for every term."""
LARGEST = {torch.float32: 3.4e38, torch.bfloat16: 3.38e38, torch.float16: 65_000.0}
OVERFLOW = 1e37
"""Where the terms are larger, float32 may overflow inside, one order of operations and not the other."""


class Found(NamedTuple):
    """y and the gradients of x and of every parameter, those not asked for ``None``."""

    y: Tensor
    gradients: dict[str, Tensor | None]


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(act: nn.Module, x: Tensor, case: Case, mode: str, count: int = 1) -> Found:
    """One forward and backward pass of a copy of the module."""
    act, names = copy.deepcopy(act), ["x", *(n for n, _ in act.named_parameters())]
    x = x.detach().requires_grad_(case.needs[0])
    for p in act.parameters():
        p.requires_grad_(case.needs[1])
    wanted = {n: t for n, t in zip(names, [x, *act.parameters()], strict=True) if t.requires_grad}
    with use(mode if x.numel() else "auto"), threads(count), torch.set_grad_enabled(bool(wanted)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "one value per channel")
        y = act(x)
        grads = torch.autograd.grad(y, list(wanted.values()), case.draw_gradient(y)) if wanted else ()
    return Found(y.detach(), dict.fromkeys(names) | dict(zip(wanted, grads, strict=True)))


def exact(kernel: Kernel, act: Any, x: Tensor, g: Tensor, bound: bool) -> Found:
    """The definition in float64; or, as ``bound``, the sums of its absolute terms."""
    with torch.enable_grad():
        x64, g64 = x.detach().double(), g.double()
        theta = {n: p.detach().double() for n, p in act.named_parameters()}
        as_they_are = {f"{n} exact": spread(p, act, x.dim()) for n, p in theta.items()}
        at = x64
        if bound:
            x64, g64, theta = x64.abs(), g64.abs(), {n: p.abs() for n, p in theta.items()}
        leaves = {"x": x64.clone().requires_grad_(), **{n: p.clone().requires_grad_() for n, p in theta.items()}}
        rows = {n: spread(leaves[n], act, x.dim()) for n in theta} | as_they_are
        y = kernel.formula(act, leaves["x"], rows, 1.0 if bound else -1.0, at)
        grads = torch.autograd.grad(y, list(leaves.values()), g64.expand_as(y), allow_unused=True)
    return Found(y.detach(), {n: torch.zeros_like(t) if d is None else d for (n, t), d in zip(leaves.items(), grads, strict=True)})


def close(name: str, got: Tensor, want: Tensor, size: Tensor, steps: float) -> None:
    """``steps`` of float32's roundings of the absolute terms, and one of the result."""
    got, dtype = got.double(), got.dtype
    allowed = steps * UNIT * size + 1.01 * HALF_UNIT[dtype] * want.abs() + SMALLEST[dtype] + steps * 2.0**-145
    wrong = (got - want).abs() > allowed
    wrong &= ~(got.isinf() & (want * got.sign() + allowed > LARGEST[dtype]))
    wrong |= got.isnan()
    if wrong.any():
        worst = ((got - want).abs() / allowed).nan_to_num(nan=float("inf"))
        worst = torch.where(wrong, worst, torch.zeros_like(worst))
        at = int(worst.argmax())
        raise AssertionError(
            f"{name}[{at}] is {got.flatten()[at]}, exactly {want.flatten()[at]}: {worst.flatten()[at]:.3g} times what {steps:.3g} "
            f"roundings of {size.flatten()[at]:.3g} allow; {int(wrong.sum())} of {wrong.numel()} are wrong"
        )


def same_places(name: str, got: Tensor, want: Tensor, here: Tensor) -> None:
    """NaN and both infinities where the definition has them."""
    for what, test in {"NaN": torch.isnan, "inf": torch.isposinf, "-inf": torch.isneginf}.items():
        differs = (test(got) != test(want)) & here
        if differs.any():
            at = int(differs.flatten().nonzero()[0])
            raise AssertionError(f"{what} in {name}[{at}]: {got.flatten()[at]}, the definition has {want.flatten()[at]}")


def reduced(mask: Tensor, theta: Tensor, act: Any) -> Tensor:
    """For every row of θ whether any element that uses it is in ``mask``, in the shape of θ."""
    ones = torch.zeros(len(rows_of(theta, act)), 1, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        used = spread(ones if hasattr(act, "sharing") else ones[0], act, mask.dim())[0].expand(mask.shape)
        (count,) = torch.autograd.grad(used, ones, mask.double())
    return (count > 0).reshape(-1, *(1,) * (theta.dim() - 1)).expand(theta.shape)


def made(kernel: Kernel, case: Case, spec: str) -> nn.Module:
    """By ``slaf.make``."""
    more, context = kernel.arguments(case)
    return slaf.make(f"{spec[:-1]}, {more})", **context)


def check(kernel: Kernel, case: Case, spec: str) -> None:
    """What every kernel owes."""
    torch.manual_seed(case.seed)
    act: Any = (kernel.make(spec, case) if kernel.make else made(kernel, case, spec)).train(case.training)
    if not prod(case.size) and act.normalizes:  # an empty batch has no statistics
        act.eval()
    with torch.no_grad():
        for name, p in act.named_parameters():
            p.copy_(kernel.theta(name, p))
        kernel.prepare(act)
    act = act.to(case.dtype if kernel.one_dtype else case.theta_dtype)
    x = case.place(case.draw_values(kernel.points))
    counts = case.threads if kernel.takes(act, x) else (1, 1)
    got, again = (run(act, x, case, "native", count) for count in counts)
    assert got.y.dtype == x.dtype
    assert got.y.shape == x.shape
    for name, one, other in [("y", got.y, again.y), *((n, got.gradients[n], again.gradients[n]) for n in got.gradients)]:
        assert one is None or torch.equal(one.nan_to_num(nan=1.25), other.nan_to_num(nan=1.25)), f"{name} differs from run to run"
    compare(kernel, act, x, case, got)


def compare(kernel: Kernel, act: Any, x: Tensor, case: Case, got: Found) -> None:
    """With the definition: in float64 where all is finite, in the same dtype where it is not."""
    valid = ~kernel.reaches(act, ~x.isfinite())
    g = case.draw_gradient(got.y)
    finite, weight = (torch.empty_like(t).copy_(torch.where(valid, t, 0)) for t in (x, g))  # as they lie in memory
    want, size = (exact(kernel, act, finite, weight, bound) for bound in (False, True))
    inside = valid & (size.y < OVERFLOW) & (size.gradients["x"] < OVERFLOW)
    # a definition that computes in a half type overflows where its result does not
    wide = (copy.deepcopy(act).float(), x.float()) if kernel.one_dtype else (act, x)
    special = None if inside.all() else run(*wide, case, "reference")
    steps = kernel.steps(act)
    at_all = {"y": (got.y, want.y, size.y)} | {n: (v, want.gradients[n], size.gradients[n]) for n, v in got.gradients.items()}
    for name, (value, right, bound) in at_all.items():
        if value is None:
            continue
        # a half type's channels of a group are rounded, and may overflow, before they are added
        fits = bound < (min(OVERFLOW, LARGEST[x.dtype]) if kernel.one_dtype else OVERFLOW)
        ok = inside if name in ("y", "x") else ~reduced(~inside, value, act) & fits
        more = 0 if name in ("y", "x") else 4 * min(x.numel(), 2048) ** 0.5
        if kernel.one_dtype and name not in ("y", "x"):  # a half type's channels of a group are rounded before they are added
            more += 2 * HALF_UNIT[value.dtype] / UNIT
        close(name, value[ok], right[ok], bound[ok], steps + more)
        if special is not None and kernel.loose:
            assert name != "y" or torch.equal(value.isfinite() & ~valid, special.y.isfinite() & ~valid), "y is finite elsewhere"
        elif special is not None:
            other = special.y if name == "y" else special.gradients[name]
            touched = ~valid if name in ("y", "x") else reduced(~valid, value, act) & ~reduced(valid & ~inside, value, act) & fits
            same_places(name, value, other.to(value.dtype), touched)


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_is_its_definition(name: str, request: pytest.FixtureRequest) -> None:
    kernel, count = KERNELS[name], request.config.getoption("--cases") or IN_CI
    chosen = request.config.getoption("--case-seed")

    @settings(max_examples=count, deadline=None, derandomize=count == IN_CI, database=None, suppress_health_check=list(HealthCheck))
    @given(cases(kernel.values, kernel.needs), kernel.specs)
    def claim(case: Case, spec: str) -> None:
        check(kernel, case, spec)

    (claim if chosen is None else seed(chosen)(claim))()
