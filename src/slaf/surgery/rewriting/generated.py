"""The subclass whose methods make the rerouted calls: planned from places, compiled, cached, pickled as data."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from inspect import getattr_static
from types import FunctionType
from typing import Any
from weakref import WeakValueDictionary

from torch import nn

from slaf.core import SlafError

from .bodies import BEGIN, Body, Route
from .per_call import PerCall
from .places import Place, Step
from .resolve import Scope, chain, entrance, original_class
from .sources import Source, Span, Unroutable, source_of, span_of

__all__ = ["apply_routes", "routes_of", "set_class"]

Routes = dict[Place, str]
_classes: WeakValueDictionary[Any, type[nn.Module]] = WeakValueDictionary()


def routes_of(owner: nn.Module) -> Routes:
    """The routes that the owner's class was generated for."""
    return dict(type(owner).__dict__.get("_slaf_routes", {}))


def apply_routes(owner: nn.Module, routes: Mapping[Place, str]) -> None:
    """Give the owner the generated class of exactly these routes."""
    original = original_class(owner)
    plan = _Plan(owner, original, routes)
    key = (original, frozenset(routes.items()), plan.functions(), plan.counted)
    generated = _classes.get(key)
    if generated is None:
        generated = _classes[key] = plan.build()
    set_class(owner, generated)


def set_class(owner: nn.Module, new: type[nn.Module]) -> None:
    """Make the owner an instance of ``new``, past a ``__setattr__`` of its own."""
    try:
        object.__setattr__(owner, "__class__", new)
    except TypeError as problem:
        raise SlafError(f"the class of a {type(owner).__qualname__} cannot be exchanged: {problem}") from None


class _Plan:
    """What to change in which functions, for all routes of one owner."""

    def __init__(self, owner: nn.Module, original: type[nn.Module], routes: Mapping[Place, str]) -> None:
        self.owner, self.original, self.routes = owner, original, dict(routes)
        self.methods: dict[str, Body] = {}
        self.bodies: list[Body] = []
        for place, name in routes.items():
            try:
                self._add(place, name)
            except Unroutable as problem:
                raise SlafError(f"{place.text!r} ({place.file}, line {place.line}) cannot be rerouted: {problem}") from None
        self.counted = self._counted()

    def functions(self) -> tuple[FunctionType, ...]:
        return tuple(function for body in self.bodies for function in body.path)

    def _body(self, path: tuple[FunctionType, ...], step: Step | None, extra: bool = False) -> Body:
        source = source_of(path[-1].__code__, path[-1].__globals__)
        names = path[-1].__code__.co_varnames[:1] if path[-1].__code__.co_argcount else ("",)
        body = Body(path, source, step.self_name if step else names[0], extra)
        self.bodies.append(body)
        return body

    def _method(self, name: str, step: Step | None, matches: Callable[[FunctionType], bool]) -> Body:
        if name not in self.methods:
            path = chain(getattr_static(self.original, name, None), matches)
            if path is None:
                raise Unroutable(f"{self.original.__qualname__}.{name} does not lead to {step.function if step else name}")
            self.methods[name] = self._body(path, step)
        elif not matches(self.methods[name].path[-1]):
            raise Unroutable(f"{self.original.__qualname__}.{name} does not lead to {step.function if step else name}")
        return self.methods[name]

    def _add(self, place: Place, name: str) -> None:
        first, *others = place.steps
        body, step = self._method(first.method, first, _is(first)), first
        for following in others:
            body, step = self._into(body, step, following), following
        body.calls[_absolute(step, body.source)] = Route(name, step.argument, step.inplace)

    def _into(self, body: Body, step: Step, following: Step) -> Body:
        scope = Scope(body.path[-1], body.source.node, body.owner, self.owner)
        way = entrance(_call(body.source, step), scope, _is(following), bool(following.self_name))
        key = span_of(way.expression)
        if key in body.inner:
            if body.inner[key][0].path != way.path:
                raise Unroutable(f"{ast.unparse(way.expression)} leads to two functions")
            return body.inner[key][1]
        if way.how != "cell" and not body.owner:
            raise Unroutable(f"{step.function} does not have the module among its variables")
        inner = self._body(way.path, following, extra=not following.self_name)
        body.inner[key] = (way, inner)
        return inner

    def _counted(self) -> tuple[str, ...]:
        """The submodules that count the calls of a forward; one that is not there yet may become one."""
        modules = {name: self.owner._modules.get(name) for name in sorted(set(self.routes.values()))}
        counted = tuple(name for name, module in modules.items() if isinstance(module, PerCall | None))
        if counted:
            try:
                self._entered().begins = True
            except SlafError:
                if any(isinstance(modules[name], PerCall) for name in counted):
                    raise
                return ()
        return counted

    def _entered(self) -> Body:
        """The function that runs when the owner's forward begins."""
        if "forward" in self.methods:
            body = self.methods["forward"]
            while not body.self_name and body.inner:  # a decorator's wrapper
                body = next(iter(body.inner.values()))[1]
            return body
        try:
            return self._method("forward", None, lambda function: function.__code__.co_name == "forward")
        except Unroutable as problem:
            name = self.original.__qualname__
            raise SlafError(f"the calls of {name}.forward cannot be counted for PerCall: {problem}") from None

    def build(self) -> type[nn.Module]:
        original = self.original
        namespace: dict[str, Any] = {
            "__reduce_ex__": _reduce_ex,
            "_slaf_original": original,
            "_slaf_routes": self.routes,
            "_slaf_counted": self.counted,
            BEGIN: _begin,
        }

        def keep(name: str, function: FunctionType) -> str:
            base = "_slaf_" + "".join(c if c.isalnum() else "_" for c in name).strip("_")
            free = next(n for n in (f"{base}_{k}" for k in range(1, 10**6)) if n not in namespace)
            namespace[free] = function
            return free

        try:
            for name, body in self.methods.items():
                namespace[name] = body.build(keep)
        except (Unroutable, SyntaxError) as problem:
            raise SlafError(f"{original.__qualname__} cannot be rerouted: {problem}") from None
        return _subclass(original, namespace)


