"""Checks of values against the formula, in every precision, and of finiteness over twelve decades."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slaf.core import Activation

from .case import Case
from .check import check, close, expect
from .grids import magnitudes, points
from .oracle import formula_values

GROUP = "values"
LOW = (torch.float32, torch.bfloat16, torch.float16)


@check(GROUP, scalar=True, needs=["formula"])
def value_float64(case: Case) -> None:
    """In float64 the values are those of the formula in arbitrary precision, to 1e-12."""
    x = points(case)
    wanted = formula_values(case, x)
    close(case.f(x), wanted, 1e-12 * wanted.abs() + 1e-15 * x.abs().clamp(max=1), "value", x)


@check(GROUP, scalar=True, needs=["formula"])
def expression(case: Case) -> None:
    """``expression()`` is a sympy expression that computes the module's values."""
    import sympy

    module = case.module64
    assert isinstance(module, Activation)
    expression = module.expression()
    symbols = {str(s) for s in expression.free_symbols}
    expect(symbols <= {"x", *case.facts.params}, f"expression() has unknown symbols {sorted(symbols - {'x', *case.facts.params})}")
    left = {s: sympy.Float(float(getattr(module, str(s)).detach().reshape(-1)[0])) for s in expression.free_symbols if str(s) != "x"}
    x = torch.tensor([-2.3, -0.4, 0.7, 3.1], dtype=torch.float64)
    variable = sympy.Symbol("x", real=True)
    got = torch.tensor([float(expression.subs(left | {variable: v})) for v in x.tolist()], dtype=torch.float64)
    close(got, case.f(x), 1e-9, "expression()", x)


