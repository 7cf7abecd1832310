"""How a call takes its input: ``F.relu(x)``, ``F.relu(input=x)``, ``x.relu()``, ``F.relu_(x)``; and which calls cannot be replaced."""

from __future__ import annotations

import ast
import builtins
import inspect
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any

import torch
from torch import nn

from .resolve import Scope
from .sources import Function, Unroutable

__all__ = ["Form", "form_of", "input_of", "parents_of"]

_INPUTS = ("input", "x", "self", "tensor", "hidden_states")
_PURE_CALLS = {
    "int",
    "float",
    "bool",
    "str",
    "len",
    "min",
    "max",
    "abs",
    "round",
    "tuple",
    "type",
    "list",
    "getattr",
    "isinstance",
    "sqrt",
    "size",
    "dim",
    "numel",
}
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Form:
    """``argument``: ``receiver`` (``x.relu()``), ``first`` (``F.relu(x)``) or the keyword; ``inplace``: the input itself is changed."""

    argument: str
    inplace: bool


def input_of(call: ast.Call, argument: str) -> ast.expr:
    """The expression of the input."""
    if argument == "receiver":
        assert isinstance(call.func, ast.Attribute)
        return call.func.value
    return call.args[0] if argument == "first" else next(k.value for k in call.keywords if k.arg == argument)


def form_of(call: ast.AST, function: Function, scope: Scope, code: CodeType) -> Form:
    """The form of the call that ``code`` makes; :class:`Unroutable` if it cannot be replaced by ``self.name(input)``."""
    if not isinstance(call, ast.Call):
        raise Unroutable(f"it is an operator, not a call: {ast.unparse(call)}")
    _is_the_call(call, scope)
    argument = _argument(call, scope)
    _only_the_input(call, argument)
    parents = parents_of(function)
    _self_is_visible(call, function, scope.self_name, parents)
    inplace = _inplace(call, scope, isinstance(parents[call], ast.Expr))
    taken = input_of(call, argument)
    if isinstance(parents[call], ast.Expr) and inplace:
        if not isinstance(taken, ast.Name):
            raise Unroutable(f"it changes {ast.unparse(taken)} in place, and that is not a plain name that can be assigned")
        if taken.id not in code.co_varnames + code.co_cellvars:
            raise Unroutable(f"it changes {taken.id} in place, which is not a local variable where it is called")
    return Form(argument, inplace and isinstance(taken, ast.Name) and _can_assign(call, taken.id, code, parents))


def _is_the_call(call: ast.Call, scope: Scope) -> None:
    """Not one that is given the function and calls it: ``map(F.relu, rows)``, ``checkpoint(F.relu, x)``."""
    name = ast.unparse(call.func)
    if isinstance(call.func, ast.Name) and _value(call.func, scope) is getattr(builtins, name, scope):
        raise Unroutable(f"it is called by {name}(...), not where it is written")
    for part in (*call.args, *(k.value for k in call.keywords)):
        value = _value(part, scope)
        if callable(value) and not isinstance(value, type):
            raise Unroutable(f"it is called by {name}(...), which {ast.unparse(part)} is passed to")


def _value(part: ast.expr, scope: Scope) -> Any:
    try:
        return scope.value(part)
    except Unroutable:
        return None


def _argument(call: ast.Call, scope: Scope) -> str:
    if isinstance(call.func, ast.Attribute) and _is_method(call, scope):
        return "receiver"
    if call.args:
        if isinstance(call.args[0], ast.Starred):
            raise Unroutable("its first argument is starred")
        return "first"
    names = [k.arg for k in call.keywords if k.arg]
    for name in _INPUTS:
        if name in names:
            return name
    raise Unroutable("its first argument is not passed positionally or as input=")


def _is_method(call: ast.Call, scope: Scope) -> bool:
    """Whether a tensor is what the dot stands after."""
    assert isinstance(call.func, ast.Attribute)
    base: ast.expr = call.func.value
    try:
        return isinstance(scope.value(base), torch.Tensor)
    except Unroutable:
        return not call.args or (hasattr(torch.Tensor, call.func.attr) and not isinstance(base, ast.Subscript))


def _only_the_input(call: ast.Call, argument: str) -> None:
    """The rest of the call is dropped: nothing may be lost with it."""
    kept = input_of(call, argument)
    dropped: list[ast.expr] = [part for part in (*call.args, *(k.value for k in call.keywords)) if part is not kept]
    for keyword in call.keywords:
        if keyword.arg == "out" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is None):
            raise Unroutable("it writes to out=")
    called = _without_construction(call.func)
    if argument != "receiver":
        dropped.append(called)
    for part in dropped:
        what = f"what is called, {ast.unparse(part)}," if part is called else f"its argument {ast.unparse(part)}"
        for node in ast.walk(part):
            if isinstance(node, (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)):
                raise Unroutable(f"{what} does more than give a value")
            if isinstance(node, ast.Call) and _name_of(node) not in _PURE_CALLS:
                raise Unroutable(f"{what} calls a function, which may have effects")


def _name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""


def _without_construction(function: ast.expr) -> ast.expr:
    """``nn.ReLU()(x)``: making a module has no effect."""
    if isinstance(function, ast.Call) and _name_of(function)[:1].isupper():
        return function.func
    return function


def _inplace(call: ast.Call, scope: Scope, statement: bool) -> bool:
    name = _name_of(call)
    if name.endswith("_") and not name.endswith("__"):
        return True
    for keyword in call.keywords:
        if keyword.arg == "inplace":
            return _flag(keyword.value, scope, statement)
    try:
        called = scope.value(call.func)
    except Unroutable:
        return statement
    if isinstance(called, nn.Module):
        return bool(getattr(called, "inplace", False))
    flag = _positional_flag(call, called)
    return flag is not None and _flag(flag, scope, statement)


def _flag(value: ast.expr, scope: Scope, statement: bool) -> bool:
    if isinstance(value, ast.Constant):
        return bool(value.value)
    if not statement:  # the result is used: the flag only saves memory, as a rule
        return False
    try:
        return bool(replace(scope, values=None).value(value))
    except Unroutable:
        raise Unroutable("whether it works in place is known only when it runs") from None


def _positional_flag(call: ast.Call, called: Any) -> ast.expr | None:
    """The ``True`` of ``F.relu(x, True)``."""
    try:
        names = list(inspect.signature(called).parameters)
    except (TypeError, ValueError):
        return None
    if "inplace" not in names:
        return None
    index = names.index("inplace")
    return call.args[index] if index < len(call.args) else None


def _can_assign(call: ast.AST, name: str, code: CodeType, parents: dict[ast.AST, ast.AST]) -> bool:
    node = call
    while node in parents and not isinstance(node, _SCOPES):
        node = parents[node]
        if isinstance(node, _COMPREHENSIONS):
            return False
    return name in code.co_varnames + code.co_cellvars


def _self_is_visible(call: ast.AST, function: Function, self_name: str, parents: dict[ast.AST, ast.AST]) -> None:
    self_name = self_name.partition("[")[0]
    if not self_name:
        return
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id == self_name and not isinstance(node.ctx, ast.Load):
            raise Unroutable(f"{self_name} is assigned to in the function")
    node = call
    while node in parents:
        node = parents[node]
        if (
            node is not function
            and isinstance(node, _SCOPES)
            and self_name in {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)}
        ):
            raise Unroutable(f"{self_name} is another variable in the nested function")


def parents_of(tree: ast.AST) -> dict[ast.AST, ast.AST]:
    """The parent of every node below ``tree``."""
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
