"""A symbolic network in sympy, its constants rounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from slaf.core import SlafError

from .network import layers_of
from .symbolic.functions import find
from .symbolic.layer import SymbolicKANLinear

__all__ = ["expressions", "rounded"]

DIVISORS = (1, 2, 3, 4, 6)


def expressions(model: nn.Module, inputs: Sequence[str] | None = None, digits: int | None = 4) -> list[Any]:
    """The outputs of a network of symbolic layers as sympy expressions of its inputs, real symbols.

    Args:
        model: a symbolic layer or an ``nn.Sequential`` of such, none with splines left.
        inputs: the names of the symbols; x1, x2, … without.
        digits: round constants to so many decimals, see :func:`rounded`; ``None`` leaves them as they are.

    Raises:
        SlafError: a layer with splines, or as many names as there are not inputs.
    """
    import sympy

    layers = layers_of(model)
    for number, layer in enumerate(layers):
        if not isinstance(layer, SymbolicKANLinear) or layer.rest is not None:
            raise SlafError(f"layer {number} of model still has splines, which have no formula: symbolify the model first")
    count = layers[0].in_features
    names = [f"x{k + 1}" for k in range(count)] if inputs is None else list(inputs)
    if isinstance(inputs, str) or len(names) != count:
        raise SlafError(f"inputs must be {count} names; got {inputs!r}")
    values = [sympy.Symbol(str(name), real=True) for name in names]
    for layer in layers:
        values = _through(layer, values)  # type: ignore[arg-type]
    return [sympy.expand(value) if digits is None else rounded(value, digits) for value in values]


def _through(layer: SymbolicKANLinear, values: list[Any]) -> list[Any]:
    import sympy

    numbers = [p.detach().double().cpu().tolist() for p in (layer.scale, layer.rate, layer.shift)]
    out = [sympy.Float(b, 17) for b in layer.bias.detach().double().cpu().tolist()]
    for (i, o, name), a, b, c in zip(layer.functions, *numbers, strict=True):
        out[o] += _edge(name, sympy.expand(sympy.Float(b, 17) * values[i] + sympy.Float(c, 17)), sympy.Float(a, 17))
    return [sympy.expand(value, power_exp=False) for value in out]


def _edge(name: str, t: Any, a: Any) -> Any:
    """a·f(t), numbers taken out of f where it lets them: constants of exponents, factors of powers, roots and logarithms."""
    import sympy

    function = find(name)
    constant, rest = t.as_coeff_Add()
    if name == "exp":
        return a * sympy.exp(constant) * sympy.exp(rest)
    if (function.degree is not None or name == "log") and not rest.is_zero:
        size = max((abs(term.as_coeff_Mul()[0]) for term in sympy.Add.make_args(rest)), default=sympy.Integer(1))
        inner = function.sympy(sympy.expand(t / size))
        return a * (inner + sympy.log(size)) if name == "log" else a * size**function.degree * inner
    return a * function.sympy(t)


def rounded(expression: Any, digits: int = 4) -> Any:
    """The expression with its decimals rounded to ``digits``; those within that of n/1, n/2, n/3, n/4, n/6 or of such times π are these.

    Raises:
        SlafError: digits is no integer from 1 to 15.
    """
    import sympy

    if isinstance(digits, bool) or not isinstance(digits, int) or not 1 <= digits <= 15:
        raise SlafError(f"digits must be an integer from 1 to 15; got {digits!r}")
    expression = sympy.expand(expression, power_exp=False)
    known = {number: _nice(number, digits) for number in expression.atoms(sympy.Float)}
    return sympy.powsimp(sympy.expand(expression.xreplace(known), power_exp=False), combine="exp")


def _nice(number: Any, digits: int) -> Any:
    import sympy

    near = 0.5 * 10.0**-digits
    for unit in (sympy.Integer(1), sympy.pi):
        for divisor in DIVISORS:
            count = round(float(number) * divisor / float(unit))
            if abs(float(number) - count * float(unit) / divisor) <= near and (count or unit == 1) and abs(count) < 1000:
                return sympy.Rational(count, divisor) * unit
    return sympy.Float(round(float(number), digits), max(digits, len(str(int(abs(number)))) + digits))
