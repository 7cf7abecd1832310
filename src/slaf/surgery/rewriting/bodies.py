"""``Body``: one function of a module that is compiled again with some of its calls changed."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CellType, CodeType, FunctionType
from typing import Any

from .forms import input_of
from .resolve import Entrance
from .sources import Source, Span, Unroutable, compile_code, span_of

__all__ = ["Body", "Route"]

SELF = "_slaf_self"  # of a helper function that does not have the owner among its variables
BEGIN = "_slaf_begin"


@dataclass(frozen=True)
class Route:
    """A call becomes ``self.<name>(input)``."""

    name: str
    argument: str
    inplace: bool


@dataclass
class Body:
    """A function, the wrappers of its decorators (``path``, outermost first) and what is to change in it."""

    path: tuple[FunctionType, ...]
    source: Source
    self_name: str
    extra: bool = False  # the owner is passed as one more argument, the first
    begins: bool = False  # tells the owner that a forward begins
    calls: dict[Span, Route] = field(default_factory=dict)
    inner: dict[Span, tuple[Entrance, Body]] = field(default_factory=dict)

    def build(self, keep: Callable[[str, FunctionType], str]) -> FunctionType:
        """The changed function, decorated as before; ``keep`` makes a function a method of the class and returns its name."""
        copies: dict[Span, str] = {}
        cells: dict[str, FunctionType] = {}
        for span, (way, body) in self.inner.items():
            function = body.build(keep)
            if way.how == "cell":
                cells[way.name] = function
            else:
                copies[span] = keep(way.name, function)
        context, node = self.source.copied()
        _Edit(self, copies).visit(node)
        self._extend(node)
        code = compile_code(context, self.source)
        return _rewrapped(self.path, _like(self.path[-1], code, cells), self.extra)

    def _extend(self, node: Any) -> None:
        if self.extra:
            (node.args.posonlyargs or node.args.args).insert(0, ast.copy_location(ast.arg(SELF), node))
        if self.begins:
            first = 1 if ast.get_docstring(node, clean=False) is not None else 0
            after = node.body[min(first, len(node.body) - 1)]
            call = ast.Expr(ast.Call(_attribute(self.owner, BEGIN), [], []))
            node.body.insert(first, _at(call, after))

    @property
    def owner(self) -> str:
        """The expression for the owner."""
        return SELF if self.extra else self.self_name


def _attribute(base: str, *names: str) -> ast.expr:
    expression = ast.parse(base, mode="eval").body
    for node in ast.walk(expression):
        for place in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            node.__dict__.pop(place, None)
    for name in names:
        expression = ast.Attribute(expression, name, ast.Load())
    return expression


def _at(new: Any, old: ast.AST) -> Any:
    """Place ``new`` and whatever in it has no place yet where ``old`` is."""
    for node in ast.walk(new):
        if "lineno" in node._attributes and not hasattr(node, "lineno"):
            ast.copy_location(node, old)
    return new


def _on_one_line(new: ast.expr, call: ast.Call) -> ast.expr:
    """The compiler places the call of an attribute written over several lines at its name; here it is placed as the original call."""
    start = (call.lineno, call.lineno, call.col_offset, call.col_offset + 1)
    for node in ast.walk(new):
        if isinstance(node, ast.expr):
            node.lineno, node.end_lineno, node.col_offset, node.end_col_offset = start
    return new


class _Edit(ast.NodeTransformer):
    """Inner calls first: a replaced call may be the input of another."""

    def __init__(self, body: Body, copies: dict[Span, str]) -> None:
        self.body, self.copies = body, copies

    def _owner(self, *names: str) -> ast.expr:
        return _attribute(self.body.owner, *names)

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        route = self.body.calls.get(span_of(node.value)) if isinstance(node.value, ast.Call) else None
        self.generic_visit(node)
        if route is not None and route.inplace:
            assert isinstance(node.value, ast.NamedExpr)
            return ast.copy_location(ast.Assign([node.value.target], node.value.value), node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        spans = {span_of(part): part for part in (node.func, *node.args, *(k.value for k in node.keywords))}
        route = self.body.calls.get(span_of(node))
        self.generic_visit(node)
        for span, part in spans.items():
            if span in self.copies:
                self._enter(node, part, *self.body.inner[span][:1], self.copies[span])
        if route is None:
            return node
        taken = input_of(node, route.argument)
        call = _at(ast.Call(_on_one_line(self._owner(route.name), node), [taken], []), node)
        if not route.inplace:
            return call
        assert isinstance(taken, ast.Name)
        return _at(ast.NamedExpr(ast.Name(taken.id, ast.Store()), call), node)

    def _enter(self, call: ast.Call, part: ast.expr, way: Entrance, copy: str) -> None:
        """Call the copy of a function in its place."""
        new = _at(self._owner("__class__", copy) if way.how == "unbound" else self._owner(copy), part)
        if way.how == "other":
            assert isinstance(call.func, ast.Attribute)
            call.args.insert(0, call.func.value)
        if call.func is part:
            call.func = new
            return
        call.args = [new if argument is part else argument for argument in call.args]
        for keyword in call.keywords:
            keyword.value = new if keyword.value is part else keyword.value


def _like(function: FunctionType, code: CodeType, cells: dict[str, FunctionType]) -> FunctionType:
    """``function`` with other code, and other contents of some cells."""
    old = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    known = old | {name: CellType(value) for name, value in cells.items()}
    missing = [name for name in code.co_freevars if name not in known]
    if missing:
        raise Unroutable(f"{function.__qualname__} would need the variable {missing[0]} of the function around it")
    closure = tuple(known[name] for name in code.co_freevars)
    new = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, closure)
    new.__kwdefaults__, new.__doc__ = function.__kwdefaults__, function.__doc__
    new.__qualname__, new.__module__ = function.__qualname__, function.__module__
    if hasattr(function, "__annotate__"):  # annotations are evaluated when asked for, since Python 3.14
        new.__annotate__ = function.__annotate__  # type: ignore[attr-defined]
    else:
        new.__annotations__ = dict(function.__annotations__)
    new.__dict__.update(function.__dict__)
    for name, inner in cells.items():
        if new.__dict__.get("__wrapped__") is _content(old[name]):
            new.__dict__["__wrapped__"] = inner
    return new


def _rewrapped(path: tuple[FunctionType, ...], new: FunctionType, extra: bool) -> FunctionType:
    """The wrappers of ``path`` around ``new`` instead of its last function."""
    for wrapper, old in zip(path[-2::-1], path[:0:-1], strict=True):
        code = wrapper.__code__
        if extra and (code.co_argcount or not code.co_flags & inspect.CO_VARARGS):
            raise Unroutable(f"the decorator of {old.__qualname__} does not pass one more argument on")
        assert wrapper.__closure__ is not None
        cells = {n: new for n, cell in zip(code.co_freevars, wrapper.__closure__, strict=True) if _content(cell) is old}
        new = _like(wrapper, code, cells)
    return new


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None
