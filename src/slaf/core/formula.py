"""A small, safe reader of formulas: text → sympy over an allow-list. Nothing is evaluated as Python.

``parse_formula("x*(1 + erf(x/sqrt(2)))/2")``; piecewise functions are written ``where(condition, a, b)``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from .errors import SlafError, nearest

__all__ = ["parse_formula"]

_FUNCTIONS = {
    "exp": "exp", "log": "log", "sqrt": "sqrt", "abs": "Abs", "sign": "sign", "erf": "erf", "erfc": "erfc",
    "sin": "sin", "cos": "cos", "tan": "tan", "atan": "atan", "asinh": "asinh",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "max": "Max", "min": "Min", "floor": "floor",
}  # fmt: skip
_CONSTANTS = {"pi": "pi", "inf": "oo"}
_COMPARE = {ast.Lt: "Lt", ast.LtE: "Le", ast.Gt: "Gt", ast.GtE: "Ge"}
_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.Pow: "pow"}
_MAX_LENGTH, _MAX_EXPONENT = 2000, 64


def parse_formula(text: str, names: Iterable[str] = ("x",)) -> Any:
    """Read a formula in the variables ``names`` into a sympy expression.

    Raises:
        SlafError: anything but numbers, the named variables, + - * / ** and the allowed functions; the message gives the column.
    """
    import operator

    import sympy

    names = tuple(names)
    if not isinstance(text, str) or len(text) > _MAX_LENGTH:
        raise SlafError(f"formula must be a string of at most {_MAX_LENGTH} characters")

    def fail(node: ast.AST | None, reason: str) -> SlafError:
        column = getattr(node, "col_offset", 0) + 1
        return SlafError(f"formula {text!r}: {reason} at position {column}")

    def build(node: ast.AST) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            return sympy.Rational(str(node.value))  # decimal text, so that 0.1 is exactly 1/10
        if isinstance(node, ast.Name):
            if node.id in names:
                return sympy.Symbol(node.id, real=True)
            if node.id in _CONSTANTS:
                return getattr(sympy, _CONSTANTS[node.id])
            allowed = (*names, *_CONSTANTS, *_FUNCTIONS, "where")
            raise fail(node, f"unknown name {node.id!r}{nearest(node.id, allowed)}")
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            return -build(node.operand) if isinstance(node.op, ast.USub) else build(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            left, right = build(node.left), build(node.right)
            if isinstance(node.op, ast.Pow) and right.is_number and abs(right) > _MAX_EXPONENT:
                raise fail(node, f"exponent {right} is over {_MAX_EXPONENT}")
            return getattr(operator, _BINARY[type(node.op)])(left, right)
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
            return getattr(sympy, _COMPARE[type(node.ops[0])])(build(node.left), build(node.comparators[0]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            arguments = [build(a) for a in node.args]
            if node.func.id == "where" and len(arguments) == 3:
                return sympy.Piecewise((arguments[1], arguments[0]), (arguments[2], True))
            if node.func.id in _FUNCTIONS and arguments:
                return getattr(sympy, _FUNCTIONS[node.func.id])(*arguments)
            raise fail(node, f"unknown function {node.func.id!r}{nearest(node.func.id, (*_FUNCTIONS, 'where'))}")
        raise fail(node, "only numbers, variables, + - * / **, comparisons and functions are allowed")

    try:
        tree = ast.parse(text.strip(), mode="eval")
        return build(tree.body)
    except SyntaxError as error:
        raise SlafError(f"formula {text!r}: {error.msg} at position {error.offset or 1}") from None
    except (RecursionError, MemoryError):
        raise SlafError("formula is nested too deeply") from None
