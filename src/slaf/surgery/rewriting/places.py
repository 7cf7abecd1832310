"""``Place``: one call in the source of a module's method, found from the frames that run it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from types import CodeType, FrameType, FunctionType
from typing import Any

from torch import fx, nn

from .forms import Form, form_of
from .resolve import Scope, chain, entrance, original_class
from .sources import Source, Unroutable, call_at, codes_within, source_of, span_of

__all__ = ["Place", "Step", "locate"]


@dataclass(frozen=True)
class Step:
    """One expression in one function on the way from the owner's method to the call; lines are relative to the function's first.

    ``digest`` is of the function's source; ``method`` (first step) is the name of the method on the class; ``self_name`` is the
    function's expression for the owner, if it has one; ``argument`` and ``inplace`` (last step) say how the call takes its input;
    ``node`` (a call in an ``fx.GraphModule``) is the name of the graph's node.
    """

    function: str
    digest: str
    line: int = 0
    end_line: int = 0
    column: int = 0
    end_column: int = 0
    method: str = ""
    self_name: str = ""
    argument: str = ""
    inplace: bool = False
    node: str = ""


@dataclass(frozen=True)
class Place:
    """One call in the source of a module's method.

    Attributes:
        function: qualified name of the innermost function that makes the call.
        file, line: where it is written, for people.
        text: the call's source on one line.
        steps: what ``reroute`` needs: from the owner's method inward.
        problem: why this call cannot be rerouted, in one clause; None if it can.
    """

    function: str
    file: str
    line: int
    text: str
    steps: tuple[Step, ...] = ()
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain data that JSON can hold."""
        return {**asdict(self), "steps": [asdict(step) for step in self.steps]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Place:
        """The inverse of :meth:`to_dict`."""
        return cls(**{**data, "steps": tuple(Step(**step) for step in data["steps"])})


def locate(frames: Sequence[FrameType], owner: nn.Module) -> Place:
    """The place of the call that is running now.

    Args:
        frames: innermost first, from the one that makes the call to the owner's method that ``nn.Module.__call__`` entered;
            torch's own frames left out. They must be alive.
        owner: the module whose method that is.
    """
    if not frames:
        return Place(type(owner).__qualname__, "", 0, "", (), "the call is made by torch's own code")
    code = frames[0].f_code
    function = getattr(code, "co_qualname", code.co_name)
    file, line, text = code.co_filename, frames[0].f_lineno, ""
    try:
        source, call = _written(frames)
        line, text = span_of(call)[0], " ".join((ast.get_source_segment(source.lines, call) or ast.unparse(call)).split())
        graph = isinstance(owner, fx.GraphModule)
        steps = _graph_step(owner, source, call) if graph else _Trail(frames, owner).steps()
    except Unroutable as problem:
        return Place(function, file, line, text, (), str(problem))
    return Place(function, file, line, text, steps, None)


def _written(frames: Sequence[FrameType]) -> tuple[Source, ast.AST]:
    """The innermost call, in the source of the outermost function that it is written in."""
    code = frames[0].f_code
    home = next((f.f_code for f in reversed(frames) if any(c is code for c in codes_within(f.f_code))), code)
    source = source_of(home, frames[0].f_globals, check=False)
    return source, call_at(source, code, frames[0].f_lasti)


def _key(code: CodeType) -> tuple[str, int, str]:
    # not identity: a rerouted owner runs rewritten code, at the lines of the original
    return code.co_filename, code.co_firstlineno, code.co_name


def _matches(code: CodeType) -> Callable[[FunctionType], bool]:
    key = _key(code)
    return lambda function: _key(function.__code__) == key


class _Trail:
    """The way from the owner's method inward, one step for each function that has to be rewritten."""

    def __init__(self, frames: Sequence[FrameType], owner: nn.Module) -> None:
        self.frames, self.owner = frames, owner

    def steps(self) -> tuple[Step, ...]:
        outer = len(self.frames) - 1
        return self._from(outer, *self._entered(self.frames[outer]))

    def _from(self, outer: int, method: str, function: FunctionType) -> tuple[Step, ...]:
        """The steps from frame ``outer`` inward, which runs ``function``."""
        inner = self._innermost_within(outer)
        frame = self.frames[inner]
        source = source_of(function.__code__, function.__globals__)
        call = call_at(source, frame.f_code, frame.f_lasti)
        scope = Scope(function, source.node, self._self_name(self.frames[outer]), self.owner)
        if inner == 0:
            form = form_of(call, source.node, replace(scope, values=frame.f_locals), frame.f_code)
            return (_step(source, call, method, scope.self_name, form),)
        problem = None
        for following in range(inner - 1, -1, -1):  # what is called may be passed to other functions, which call it
            target = self.frames[following]
            try:
                way = entrance(call, scope, _matches(target.f_code), bool(self._self_name(target)))
                own = way.name if way.how == "method" else ""
                rest = self._from(following, own, way.path[-1])
                # a method of the owner is overridden for every caller: the way to it does not matter
                return rest if rest[0].method else (_step(source, call, method, scope.self_name), *rest)
            except Unroutable as reason:
                problem = problem or reason
        raise problem or Unroutable("the way to it is not found")

    def _innermost_within(self, outer: int) -> int:
        """The innermost frame whose code is written inside that of frame ``outer``: a nested function, a comprehension, or itself."""
        root = self.frames[outer].f_code
        inside, found = list(codes_within(root))[1:], outer
        for i in range(outer - 1, -1, -1):
            code = self.frames[i].f_code
            if code is root:  # the function calls itself, or a decorator's wrapper calls another one
                break
            if any(code is other for other in inside):
                found = i
        return found

    def _self_name(self, frame: FrameType) -> str:
        """The expression that is the owner: ``self``, or ``args[0]`` in a decorator's wrapper."""
        code, values = frame.f_code, frame.f_locals
        if code.co_argcount:
            first = code.co_varnames[0]
            return first if values.get(first) is self.owner else ""
        if code.co_flags & inspect.CO_VARARGS:
            rest = code.co_varnames[code.co_kwonlyargcount]
            if values.get(rest) and values[rest][0] is self.owner:
                return f"{rest}[0]"
        return ""

    def _entered(self, frame: FrameType) -> tuple[str, FunctionType]:
        owner_class, matches = original_class(self.owner), _matches(frame.f_code)
        names = ["forward", frame.f_code.co_name, *(name for base in owner_class.__mro__ for name in vars(base))]
        for name in names:
            path = chain(inspect.getattr_static(owner_class, name, None), matches)
            if path is not None and name not in vars(self.owner):
                return name, path[-1]
        raise Unroutable(
            f"{frame.f_code.co_name} is not a method of {owner_class.__qualname__}: it was set on the instance or made by other code"
        )


def _step(source: Source, call: ast.AST, method: str, self_name: str, form: Form | None = None) -> Step:
    line, end_line, column, end_column = span_of(call)
    place = (line - source.first, end_line - source.first, column, end_column)
    taken = (form.argument, form.inplace) if form else ("", False)
    return Step(source.qualname, source.digest, *place, method, self_name, *taken)


def _graph_step(owner: nn.Module, source: Source, call: ast.AST) -> tuple[Step, ...]:
    """The node whose line of generated code makes the call."""
    assert isinstance(owner, fx.GraphModule)
    nodes = {node.name for node in owner.graph.nodes}
    for statement in ast.walk(source.node):
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and any(part is call for part in ast.walk(statement)):
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            if isinstance(target, ast.Name) and target.id in nodes:
                return (Step(source.qualname, "", node=target.id),)
    raise Unroutable("the graph has no node for it")
