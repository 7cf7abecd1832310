"""A small, safe reader of formulas: text → a tree of allowed operations. Nothing is evaluated as Python.

``read_formula("x*(1 + erf(x/sqrt(2)))/2")``; piecewise functions are written ``where(condition, a, b)``. From the tree come a sympy
expression (``formula_sympy``) and a torch function (``formula_torch``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .errors import SlafError, nearest

__all__ = ["FUNCTIONS", "FormulaError", "Node", "parse_formula", "read_formula"]

FUNCTIONS = {
    "exp": 1, "log": 1, "sqrt": 1, "abs": 1, "sign": 1, "erf": 1, "erfc": 1, "sin": 1, "cos": 1, "tan": 1, "asin": 1, "acos": 1, "atan": 1,
    "sinh": 1, "cosh": 1, "tanh": 1, "asinh": 1, "acosh": 1, "atanh": 1, "floor": 1, "log1p": 1, "expm1": 1, "sigmoid": 1, "softplus": 1,
    "max": None, "min": None, "where": 3,
}  # fmt: skip
"""The functions and how many arguments each takes; ``None``: two or more."""
CONSTANTS = {"pi": math.pi, "inf": math.inf}
_OPERATORS = {"+": ("add", 10), "-": ("sub", 10), "*": ("mul", 20), "/": ("div", 20), "**": ("pow", 40), "^": ("pow", 40)}
_COMPARISONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![A-Za-z_0-9.])|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<mark>\*\*|<=|>=|[-+*/^<>(),]))",
    re.ASCII,
)
_MAX_LENGTH, _MAX_DEPTH, _MAX_EXPONENT = 2000, 60, 64
_LARGEST = 1e300


class FormulaError(SlafError):
    """A formula that cannot be read; ``position`` counts characters from 1."""

    def __init__(self, text: str, reason: str, position: int) -> None:
        shown = text if len(text) <= 80 else text[:77] + "…"
        super().__init__(f"formula {shown!r}: {reason} at position {position}")
        self.position = position


@dataclass(frozen=True)
class Node:
    """One operation: ``kind`` is ``"number"``, ``"name"``, a function, ``add sub mul div pow neg``, or ``lt le gt ge``.

    ``value`` is a number's text or a name; ``constant`` is the float value where no variable occurs.
    """

    kind: str
    args: tuple[Node, ...] = ()
    value: str = ""
    position: int = field(default=1, compare=False)
    constant: float | None = field(default=None, compare=False)


def parse_formula(text: str, names: Iterable[str] = ("x",)) -> Any:
    """Read a formula in the variables ``names`` into a sympy expression; the variables are real symbols.

    Raises:
        FormulaError: anything but numbers, the named variables, + - * / ** and the allowed functions; the message gives the position.
    """
    from .formula_sympy import to_sympy

    return to_sympy(text, read_formula(text, names))


def read_formula(text: str, names: Iterable[str] = ("x",)) -> Node:
    """Read a formula in the variables ``names`` into a tree.

    Raises:
        FormulaError: with the position and the reason.
    """
    if not isinstance(text, str):
        raise SlafError(f"formula must be a string such as 'x*tanh(x)'; got {type(text).__name__}")
    if len(text) > _MAX_LENGTH:
        raise FormulaError(text, f"at most {_MAX_LENGTH} characters are read; this has {len(text)},", _MAX_LENGTH + 1)
    return _Reader(text, tuple(names)).formula()


class _Reader:
    """Precedence climbing over a list of tokens."""

    def __init__(self, text: str, names: tuple[str, ...]) -> None:
        self.text, self.names, self.next, self.depth = text, names, 0, 0
        self.tokens: list[tuple[str, str, int]] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                while text[position].isspace():
                    position += 1
                raise FormulaError(text, f"{text[position]!r} is not understood", position + 1)
            kind = str(match.lastgroup)
            self.tokens.append((kind, match.group(kind), match.start(kind) + 1))
            position = match.end()

    def fail(self, reason: str, position: int | None = None) -> FormulaError:
        return FormulaError(self.text, reason, self.position if position is None else position)

    @property
    def position(self) -> int:
        return self.tokens[self.next][2] if self.next < len(self.tokens) else len(self.text) + 1

    def peek(self) -> str:
        return self.tokens[self.next][1] if self.next < len(self.tokens) else ""

    def take(self, mark: str) -> bool:
        if self.peek() == mark:
            self.next += 1
            return True
        return False

    def formula(self) -> Node:
        if not self.tokens:
            raise self.fail("it is empty")
        node = self.expression()
        if self.next < len(self.tokens):
            if self.peek() in _COMPARISONS:
                raise self.fail("a comparison belongs in the first place of where(…)")
            raise self.fail(f"{self.peek()!r} was not expected")
        return node

    def expression(self, least: int = 0) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.fail(f"it is nested more than {_MAX_DEPTH} deep")
        left = self.operand()
        while self.peek() in _OPERATORS:
            kind, strength = _OPERATORS[self.peek()]
            if strength < least:
                break
            at = self.position
            self.next += 1
            # powers group to the right, everything else to the left
            right = self.expression(strength if kind == "pow" else strength + 1)
            left = self.made(Node(kind, (left, right), position=at))
        self.depth -= 1
        return left

    def operand(self) -> Node:
        at = self.position
        if self.take("-"):
            return self.made(Node("neg", (self.expression(30),), position=at))
        if self.take("+"):
            return self.expression(30)
        if self.take("("):
            inner = self.expression()
            self.close("(", at)
            return inner
        if self.next >= len(self.tokens):
            raise self.fail("it ends where a number, a variable or a function should follow")
        kind, text, _ = self.tokens[self.next]
        self.next += 1
        if kind == "number":
            return self.made(Node("number", value=text, position=at))
        if kind == "name":
            return self.call(text, at) if self.take("(") else self.name(text, at)
        raise self.fail(f"{text!r} stands where a number, a variable or a function should", at)

    def close(self, what: str, opened: int) -> None:
        if not self.take(")"):
            found = self.peek()
            raise self.fail(f"{what!r} of position {opened} is not closed" if not found else f"{found!r} was not expected; ')' was")

    def name(self, text: str, at: int) -> Node:
        if text in self.names or text in CONSTANTS:
            return self.made(Node("name", value=text, position=at))
        if text in FUNCTIONS:
            raise self.fail(f"{text} is a function, written {text}(…),", at)
        raise self.fail(f"unknown name {text!r}{nearest(text, (*self.names, *CONSTANTS, *FUNCTIONS))}", at)

    def call(self, function: str, at: int) -> Node:
        if function not in FUNCTIONS:
            raise self.fail(f"unknown function {function!r}{nearest(function, FUNCTIONS)}", at)
        args = [self.condition() if function == "where" else self.expression()]
        while self.take(","):
            args.append(self.expression())
        self.close(f"{function}(", at)
        wanted = FUNCTIONS[function]
        if (len(args) < 2) if wanted is None else len(args) != wanted:
            takes = "two or more arguments" if wanted is None else f"{wanted} argument{'s' * (wanted > 1)}"
            raise self.fail(f"{function} takes {takes}, not {len(args)},", at)
        return self.made(Node(function, tuple(args), position=at))

    def condition(self) -> Node:
        left, at = self.expression(), self.position
        kind = _COMPARISONS.get(self.peek())
        if kind is None:
            raise self.fail("where(…) begins with a comparison such as x > 0; none is found")
        self.next += 1
        return Node(kind, (left, self.expression()), position=at)

    def made(self, node: Node) -> Node:
        """``node`` with its constant value, refused where it is no number or one that exact arithmetic could not hold."""
        if node.kind == "pow":
            exponent = node.args[1].constant
            if exponent is not None and abs(exponent) > _MAX_EXPONENT:
                raise self.fail(f"the exponent is over {_MAX_EXPONENT}", node.args[1].position)
        value = _constant(node)
        if value is None:
            return node
        tiny = value == 0 and node.kind in ("pow", "number") and _nonzero(node)
        if math.isnan(value) or tiny or (abs(value) > _LARGEST and not (math.isinf(value) and _is_infinity(node))):
            raise self.fail("this is no number that fits a float", node.position)
        return Node(node.kind, node.args, node.value, node.position, value)


def _is_infinity(node: Node) -> bool:
    return (node.kind == "name" and node.value == "inf") or (node.kind == "neg" and _is_infinity(node.args[0]))


def _nonzero(node: Node) -> bool:
    if node.kind == "number":
        return bool(re.search(r"[1-9]", re.split("[eE]", node.value)[0]))
    return node.args[0].constant != 0


def _constant(node: Node) -> float | None:
    """The value where no variable occurs; NaN where it is no real number."""
    if node.kind == "number":
        return float(node.value)
    if node.kind == "name":
        return CONSTANTS.get(node.value)
    if node.kind == "where" or any(a.constant is None for a in node.args):
        return None
    try:
        value = _ARITHMETIC[node.kind](*(float(a.constant) for a in node.args))  # type: ignore[arg-type]
    except (ValueError, ArithmeticError):
        return math.nan
    return value if isinstance(value, float) else math.nan  # a complex root is none


def _power(a: float, b: float) -> Any:
    return a**b


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b, "pow": _power,
    "neg": lambda a: -a, "exp": math.exp, "log": math.log, "sqrt": math.sqrt, "abs": abs, "erf": math.erf, "erfc": math.erfc,
    "sign": lambda a: float((a > 0) - (a < 0)), "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin, "acos": math.acos,
    "atan": math.atan, "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh, "asinh": math.asinh, "acosh": math.acosh,
    "atanh": math.atanh, "floor": lambda a: float(math.floor(a)), "log1p": math.log1p, "expm1": math.expm1,
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)), "softplus": lambda a: math.log1p(math.exp(a)), "max": max, "min": min,
}  # fmt: skip
