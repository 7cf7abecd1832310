"""A run of a model, watched: every nonlinear call, in order, with who makes it, where it is written and what it is given."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.weak import WeakIdKeyDictionary

from slaf.surgery.rewriting.places import Place, locate

from .dataflow import Dataflow, tensors_in
from .elementwise import CalledFunction, CalledModule, Held, held_callables, is_elementwise, is_wrapper, refuse, same_values, taken_out
from .kinds import RECURRENT, Rule, base_name, is_batch_norm, is_inplace, looks_like, module_rule, rule_of
from .measure import Measure, measured

__all__ = ["Event", "Visit", "Watch"]

_TORCH = os.path.dirname(torch.__file__) + os.sep
_HERE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_MODULE_FILE = sys.modules[nn.Module.__module__].__file__
_CALL = nn.Module._call_impl.__code__

Chain = tuple[tuple[CodeType, int], ...]


@dataclass(eq=False)
class Visit:
    """One forward of one module."""

    module: nn.Module
    parent: Visit | None
    x: Tensor | None
    """The tensor it was given, where it was one."""
    hidden: bool
    """Whether it is inside a module that is one site as a whole."""
    start: int
    """How many events there were before."""
    version: int = 0
    """Of that tensor, by which one sees whether it was overwritten."""
    norm: nn.Module | None = None
    measure: Measure | None = None
    slice: Tensor | None = None
    chain: Chain = ()
    place: Place | None = None
    held: dict[str, Held] | None = None
    covered: FrameType | None = None
    """The latest run of a Python function that an attribute holds and that is one site."""


@dataclass(eq=False)
class Event:
    """One nonlinear call."""

    how: str
    owner: nn.Module
    rule: Rule
    arguments: dict[str, Any]
    inplace: bool
    target: Callable[[Tensor], Tensor]
    measure: Measure | None
    chain: Chain = ()
    place: Place | None = None
    attribute: str | None = None
    value: Any = None
    """What is called, where it is one elementwise function of its own: a module or a callable that an attribute holds."""
    caller: nn.Module | None = None
    """The module whose code calls a module."""
    norm: nn.Module | None = None
    """The batch norm whose output it reads."""

    def key(self) -> tuple[Any, ...]:
        """The same for every call of the same module, attribute or place."""
        if self.how == "module":
            return (self.how, id(self.owner))
        return (self.how, id(self.owner), self.attribute, self.chain if self.how == "call" else (), self.rule.kind)


class Watch(TorchFunctionMode):
    """Watches the calls of ``model`` while it runs inside ``with``; ``events`` of the batch so far are taken by :meth:`take`."""

    def __init__(self, model: nn.Module, functions: bool) -> None:
        super().__init__()
        self.model, self.functions = model, functions
        self.flow = Dataflow(model)
        self.events: list[Event] = []
        self.notes: dict[str, None] = {}
        self.missed: dict[tuple[int, str], nn.Module] = {}
        self.depth = 0
        self._normed: Any = WeakIdKeyDictionary()
        self._stack: list[Visit] = []
        self._paused = False
        self._probed: dict[Any, bool] = {}
        self._places: dict[tuple[int, Chain], Place | None] = {}
        self._exits = ExitStack()

    def __enter__(self) -> Watch:
        for module in self.model.modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            before = module.register_forward_pre_hook(self._enter_module, with_kwargs=True)
            after = module.register_forward_hook(self._leave_module, with_kwargs=True, always_call=True)
            self._exits.callback(before.remove)
            self._exits.callback(after.remove)
        self._exits.enter_context(_Unseen(self))
        super().__enter__()
        return self

    def __exit__(self, *problem: Any) -> None:
        super().__exit__(*problem)
        self._exits.close()

    def take(self) -> list[Event]:
        """The events since the last time."""
        events, self.events = self.events, []
        self._stack.clear()
        return events

    def __torch_function__(self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        keywords = kwargs or {}
        if self._paused:
            return function(*args, **keywords)
        self.depth += 1
        try:
            self._before(function, args, keywords)
            # operators of functions (torch.cond) have rules for few modes
            with _disable_current_modes() if isinstance(function, HigherOrderOperator) else nullcontext():
                result = function(*args, **keywords)
            self.flow.passed(function, args, keywords, result)
        finally:
            self.depth -= 1
        return result

    def _before(self, function: Any, args: Sequence[Any], keywords: Mapping[str, Any]) -> None:
        if not self._stack or self._stack[-1].hidden:
            return
        found = rule_of(function, args, keywords)
        if found is None:
            if isinstance(function, HigherOrderOperator):
                self._note("calls functions whose nonlinear calls are not listed")
            return
        rule, arguments = found
        at, x = _input(args, keywords, self.flow if rule.group == "function" and rule.kind not in RECURRENT else None)
        if x is None or not x.is_floating_point() or not self.flow.depends(x):
            if x is not None and x.is_complex() and rule.group == "activation":
                self._note(f"is {rule.kind} of complex numbers, which is not listed")
            return
        visit = self._stack[-1]
        frames, outer = _frames(sys._getframe(2), visit.module)
        self._consider_whole(outer)
        if self._in_attribute(visit, frames):
            return
        listed = rule.group != "function" or rule.kind in RECURRENT or self.functions
        inplace = is_inplace(function, keywords)
        target = CalledFunction(function, args, keywords, at, inplace) if rule.group in ("activation", "softmax", "glu") else refuse
        measure = self._measure(x) if listed else None
        chain = tuple((f.f_code, f.f_lasti) for f in frames)
        place = self._place(frames, chain, visit.module) if listed else None
        event = Event("call", visit.module, rule, arguments, inplace, target, measure, chain, place, norm=self._norm_before(x))
        name = self._attribute_of(visit, function, place)
        if name is not None:
            event.how, event.attribute = "attribute", name
        self.events.append(event)

    def _note(self, what: str) -> None:
        """Say something of the call that is running."""
        owner = self._stack[-1].module
        frames, _ = _frames(sys._getframe(3), owner)
        text = locate(frames, owner).text if frames else type(owner).__name__
        self.notes[f"{text or type(owner).__name__} {what}"] = None

    def _place(self, frames: list[FrameType], chain: Chain, owner: nn.Module) -> Place | None:
        key = (id(owner), chain)
        if key not in self._places:
            self._places[key] = locate(frames, owner) if frames else None
        return self._places[key]

    def _measure(self, x: Tensor) -> Measure:
        return measured(x, self.flow.channel_dim(x))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let calls pass without a look."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def unseen(self, operator: Any) -> AbstractContextManager[None]:
        """An operator that no torch function called: note it if it is a nonlinearity, and let it pass."""
        if self.depth or self._paused:
            return nullcontext()
        found = None if self._stack and self._stack[-1].hidden else rule_of(operator)
        if found is not None and (found[0].group != "function" or found[0].kind in RECURRENT):
            module = self._stack[-1].module if self._stack else self.model
            self.missed[(id(module), found[0].kind)] = module
        return self.aside()

    # modules

    def _enter_module(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._paused:
            return
        frame = sys._getframe(1)
        with self.aside():
            parent = self._stack[-1] if self._stack else None
            given = list(tensors_in((*args, *kwargs.values())))
            visit = Visit(module, parent, given[0] if len(given) == 1 else None, parent is not None and parent.hidden, len(self.events))
            visit.version = 0 if visit.x is None else visit.x._version
            visit.norm = self._norm_before(given[0] if given else None)
            known = None if visit.hidden else module_rule(module)
            if known is not None:
                visit.hidden = True
                x = given[0] if given else None
                if x is not None and x.is_floating_point() and self.flow.depends(x):
                    self._find_call(visit, frame)
                    if known[0].group == "activation":
                        self._consider_whole(frame)
                    visit.measure = self._measure(x)
                    self.events.append(self._module_event(visit, *known))
            self._stack.append(visit)

    def _leave_module(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if self._paused:
            return
        while self._stack and self._stack[-1].module is not module:
            self._stack.pop()  # left by an error that the model handles itself
        if not self._stack:
            return
        visit = self._stack.pop()
        self.flow.module_gave((*args, *kwargs.values()), result)
        if is_batch_norm(module) and isinstance(result, Tensor):
            self._normed[result] = module, result._version
        if visit.slice is None or visit.hidden:
            return
        with self.aside():
            self._settle(visit, result)

    def _settle(self, visit: Visit, result: Any) -> None:
        """At the end of a module that may be one site as a whole: its calls become one if it gave what it computes elementwise."""
        if visit.slice is None or visit.measure is None or not isinstance(result, Tensor) or result.shape != visit.measure.shape:
            return
        target = CalledModule(visit.module)
        if not same_values(target(visit.slice), taken_out(result, len(visit.slice))):
            return
        if next(visit.module.children(), None) is not None and looks_like(target) is None:
            return  # its children are activations that can be told apart
        inside = self.events[visit.start :]
        inplace = any(e.inplace for e in inside) and visit.x is result
        event = self._module_event(visit, Rule("", "activation"), {})
        event.inplace, event.value = inplace, visit.module
        self.events[visit.start :] = [event]

    def _module_event(self, visit: Visit, rule: Rule, arguments: dict[str, Any]) -> Event:
        module = visit.module
        target = CalledModule(module) if rule.group == "activation" else refuse
        inplace = bool(getattr(module, "inplace", False))
        caller = None if visit.parent is None else visit.parent.module
        event = Event("module", module, rule, arguments, inplace, target, visit.measure, visit.chain, visit.place, caller=caller)
        event.norm = visit.norm
        return event

    def _norm_before(self, x: Tensor | None) -> nn.Module | None:
        """The batch norm that gave the tensor, if nothing was written into it since."""
        norm, version = (None, 0) if x is None else self._normed.get(x, (None, 0))
        return norm if norm is not None and x is not None and x._version == version else None

    def _consider_whole(self, outer: FrameType | None) -> None:
        """At a first nonlinear call inside modules that may be one elementwise function as a whole: what they were given."""
        for visit in reversed(self._stack):
            module, x = visit.module, visit.x
            if visit.parent is None or visit.measure is not None or not is_wrapper(module):
                return
            if x is None or x._version != visit.version or not x.is_floating_point() or x.dim() == 0 or not self._elementwise(module):
                return
            with self.aside():
                visit.measure, visit.slice = self._measure(x), taken_out(x, 64)
                self._find_call(visit, outer)

    def _find_call(self, visit: Visit, frame: FrameType | None) -> None:
        """Where a module is called: in the code of the module around it."""
        if visit.parent is None or type(visit.parent.module).__module__.startswith("torch.nn."):
            return
        while frame is not None and not (frame.f_code is _CALL and frame.f_locals.get("self") is visit.module):
            frame = frame.f_back
        if frame is not None:
            frames, _ = _frames(frame.f_back, visit.parent.module)
            visit.chain = tuple((f.f_code, f.f_lasti) for f in frames)
            visit.place = self._place(frames, visit.chain, visit.parent.module)

    def _elementwise(self, value: Any) -> bool:
        key = id(value)
        if key not in self._probed:
            with self.aside():
                self._probed[key] = is_elementwise(CalledModule(value, alone=True) if isinstance(value, nn.Module) else value)
        return self._probed[key]

    # callables that attributes hold

    def _held(self, visit: Visit) -> dict[str, Held]:
        if visit.held is None:
            visit.held = held_callables(visit.module)
        return visit.held

    def _attribute_of(self, visit: Visit, function: Any, place: Place | None) -> str | None:
        """The attribute through which a torch function was called, if the code says so."""
        for name, held in self._held(visit).items():
            same = held.function is function or (bool(base_name(function)) and base_name(held.function) == base_name(function))
            if same and (place is None or f".{name}(" in place.text.replace(" ", "")):
                return name
        return None

    def _in_attribute(self, visit: Visit, frames: list[FrameType]) -> bool:
        """Whether a Python function that an attribute holds, and that is one site as a whole, makes the call; the first call lists it."""
        codes = {held.code: held for held in self._held(visit).values() if held.code is not None}
        for depth in reversed(range(len(frames))):
            frame = frames[depth]
            held = codes.get(frame.f_code)
            if held is None:
                continue
            if visit.covered is frame:
                return True
            x = _first_argument(frame)
            if x is None or not x.is_floating_point() or not self._elementwise(held.value):
                return False
            rest = frames[depth + 1 :]
            chain = tuple((f.f_code, f.f_lasti) for f in rest)
            place = self._place(rest, chain, visit.module)
            visit.covered = frame
            measure = self._measure(x)
            rule = Rule("", "activation")
            event = Event("attribute", visit.module, rule, {}, False, held.value, measure, chain, place, held.name, held.value)
            event.norm = self._norm_before(x)
            self.events.append(event)
            return True
        return False


class _Unseen(TorchDispatchMode):
    """Below torch's functions: nonlinear operators that none of them called, from scripted code or an extension."""

    supports_higher_order_operators = True

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self.watch.unseen(func):
            return func(*args, **(kwargs or {}))


