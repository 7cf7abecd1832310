"""A small, safe reader of formulas: text → sympy over an allow-list. Nothing is evaluated as Python.

``parse_formula("x*(1 + erf(x/sqrt(2)))/2")``; piecewise functions are written ``where(condition, a, b)``.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Iterable
from typing import Any

from .errors import SlafError, nearest

__all__ = ["parse_formula"]

_FUNCTIONS = {
    "exp": "exp", "log": "log", "sqrt": "sqrt", "abs": "Abs", "sign": "sign", "erf": "erf", "erfc": "erfc",
    "sin": "sin", "cos": "cos", "tan": "tan", "asin": "asin", "acos": "acos", "atan": "atan", "asinh": "asinh", "acosh": "acosh",
    "atanh": "atanh", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "max": "Max", "min": "Min", "floor": "floor",
}  # fmt: skip
_SHORTHANDS = {"log1p": "log(1 + u)", "expm1": "exp(u) - 1", "sigmoid": "1/(1 + exp(-u))", "softplus": "log(1 + exp(u))"}
"""Functions of one argument that sympy has no name for, spelt out in ``u``."""
_CONSTANTS = {"pi": "pi", "inf": "oo"}
_COMPARE = {ast.Lt: "Lt", ast.LtE: "Le", ast.Gt: "Gt", ast.GtE: "Ge"}
_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.Pow: "pow"}
_MAX_LENGTH, _MAX_EXPONENT, _MAX_BITS = 2000, 64, 4096


def parse_formula(text: str, names: Iterable[str] = ("x",)) -> Any:
    """Read a formula in the variables ``names`` into a sympy expression; the variables are real symbols.

    Raises:
        SlafError: anything but numbers, the named variables, + - * / ** and the allowed functions; the message gives the column.
    """
    if not isinstance(text, str) or len(text) > _MAX_LENGTH:
        raise SlafError(f"formula must be a string of at most {_MAX_LENGTH} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of text that is refused just below
            warnings.simplefilter("ignore", DeprecationWarning)
            tree = ast.parse(text.strip(), mode="eval")
        return _Reader(text, tuple(names)).value(tree.body)
    except SlafError:
        raise
    except SyntaxError as error:
        raise SlafError(f"formula {text!r}: {error.msg} at position {error.offset or 1}") from None
    except (RecursionError, MemoryError):
        raise SlafError("formula is nested too deeply") from None
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise SlafError(f"formula {text!r} cannot be read: {error}") from None


class _Reader:
    """Turns the nodes of a syntax tree into sympy, one method for each kind that is allowed."""

    def __init__(self, text: str, names: tuple[str, ...]) -> None:
        import sympy

        self.text, self.names, self.sympy = text, names, sympy

    def fail(self, node: ast.AST, reason: str) -> SlafError:
        return SlafError(f"formula {self.text!r}: {reason} at position {getattr(node, 'col_offset', 0) + 1}")

    def value(self, node: ast.AST) -> Any:
        built = self.build(node)
        if not isinstance(built, self.sympy.Expr):
            raise self.fail(node, "a comparison belongs in the first place of where(…)")
        if built.has(self.sympy.zoo, self.sympy.nan):
            raise self.fail(node, "this is no number")
        return built

    def build(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            return self.sympy.Rational(str(node.value))  # decimal text, so that 0.1 is exactly 1/10
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            return -self.value(node.operand) if isinstance(node.op, ast.USub) else self.value(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return self.binary(node)
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
            compare = getattr(self.sympy, _COMPARE[type(node.ops[0])])
            return compare(self.value(node.left), self.value(node.comparators[0]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return self.call(node, node.func.id)
        raise self.fail(node, "only numbers, variables, + - * / **, comparisons and functions are allowed")

    def name(self, node: ast.Name) -> Any:
        if node.id in self.names:
            return self.sympy.Symbol(node.id, real=True)
        if node.id in _CONSTANTS:
            return getattr(self.sympy, _CONSTANTS[node.id])
        allowed = (*self.names, *_CONSTANTS, *_FUNCTIONS, *_SHORTHANDS, "where")
        if node.id in allowed:
            raise self.fail(node, f"{node.id} is a function: {node.id}(…)")
        raise self.fail(node, f"unknown name {node.id!r}{nearest(node.id, allowed)}")

    def binary(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(node.op, ast.Pow) and right.is_number and abs(right) > _MAX_EXPONENT:
            raise self.fail(node, f"the exponent is over {_MAX_EXPONENT}")
        if isinstance(node.op, ast.Pow) and left.is_Rational and right.is_Rational:
            bits = max(int(left.p).bit_length(), int(left.q).bit_length()) * abs(right)
            if bits > _MAX_BITS:  # a tower of powers would fill the memory
                raise self.fail(node, "the number is too large")
        return getattr(operator, _BINARY[type(node.op)])(left, right)

    def call(self, node: ast.Call, function: str) -> Any:
        if function == "where" and len(node.args) == 3:
            condition = self.build(node.args[0])
            if not isinstance(condition, self.sympy.logic.boolalg.Boolean) or condition.is_Symbol:
                raise self.fail(node.args[0], "where(…) begins with a comparison such as x > 0")
            return self.sympy.Piecewise((self.value(node.args[1]), condition), (self.value(node.args[2]), True))
        if function in _FUNCTIONS and node.args:
            arguments = [self.value(a) for a in node.args]
            return getattr(self.sympy, _FUNCTIONS[function])(*arguments)
        if function in _SHORTHANDS and len(node.args) == 1:
            spelt_out = parse_formula(_SHORTHANDS[function], ("u",))
            return spelt_out.subs(self.sympy.Symbol("u", real=True), self.value(node.args[0]))
        known = (*_FUNCTIONS, *_SHORTHANDS, "where")
        if function in known:
            raise self.fail(node, f"{function} has the wrong number of arguments")
        raise self.fail(node, f"unknown function {function!r}{nearest(function, known)}")
