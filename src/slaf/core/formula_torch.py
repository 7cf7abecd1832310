"""From a formula's tree to a function of tensors: float64 and float32 as they come, half types inside in float32.

So that neither values nor gradients become NaN, common forms are evaluated stably (``log(1 + u)`` as log1p, ``exp(u) - 1`` as expm1,
``1/(1 + exp(-u))`` as a sigmoid), exponentials saturate at the largest number instead of overflowing, and a branch of ``where`` that is
not taken sees a harmless input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
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
    tree = simplified(read_formula(text, names))
    others = [n for n in names if n != "x"]

    def function(x: Tensor, **parameters: Value) -> Tensor:
        wide = x if x.dtype in (torch.float64, torch.float32) else x.float()
        values = {n: parameters[n].to(wide.dtype) if isinstance(parameters[n], Tensor) else parameters[n] for n in others}
        y = evaluate(tree, {"x": wide, **values})
        # the graph and NaN of x reach a constant too
        y = y if isinstance(y, Tensor) else torch.full_like(wide, y)
        return (y if y.shape == x.shape else y + torch.zeros_like(wide)).to(x.dtype)

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
    """u where ``node`` is 1 + u or u + 1."""
    if node.kind != "add":
        return None
    left, right = node.args
    return right if left.constant == 1 else left if right.constant == 1 else None


def _negative(node: Node) -> Node:
    return node.args[0] if node.kind == "neg" else Node("neg", (node,))


def evaluate(node: Node, env: Environment) -> Value:
    """The value of ``node``: a tensor, or a float where no variable occurs."""
    if node.constant is not None:
        return node.constant
    if node.kind == "name":
        return env[node.value]
    if node.kind == "where":
        return _where(node, env)
    args = [evaluate(a, env) for a in node.args]
    if node.kind == "pow":
        return _power(*args)
    if node.kind in ("max", "min"):
        pick = torch.maximum if node.kind == "max" else torch.minimum
        total = args[0]
        for a in args[1:]:
            total = pick(*_tensors(total, a, env["x"]))
        return total
    operation = _OPERATIONS[node.kind]
    return operation(*args) if node.kind in _BINARY else operation(_tensors(args[0], 0.0, env["x"])[0])


def _tensors(a: Value, b: Value, like: Tensor) -> tuple[Tensor, Tensor]:
    return tuple(t if isinstance(t, Tensor) else torch.full((), t, dtype=like.dtype, device=like.device) for t in (a, b))  # type: ignore[return-value]


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, float):
        if exponent == 0.5:
            return _root(base)
        if exponent.is_integer():
            return base ** int(exponent)
    if isinstance(base, float):
        return torch.pow(base, exponent)
    return base**exponent


def _root(u: Tensor) -> Tensor:
    return torch.sqrt(u)


def _exp(u: Tensor) -> Tensor:
    return torch.exp(u.clamp(max=math.log(torch.finfo(u.dtype).max) * (1 - 1e-6)))


def _where(node: Node, env: Environment) -> Tensor:
    condition, yes, no = node.args
    left, right = _tensors(evaluate(condition.args[0], env), evaluate(condition.args[1], env), env["x"])
    holds = _COMPARE[condition.kind](left, right)
    x = env["x"]
    parts = []
    for part, taken in ((yes, holds), (no, ~holds)):
        harmless = _harmless(part, tuple(env))
        seen = x if harmless is None else torch.where(taken, x, torch.full((), harmless, dtype=x.dtype, device=x.device))
        parts.append(evaluate(part, {**env, "x": seen}))
    return torch.where(holds, *_tensors(parts[0], parts[1], x))


@lru_cache(maxsize=1024)
def _harmless(node: Node, names: tuple[str, ...]) -> float | None:
    """An x at which the part is finite, slope included, as far as trying tells; None where nothing in it can fail."""
    if not _may_fail(node):
        return None
    with torch.enable_grad():
        for point in (1.0, 0.5, -0.5, -1.0, 2.0, -2.0, 4.0, -4.0):
            x = torch.tensor(point, dtype=torch.float64, requires_grad=True)
            y = evaluate(node, dict.fromkeys(names, 1.0) | {"x": x})
            slope = torch.autograd.grad(y, x, allow_unused=True, materialize_grads=True)[0]
            if math.isfinite(y.detach()) and math.isfinite(slope):
                return point
    return None


def _may_fail(node: Node) -> bool:
    risky = node.kind in ("div", "log", "sqrt", "acosh", "atanh", "asin", "acos", "tan", "log1p") or (
        node.kind == "pow" and not (node.args[1].constant or 0.5) >= 1
    )
    return risky or any(_may_fail(a) for a in node.args)


_COMPARE = {"lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge}
_BINARY = {"add", "sub", "mul", "div", "neg"}
_OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "exp": _exp,
    "log": torch.log,
    "sqrt": _root,
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
    "expm1": lambda u: torch.expm1(u.clamp(max=math.log(torch.finfo(u.dtype).max) * (1 - 1e-6))),
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
}