def _subclass(original: type[nn.Module], namespace: dict[str, Any]) -> type[nn.Module]:
    same = {"__module__": original.__module__, "__qualname__": original.__qualname__, "__doc__": original.__doc__}
    metaclass: Any = type(original)
    return metaclass(original.__name__, (original,), {**same, **namespace})


def _is(step: Step) -> Callable[[FunctionType], bool]:
    """Whether a function is the step's: of its name, and its source is as it was when the place was found."""

    def matches(function: FunctionType) -> bool:
        code = function.__code__
        if code.co_name != step.function.rpartition(".")[2]:
            return False
        source = source_of(code, function.__globals__)
        if source.qualname == step.function and source.digest != step.digest:
            raise Unroutable(f"{step.function} in {code.co_filename} has changed since the place was found; audit the model again")
        return source.qualname == step.function

    return matches


def _absolute(step: Step, source: Source) -> Span:
    return step.line + source.first, step.end_line + source.first, step.column, step.end_column


def _call(source: Source, step: Step) -> Any:
    span = _absolute(step, source)
    for node in ast.walk(source.node):
        if isinstance(node, ast.Call) and span_of(node) == span:
            return node
    raise Unroutable(f"{step.function} has no call at line {span[0]}")


def _begin(self: nn.Module) -> None:
    for name in type(self)._slaf_counted:  # type: ignore[attr-defined]
        module = self._modules.get(name)
        if isinstance(module, PerCall):
            module.reset()


def _reduce_ex(self: nn.Module, protocol: Any) -> Any:
    """Stored as the original class and the routes; the class is generated again when the state has been read."""
    generated: Any = next(c for c in type(self).__mro__ if "_slaf_original" in vars(c))
    original = generated._slaf_original
    reduced: Any = original.__reduce_ex__(self, protocol)
    if generated is not type(self):  # a subclass made by others, such as torch's parametrizations
        return reduced
    function, arguments, *rest = reduced
    arguments = tuple(original if argument is generated else argument for argument in arguments)
    routes = [(place.to_dict(), name) for place, name in routes_of(self).items()]
    waits = bool(rest) and rest[0] is not None
    return (_revive, (function, arguments, original, routes, waits), *rest)


def _revive(function: Callable[..., nn.Module], arguments: tuple[Any, ...], original: type[nn.Module], data: Any, waits: bool) -> nn.Module:
    owner = function(*arguments)
    routes = {Place.from_dict(place): name for place, name in data}

    def set_state(self: nn.Module, state: Any) -> None:
        set_class(self, original)
        self.__setstate__(state)
        apply_routes(self, routes)

    if waits:  # helpers are found through the owner's attributes, which come with the state
        set_class(owner, _subclass(original, {"__setstate__": set_state}))
    else:
        apply_routes(owner, routes)
    return owner
