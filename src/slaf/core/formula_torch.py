"""From a formula's tree to a function of tensors: float64 and float32 as they come, half types inside in float32.

So that neither values nor gradients become NaN, common forms are evaluated stably (``log(1 + u)`` as log1p, ``exp(u) - 1`` as expm1,
``1/(1 + exp(-u))`` as a sigmoid), exponentials saturate at the largest number instead of overflowing, and a branch of ``where`` that is
not taken sees a harmless input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .formula import Node, read_formula

__all__ = ["compile_formula"]

Value = Any  # a float where no variable occurs, else a tensor
Environment = Mapping[str, Value]


def compile_formula(text: str, names: tuple[str, ...] = ("x",)) -> Callable[..., Tensor]:
    """A function ``f(x, **parameters)`` of the formula; parameters are numbers or tensors that broadcast against x.

    Raises:
        FormulaError: the formula cannot be read.
    """
    value = build(simplified(read_formula(text, names)))
    others = [n for n in names if n != "x"]

    def function(x: Tensor, **parameters: Value) -> Tensor:
        wide = x if x.dtype in (torch.float64, torch.float32) else x.float()
        values = {n: parameters[n].to(wide.dtype) if isinstance(parameters[n], Tensor) else parameters[n] for n in others}
        y = value({"x": wide, **values})
        if not isinstance(y, Tensor) or y.shape != x.shape:
            y = y + 0 * wide  # a constant too has x's shape, its graph and its NaN
        return y.to(x.dtype)

    return function


def simplified(node: Node) -> Node:
    """The tree with its common forms replaced by functions that are stable."""
    args = tuple(simplified(a) for a in node.args)
    node = Node(node.kind, args, node.value, node.position, node.constant)
    if node.kind == "log" and (u := _added_to_one(args[0])) is not None:
        return Node("softplus", u.args) if u.kind == "exp" else Node("log1p", (u,))
    if node.kind == "sub" and args[0].kind == "exp" and args[1].constant == 1:
        return Node("expm1", args[0].args)
    if node.kind == "div" and (u := _added_to_one(args[1])) is not None and u.kind == "exp":
        if args[0] == u:
            return Node("sigmoid", u.args)
        sigmoid = Node("sigmoid", (_negative(u.args[0]),))
        if not _grows_fast(args[0]):  # else the product of something huge and something tiny
            return sigmoid if args[0].constant == 1 else Node("mul", (args[0], sigmoid))
    return node


def _grows_fast(node: Node) -> bool:
    return node.kind in ("exp", "expm1", "sinh", "cosh", "pow") or any(_grows_fast(a) for a in node.args)


def _added_to_one(node: Node) -> Node | None:
    """u where ``node`` is 1 + u, u + 1 or 1 - (-u)."""
    if node.kind == "sub" and node.args[0].constant == 1:
        return _negative(node.args[1])
    if node.kind != "add":
        return None
    left, right = node.args
    return right if left.constant == 1 else left if right.constant == 1 else None


def _negative(node: Node) -> Node:
    return node.args[0] if node.kind == "neg" else Node("neg", (node,))


def build(node: Node) -> Callable[[Environment], Value]:
    """A function from the variables' values to the value of ``node``: a tensor, or a float where no variable occurs."""
    if node.constant is not None:
        return lambda _: node.constant
    if node.kind == "name":
        return lambda env: env[node.value]
    if node.kind == "where":
        return _where(node)
    args = [build(a) for a in node.args]
    if node.kind == "pow":
        return lambda env: _power(args[0](env), args[1](env))
    if node.kind in ("max", "min"):
        return _extreme(torch.maximum if node.kind == "max" else torch.minimum, args)
    operation = _OPERATIONS[node.kind]
    if node.kind in _ARITHMETIC:
        return lambda env: operation(*(a(env) for a in args))
    return lambda env: operation(_tensor(args[0](env), env["x"]))


def _tensor(a: Value, like: Tensor) -> Tensor:
    return a if isinstance(a, Tensor) else torch.full((), a, dtype=like.dtype, device=like.device)


def _extreme(pick: Callable[[Tensor, Tensor], Tensor], args: list[Callable[[Environment], Value]]) -> Callable[[Environment], Value]:
    def value(env: Environment) -> Tensor:
        total, *others = (_tensor(a(env), env["x"]) for a in args)
        for other in others:
            total = pick(total, other)
        return total

    return value


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, float):
        if exponent == 0.5:
            return torch.sqrt(base)
        if exponent.is_integer():
            return base ** int(exponent)
    return torch.pow(base, exponent)


def _saturating(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda u: function(u.clamp(max=math.log(torch.finfo(u.dtype).max) * (1 - 1e-6)))


def _where(node: Node) -> Callable[[Environment], Value]:
    condition, yes, no = node.args
    compare, left, right = _COMPARE[condition.kind], build(condition.args[0]), build(condition.args[1])
    branches = [(build(part), _harmless(part)) for part in (yes, no)]

    def value(env: Environment) -> Tensor:
        x = env["x"]
        holds = compare(_tensor(left(env), x), _tensor(right(env), x))
        parts = []
        for (part, harmless), taken in zip(branches, (holds, ~holds), strict=True):
            seen = x if harmless is None else torch.where(taken, x, _tensor(harmless, x))
            parts.append(_tensor(part({**env, "x": seen}), x))
        return torch.where(holds, parts[0], parts[1])

    return value


def _harmless(node: Node) -> float | None:
    """An x at which the part is finite, slope included, as far as trying tells; None where nothing in it can fail."""
    if not _may_fail(node):
        return None
    part, names = build(node), _names(node)
    with torch.enable_grad():
        for point in (1.0, 0.5, -0.5, -1.0, 2.0, -2.0, 4.0, -4.0):
            x = torch.tensor(point, dtype=torch.float64, requires_grad=True)
            y = _tensor(part(dict.fromkeys(names, 1.0) | {"x": x}), x) + 0 * x
            slope = torch.autograd.grad(y, x)[0]
            if math.isfinite(y.detach()) and math.isfinite(slope):
                return point
    return None


def _names(node: Node) -> set[str]:
    return {node.value} if node.kind == "name" else set().union(*(_names(a) for a in node.args))


def _may_fail(node: Node) -> bool:
    risky = node.kind in ("div", "log", "sqrt", "acosh", "atanh", "asin", "acos", "tan", "log1p") or (
        node.kind == "pow" and not (node.args[1].constant or 0.5) >= 1
    )
    return risky or any(_may_fail(a) for a in node.args)


_COMPARE = {"lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge}
_ARITHMETIC = {"add", "sub", "mul", "div", "neg"}
_OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "exp": _saturating(torch.exp),
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "sign": torch.sign,
    "erf": torch.erf,
    "erfc": torch.erfc,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "tanh": torch.tanh,
    "asinh": torch.asinh,
    "acosh": torch.acosh,
    "atanh": torch.atanh,
    "floor": torch.floor,
    "log1p": torch.log1p,
    "expm1": _saturating(torch.expm1),
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
}
