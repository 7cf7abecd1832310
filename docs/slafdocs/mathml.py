"""A formula of ``Facts`` as MathML, in the form its author wrote it."""

from __future__ import annotations

import ast
import html

__all__ = ["mathml"]

_LETTERS = (
    ("alpha", "α"), ("beta", "β"), ("gamma", "γ"), ("delta", "δ"), ("eta", "η"), ("theta", "θ"), ("kappa", "κ"), ("lambda", "λ"),
    ("lambd", "λ"), ("mu", "μ"), ("pi", "π"), ("rho", "ρ"), ("sigma", "σ"), ("tau", "τ"), ("phi", "φ"), ("omega", "ω"),
)  # fmt: skip
_GREEK = dict(_LETTERS)
_COMPARE = {ast.Lt: "&lt;", ast.LtE: "≤", ast.Gt: "&gt;", ast.GtE: "≥"}
_NAMED = {"sigmoid": "σ", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arsinh", "acosh": "arcosh", "atanh": "artanh"}
_SUM, _PRODUCT, _POWER, _ATOM = 1, 2, 3, 4


def mathml(formula: str, display: bool = True) -> str:
    """``formula`` (see :func:`slaf.core.formula.parse_formula`, which has read it before) as a ``<math>`` element after "f(x) ="."""
    body = _value(ast.parse(formula.strip(), mode="eval").body)[0]
    head = f"{_row(_name('f'), _parens(_name('x')))}<mo>=</mo>"
    return f'<math display="{"block" if display else "inline"}">{_row(head, body)}</math>'


def _row(*parts: str) -> str:
    return "<mrow>" + "".join(parts) + "</mrow>"


def _parens(inside: str) -> str:
    return _row("<mo>(</mo>", inside, "<mo>)</mo>")


def _name(name: str) -> str:
    if name == "inf":
        return "<mi>∞</mi>"
    head, _, index = name.rstrip("_").partition("_")
    symbol = f"<mi>{_GREEK.get(head, html.escape(head))}</mi>"
    return f"<msub>{symbol}<mi>{html.escape(index.replace('_', ' '))}</mi></msub>" if index else symbol


def _number(value: float) -> str:
    text = f"{value:.7g}"
    if "e" in text:
        digits, exponent = text.split("e")
        power = f"<msup><mn>10</mn><mn>{int(exponent)}</mn></msup>"
        return power if digits == "1" else _row(f"<mn>{digits}</mn><mo>·</mo>", power)
    return f"<mn>{text}</mn>"


def _value(node: ast.AST) -> tuple[str, int]:
    """The element and how tightly it binds."""
    if isinstance(node, ast.Constant):
        return _number(node.value), _ATOM
    if isinstance(node, ast.Name):
        return _name(node.id), _ATOM
    if isinstance(node, ast.UnaryOp):
        sign = "−" if isinstance(node.op, ast.USub) else "+"
        return _row(f"<mo>{sign}</mo>", _at_least(node.operand, _PRODUCT)), _SUM
    if isinstance(node, ast.BinOp):
        return _binary(node)
    if isinstance(node, ast.Compare):
        return _row(_value(node.left)[0], f"<mo>{_COMPARE[type(node.ops[0])]}</mo>", _value(node.comparators[0])[0]), _SUM
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _call(node.func.id, node.args)
    raise ValueError(f"cannot typeset {ast.unparse(node)!r}")


def _at_least(node: ast.AST, binds: int) -> str:
    element, how = _value(node)
    return element if how >= binds else _parens(element)


def _binary(node: ast.BinOp) -> tuple[str, int]:
    if isinstance(node.op, (ast.Add, ast.Sub)):
        plus = isinstance(node.op, ast.Add)
        right = _at_least(node.right, _SUM if plus and not isinstance(node.right, ast.UnaryOp) else _PRODUCT)
        return _row(_value(node.left)[0], f"<mo>{'+' if plus else '−'}</mo>", right), _SUM
    if isinstance(node.op, ast.Mult):
        left, right = _at_least(node.left, _PRODUCT), _at_least(node.right, _PRODUCT)
        called = node.right.func if isinstance(node.right, ast.Call) else None
        dot = _begins_with_number(node.right) or (isinstance(called, ast.Name) and called.id in ("max", "min"))
        return _row(left, "<mo>·</mo>" if dot else "<mo>&#x2062;</mo>", right), _PRODUCT
    if isinstance(node.op, ast.Div):
        return f"<mfrac>{_row(_value(node.left)[0])}{_row(_value(node.right)[0])}</mfrac>", _PRODUCT
    return f"<msup>{_row(_at_least(node.left, _ATOM))}{_row(_value(node.right)[0])}</msup>", _POWER


def _begins_with_number(node: ast.AST) -> bool:
    while isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Pow)):
        node = node.left
    return isinstance(node, ast.Constant)


def _call(function: str, args: list[ast.expr]) -> tuple[str, int]:
    if function == "where":
        return _cases(args), _ATOM
    values = [_value(a)[0] for a in args]
    if function == "sqrt":
        return f"<msqrt>{values[0]}</msqrt>", _ATOM
    if function == "abs":
        return _row("<mo>|</mo>", values[0], "<mo>|</mo>"), _ATOM
    if function == "exp":
        return f"<msup><mi>e</mi>{_row(values[0])}</msup>", _POWER
    if function == "expm1":
        return _row(f"<msup><mi>e</mi>{_row(values[0])}</msup>", "<mo>−</mo><mn>1</mn>"), _SUM
    if function == "floor":
        return _row("<mo>⌊</mo>", values[0], "<mo>⌋</mo>"), _ATOM
    if function == "log1p":
        function, values = "log", [_row("<mn>1</mn><mo>+</mo>", _at_least(args[0], _SUM))]
    name = _NAMED.get(function, html.escape(function))
    return _row(f'<mi mathvariant="normal">{name}</mi><mo>&#x2061;</mo>', _parens("<mo>,</mo>".join(values))), _ATOM


def _cases(args: list[ast.expr]) -> str:
    """``where(a, u, where(b, v, w))`` as one brace of three rows."""
    rows = []
    while True:
        condition, then, otherwise = args
        rows.append((_value(then)[0], f"<mtext>if&#160;</mtext>{_value(condition)[0]}"))
        if isinstance(otherwise, ast.Call) and isinstance(otherwise.func, ast.Name) and otherwise.func.id == "where":
            args = otherwise.args
            continue
        rows.append((_value(otherwise)[0], "<mtext>otherwise</mtext>"))
        break
    cells = "".join(f"<mtr><mtd>{value}</mtd><mtd>{when}</mtd></mtr>" for value, when in rows)
    return f'<mtable class="slaf-cases" displaystyle="true">{cells}</mtable>'
