"""From a formula's tree to sympy, number by number exact; sympy never sees the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .formula import FormulaError, Node

__all__ = ["to_sympy"]

_NAMES = {"abs": "Abs", "max": "Max", "min": "Min", "lt": "Lt", "le": "Le", "gt": "Gt", "ge": "Ge"}


def to_sympy(text: str, node: Node) -> Any:
    """``node`` as an expression in real symbols; decimals are exact, so that 0.1 is 1/10.

    Raises:
        FormulaError: something in it is undefined, such as 1/0.
    """
    import sympy

    try:
        built = _Builder(sympy).build(node)
    except (TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        raise FormulaError(text, f"this cannot be computed with ({error})", node.position) from None
    if not isinstance(built, sympy.Expr) or built.has(sympy.zoo, sympy.nan, sympy.I):
        raise FormulaError(text, "this is no real number everywhere: something is divided by 0 or undefined", node.position)
    return built


class _Builder:
    def __init__(self, sympy: Any) -> None:
        self.sympy = sympy

    def build(self, node: Node) -> Any:
        s = self.sympy
        if node.kind == "number":
            return s.Rational(node.value)
        if node.kind == "name":
            return {"pi": s.pi, "inf": s.oo}.get(node.value) or s.Symbol(node.value, real=True)
        if node.kind == "where":
            condition, yes, no = (self.build(a) for a in node.args)
            return s.Piecewise((yes, condition), (no, True))
        args = [self.build(a) for a in node.args]
        rule = _RULES.get(node.kind)
        if rule is not None:
            return rule(s, *args)
        if node.kind in ("max", "min") and not all(a.is_number for a in args):
            # evaluated, sympy would compare every pair by its assumptions, which can take for ever
            return getattr(s, _NAMES[node.kind])(*args, evaluate=False)
        return getattr(s, _NAMES.get(node.kind, node.kind))(*args)


_RULES: dict[str, Callable[..., Any]] = {
    "add": lambda _, a, b: a + b,
    "sub": lambda _, a, b: a - b,
    "mul": lambda _, a, b: a * b,
    "div": lambda _, a, b: a / b,
    "pow": lambda _, a, b: a**b,
    "neg": lambda _, a: -a,
    "log1p": lambda s, a: s.log(1 + a),
    "expm1": lambda s, a: s.exp(a) - 1,
    "sigmoid": lambda s, a: 1 / (1 + s.exp(-a)),
    "softplus": lambda s, a: s.log(1 + s.exp(a)),
}