def _in_precision(case: Case, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, values in ``dtype`` and, with the same rounded parameters and inputs, in float64."""
    module = case.evaluated(dtype)
    x = case.away_from_kinks(torch.linspace(-8, 8, 641, dtype=torch.float64), 1e-3).to(dtype).unique()
    return x, case.f(x, module), case.f(x.double(), case.evaluated(dtype).double())


def _low_precision(case: Case, dtype: torch.dtype) -> dict[str, float]:
    x, got, wanted = _in_precision(case, dtype)
    info, size = torch.finfo(dtype), x.double().abs()
    if case.facts.formula is not None:  # where terms cancel, as in x - tanh(x), the rounding is that of the input
        terms = size.clamp(max=1)
    else:  # a learned function's terms are of order one, and its standardised input is off by an ulp
        terms = (size * case.d(x.double(), 1, case.evaluated(dtype).double()).abs()).clamp(min=1)
    fits = wanted.abs() <= info.max
    scale = torch.maximum(wanted.abs(), terms)
    tolerance = 8 * info.eps * scale + info.smallest_normal * info.eps
    close(got[fits], wanted[fits], tolerance[fits], f"value in {dtype}", x[fits])
    return {"largest_error_in_ulps": ((got.double() - wanted).abs() / (info.eps * scale))[fits].max().item()}


@check(GROUP, scalar=True)
def value_float32(case: Case) -> dict[str, float]:
    """In float32 the values are within 8 units in the last place of float64's."""
    return _low_precision(case, torch.float32)


@check(GROUP, scalar=True)
def value_bfloat16(case: Case) -> dict[str, float]:
    """In bfloat16 the values are within 8 units in the last place of float64's."""
    return _low_precision(case, torch.bfloat16)


@check(GROUP, scalar=True)
def value_float16(case: Case) -> dict[str, float]:
    """In float16 the values are within 8 units in the last place of float64's."""
    return _low_precision(case, torch.float16)


@check(GROUP, scalar=True)
def gradient_low_precision(case: Case) -> None:
    """In float32, bfloat16 and float16 the gradient agrees with float64's, to 32 units in the last place of max(1, |f'|)."""
    for dtype in LOW:
        x, _, _ = _in_precision(case, dtype)
        wanted = case.d(x.double(), 1, case.evaluated(dtype).double())
        close(
            case.d(x, 1, case.evaluated(dtype)), wanted, 32 * torch.finfo(dtype).eps * wanted.abs().clamp(min=1), f"gradient in {dtype}", x
        )


MIXED = 16.0
"""Units in the last place that a module which mixes elements may be off: its sums are rounded too."""


def _forward_and_backward(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The output, and the gradients of input and parameters for a fixed gradient of the output."""
    x = x.clone().requires_grad_()
    y = module(x)
    given = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).bfloat16().to(y.dtype)  # the same number in every dtype
    leaves = {"the input": x, **{n: p for n, p in module.named_parameters() if p.requires_grad}}
    gradients = torch.autograd.grad(y, list(leaves.values()), given, materialize_grads=True)
    return {"output": y.detach(), **{f"gradient of {name}": g for name, g in zip(leaves, gradients, strict=True)}}


@check(GROUP, unless=lambda case: "a scalar function has checks of its own" if case.scalar else None)
def mixed_low_precision(case: Case) -> dict[str, float]:
    """In float32, bfloat16 and float16 output and gradients of a module that mixes elements keep the dtype and are float64's.

    To 16 units in the last place of the largest element, or of 1, for the same numbers; in evaluation, and in training if it normalises.
    """
    largest = 0.0
    for dtype in LOW:
        for training in (False, True) if case.norm else (False,):
            x = case.input(dtype, batch=8)
            got = _forward_and_backward(case.build().to(dtype).train(training), x)
            wanted = _forward_and_backward(case.build().to(dtype).double().train(training), x.double())
            for what, value in got.items():
                expect(value.dtype == dtype, f"{what} in {dtype} has dtype {value.dtype}")
                size = torch.finfo(dtype).eps * max(1.0, float(wanted[what].abs().max()) if value.numel() else 1.0)
                close(value, wanted[what], MIXED * size, f"{what} in {dtype} (training={training})")
                largest = max(largest, float((value.double() - wanted[what]).abs().max() / size) if value.numel() else 0.0)
    return {"largest_error_in_ulps": largest}


def _finite(case: Case, order: int) -> None:
    what = ("value", "gradient", "second gradient")[order]
    for dtype in (torch.float64, *LOW):
        module = case.evaluated(dtype)
        x = torch.cat([magnitudes().to(dtype), torch.zeros(1, dtype=dtype)])
        y = case.f(x, module).detach() if order == 0 else case.d(x, order, module)
        nan = torch.isnan(y)
        expect(not bool(nan.any()), f"{what} in {dtype} is NaN at x={x[nan][:3].tolist()}")
        over = ~torch.isfinite(y)
        x = case.away_from_kinks(x[over])
        if len(x) and (dtype != torch.float64 or case.facts.formula is not None):
            exact = formula_values(case, x, order) if case.facts.formula is not None else _float64(case, x.double(), order)
            fits = exact.abs() <= torch.finfo(dtype).max
            expect(not bool(fits.any()), f"{what} in {dtype} overflows at x={x[fits][:3].tolist()}")


def _float64(case: Case, x: Tensor, order: int) -> Tensor:
    return case.f(x).detach() if order == 0 else case.d(x, order)


@check(GROUP, scalar=True)
def finite_values(case: Case) -> None:
    """On ±[1e-8, 1e4] values are finite wherever the exact one fits the dtype, and never NaN."""
    _finite(case, 0)


@check(GROUP, scalar=True)
def finite_gradients(case: Case) -> None:
    """On ±[1e-8, 1e4] gradients are finite wherever the exact one fits the dtype, and never NaN."""
    _finite(case, 1)


@check(GROUP, scalar=True)
def finite_second_gradients(case: Case) -> None:
    """On ±[1e-8, 1e4] second gradients are finite wherever the exact one fits the dtype, and never NaN."""
    _finite(case, 2)


@check(GROUP)
def large_inputs(case: Case) -> None:
    """Inputs of every size, also in training, give no NaN in value or gradient."""
    for training in (True, False):
        for size in (1e-8, 1.0, 1e4):
            x = (case.input() * size).requires_grad_()
            y = case.build().train(training)(x)
            expect(not bool(torch.isnan(y).any()), f"NaN for inputs of size {size:g} (training={training})")
            y.sum().backward()
            assert x.grad is not None
            expect(not bool(torch.isnan(x.grad).any()), f"NaN gradient for inputs of size {size:g} (training={training})")
