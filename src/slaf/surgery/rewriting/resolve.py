"""What an expression of a method's source stands for, found without running it, and how one function leads to another."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from .sources import Function, Unroutable, codes_within

__all__ = ["Entrance", "Scope", "chain", "entrance", "original_class"]

_CONTAINERS = (dict, list, tuple, nn.ModuleList, nn.ModuleDict, nn.Sequential)


def original_class(owner: nn.Module) -> type[nn.Module]:
    """The owner's class, without the subclass that ``reroute`` gave it."""
    return type(owner).__dict__.get("_slaf_original", type(owner))


@dataclass(frozen=True)
class Scope:
    """The names that an expression of ``function`` sees; ``values`` are those of a running frame, if there is one."""

    function: FunctionType
    node: Function
    self_name: str
    owner: nn.Module
    values: dict[str, Any] | None = None

    def look_up(self, name: str) -> Any:
        if self.values is not None and name in self.values:
            return self.values[name]
        if name and name == self.self_name:
            return self.owner
        if name in _bound_names(self.node):
            raise Unroutable(f"{name} is a local variable")
        cells = dict(zip(self.function.__code__.co_freevars, self.function.__closure__ or (), strict=True))
        try:
            if name in cells:
                return cells[name].cell_contents
        except ValueError:
            raise Unroutable(f"{name} has no value") from None
        if name in self.function.__globals__:
            return self.function.__globals__[name]
        if hasattr(builtins, name):
            return getattr(builtins, name)
        raise Unroutable(f"{name} is not defined")

    def attribute(self, name: str) -> str:
        """The name as the compiler mangled it (``self.__private``)."""
        if not name.startswith("__") or name.endswith("__"):
            return name
        names = (other for code in codes_within(self.function.__code__) for other in code.co_names)
        return next((other for other in names if other.startswith("_") and other.endswith(name)), name)

    def value(self, expression: ast.AST) -> Any:
        """The value of a name, an attribute, an item or ``super()``; :class:`Unroutable` for anything that would have to be run."""
        if isinstance(expression, ast.Name):
            return self.look_up(expression.id)
        if isinstance(expression, ast.Constant):
            return expression.value
        if isinstance(expression, ast.Attribute):
            base, name = self.value(expression.value), self.attribute(expression.attr)
            if base is self.owner and original_class(self.owner) is not type(base) and name in vars(type(base)):
                base = super(type(base), base)  # its methods as they were written
            if not isinstance(base, torch.Tensor) and hasattr(base, name):
                return getattr(base, name)
        if isinstance(expression, ast.Subscript):
            base, key = self.value(expression.value), self.value(expression.slice)
            if isinstance(base, _CONTAINERS) and isinstance(key, (int, str)):
                try:
                    return base[key]  # type: ignore[index]
                except (KeyError, IndexError):
                    pass
        if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Name) and expression.func.id == "super":
            start = self.value(expression.args[0]) if expression.args else self.look_up("__class__")
            return super(start, self.owner)
        raise Unroutable(f"{ast.unparse(expression)} is known only when it runs")


def _bound_names(node: Function) -> set[str]:
    names: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load):
            names.add(part.id)
        elif isinstance(part, ast.arg):
            names.add(part.arg)
        elif isinstance(part, ast.alias):
            names.add((part.asname or part.name).split(".")[0])
        elif isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)) and part is not node:
            names.add(part.name or "")
    return names


def chain(value: Any, matches: Callable[[FunctionType], bool]) -> tuple[FunctionType, ...] | None:
    """From a callable through the decorators' wrappers around it to the function that matches, outermost first."""
    for path in _paths(value, ()):
        if matches(path[-1]):
            return path
    return None


def _paths(value: Any, path: tuple[FunctionType, ...]) -> Iterator[tuple[FunctionType, ...]]:
    if isinstance(value, (MethodType, staticmethod, classmethod)):
        value = value.__func__
    if not isinstance(value, FunctionType) or value in path or len(path) > 8:
        return
    path = (*path, value)
    yield path
    for cell in value.__closure__ or ():
        try:
            inner = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if isinstance(inner, FunctionType):
            yield from _paths(inner, path)


@dataclass(frozen=True)
class Entrance:
    """How a call enters the function that it reaches.

    ``how``: ``method`` (``self.m``, a method of the owner's class), ``cell`` (a decorator's wrapper calls what it wraps),
    ``bound`` (the copy is called as ``self.copy``), ``unbound`` (as ``self.__class__.copy``, the owner is passed),
    ``other`` (a method of another object, which is passed).
    """

    expression: ast.expr
    how: str
    name: str
    path: tuple[FunctionType, ...]


def entrance(call: ast.AST, scope: Scope, matches: Callable[[FunctionType], bool], takes_self: bool) -> Entrance:
    """Find the part of ``call`` (what is called, or an argument) that leads to the function that ``matches``."""
    if not isinstance(call, ast.Call):
        raise Unroutable(f"{scope.function.__qualname__} reaches it without a call that is written there")
    reason = ""
    parts = [call.func, *call.args, *(k.value for k in call.keywords)]
    parts += [part for part in ast.walk(call) if isinstance(part, (ast.Name, ast.Attribute, ast.Subscript)) and part not in parts]
    for expression in parts:
        try:
            value = scope.value(expression)
        except Unroutable as problem:
            reason = str(problem) if expression is call.func else reason
            continue
        path = chain(value, matches)
        if path is not None:
            return _entrance(call, expression, value, path, scope, takes_self)
    why = reason or "what it calls is decorated or wrapped in a way that cannot be rebuilt"
    raise Unroutable(f"the function that makes the call cannot be found from {ast.unparse(call.func)}(...): {why}")


def _entrance(call: ast.Call, part: ast.expr, value: Any, path: tuple[FunctionType, ...], scope: Scope, takes_self: bool) -> Entrance:
    bound = isinstance(value, MethodType)
    if bound and value.__self__ is scope.owner:
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == scope.self_name:
            name = scope.attribute(part.attr)
            if name not in vars(scope.owner):
                return Entrance(part, "method", name, path)
        return Entrance(part, "bound", path[-1].__name__, path)
    if bound:
        if part is not call.func or not isinstance(part, ast.Attribute) or isinstance(value.__self__, type):
            raise Unroutable(f"{path[-1].__qualname__} is a method of another object")
        return Entrance(part, "other", path[-1].__name__, path)
    if takes_self:
        cell = isinstance(part, ast.Name) and part.id in scope.function.__code__.co_freevars
        return Entrance(part, "cell" if cell else "unbound", part.id if cell else path[-1].__name__, path)  # type: ignore[attr-defined]
    return Entrance(part, "bound", path[-1].__name__, path)
