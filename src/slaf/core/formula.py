"""A small, safe reader of formulas: text → sympy over an allow-list. Nothing is evaluated as Python.

``parse_formula("x*(1 + erf(x/sqrt(2)))/2")``; piecewise functions are written ``where(condition, a, b)``.
"""

from __future__ import annotations

import ast
import warnings
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
_MAX_LENGTH, _MAX_EXPONENT, _MAX_BITS = 2000, 64, 4096


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

    def value(node: ast.AST) -> Any:
        built = build(node)
        if not isinstance(built, sympy.Expr):
            raise fail(node, "a comparison belongs in the first place of where(…)")
        if built.has(sympy.zoo, sympy.nan):
            raise fail(node, "this is no number")
        return built

    def build(node: ast.AST) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            return sympy.Rational(str(node.value))  # decimal text, so that 0.1 is exactly 1/10
        if isinstance(node, ast.Name):
            if node.id in names:
                return sympy.Symbol(node.id, real=True)
            if node.id in _CONSTANTS:
                return getattr(sympy, _CONSTANTS[node.id])
            allowed = (*names, *_CONSTANTS, *_FUNCTIONS, "where")
            if node.id in allowed:
                raise fail(node, f"{node.id} is a function: {node.id}(…)")
            raise fail(node, f"unknown name {node.id!r}{nearest(node.id, allowed)}")
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            return -value(node.operand) if isinstance(node.op, ast.USub) else value(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            left, right = value(node.left), value(node.right)
            if isinstance(node.op, ast.Pow) and right.is_number and abs(right) > _MAX_EXPONENT:
                raise fail(node, f"the exponent is over {_MAX_EXPONENT}")
            if isinstance(node.op, ast.Pow) and left.is_Rational and right.is_Rational:
                bits = max(int(left.p).bit_length(), int(left.q).bit_length()) * abs(right)
                if bits > _MAX_BITS:  # a tower of powers would fill the memory
                    raise fail(node, "the number is too large")
            return getattr(operator, _BINARY[type(node.op)])(left, right)
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
            return getattr(sympy, _COMPARE[type(node.ops[0])])(value(node.left), value(node.comparators[0]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            if node.func.id == "where" and len(node.args) == 3:
                condition = build(node.args[0])
                if not isinstance(condition, sympy.logic.boolalg.Boolean) or condition.is_Symbol:
                    raise fail(node.args[0], "where(…) begins with a comparison such as x > 0")
                return sympy.Piecewise((value(node.args[1]), condition), (value(node.args[2]), True))
            if node.func.id in _FUNCTIONS and node.args:
                arguments = [value(a) for a in node.args]
                return getattr(sympy, _FUNCTIONS[node.func.id])(*arguments)
            known = (*_FUNCTIONS, "where")
            reason = f"{node.func.id} has the wrong number of arguments" if node.func.id in known else f"unknown function {node.func.id!r}"
            raise fail(node, reason + ("" if node.func.id in known else nearest(node.func.id, known)))
        raise fail(node, "only numbers, variables, + - * / **, comparisons and functions are allowed")

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of text that is refused just below
            warnings.simplefilter("ignore", DeprecationWarning)
            tree = ast.parse(text.strip(), mode="eval")
        return value(tree.body)
    except SlafError:
        raise
    except SyntaxError as error:
        raise SlafError(f"formula {text!r}: {error.msg} at position {error.offset or 1}") from None
    except (RecursionError, MemoryError):
        raise SlafError("formula is nested too deeply") from None
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise SlafError(f"formula {text!r} cannot be read: {error}") from None