def _input(args: Sequence[Any], keywords: Mapping[str, Any], flow: Dataflow | None) -> tuple[int | str, Tensor | None]:
    """The argument that is the input, and its place; with ``flow``, the first that depends on data, for functions of two tensors."""
    for at, value in (*enumerate(args), *((k, keywords[k]) for k in ("input", "self", "x", "query") if k in keywords)):
        if isinstance(value, Tensor) and (flow is None or flow.depends(value)):
            return at, value
    return 0, None


def _frames(frame: FrameType | None, owner: nn.Module) -> tuple[list[FrameType], FrameType | None]:
    """From ``frame`` out to the method by which ``owner`` was entered, torch's own left out unless the owner's; and the next."""
    found = []
    while frame is not None:
        code = frame.f_code
        if code is _CALL and frame.f_locals.get("self") is owner:
            break
        file = code.co_filename
        own = file.startswith(_TORCH) and file != _MODULE_FILE and any(frame.f_locals.get(n) is owner for n in code.co_varnames[:1])
        if own or not file.startswith((_TORCH, _HERE)):
            found.append(frame)
        frame = frame.f_back
    return found, frame


def _first_argument(frame: FrameType) -> Tensor | None:
    code = frame.f_code
    values = [frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount]]
    tensors = [v for v in values if isinstance(v, Tensor)]
    return tensors[0] if len(tensors) == 1 else None
