"""The independent reference: ``facts.formula`` and its derivatives in arbitrary precision."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from slaf.core import Activation
from slaf.core.formula import parse_formula

from .case import Case
from .extras import optional

__all__ = ["formula_values", "has_formula"]

DIGITS = 400
"""So that 1 + exp(-x) and 1 - erf(x) are right wherever the result is a float64."""


def has_formula(case: Case) -> bool:
    """Whether the formula and every parameter in it are known as numbers."""
    return case.facts.formula is not None


@lru_cache(maxsize=512)
def _compiled(formula: str, parameters: tuple[tuple[str, float], ...], order: int) -> Any:
    import sympy

    optional("mpmath")
    x = sympy.Symbol("x", real=True)
    expression = parse_formula(formula, ("x", *(name for name, _ in parameters)))
    # Rational(float) is exact: the oracle uses the very numbers that the module uses
    expression = expression.subs({sympy.Symbol(n, real=True): sympy.Rational(v) for n, v in parameters})
    for _ in range(order):
        expression = expression.rewrite(sympy.Piecewise).diff(x)
    return sympy.lambdify(x, expression, modules="mpmath")


def formula_values(case: Case, at: Tensor, order: int = 0) -> Tensor:
    """The ``order``-th derivative of the formula at a vector, correctly rounded to float64; NaN where it cannot be evaluated."""
    mpmath = optional("mpmath")
    module = case.module64
    assert isinstance(module, Activation)
    parameters = tuple((n, float(_number(module, n))) for n in case.facts.params)
    function = _compiled(case.facts.formula, parameters, order)
    out = []
    with mpmath.workdps(DIGITS):
        for value in at.double().tolist():
            try:
                out.append(float(function(mpmath.mpf(value))))
            except (OverflowError, ZeroDivisionError):
                out.append(float("nan"))
    return torch.tensor(out, dtype=torch.float64)


def _number(module: Activation, parameter: str) -> float:
    value = getattr(module, parameter)
    return float(value.detach().reshape(-1)[0]) if isinstance(value, Tensor) else float(value)
