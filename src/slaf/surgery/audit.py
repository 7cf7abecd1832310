"""``audit``: every nonlinear call of a model, in the order data meets them."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from slaf.core import SlafError
from slaf.core.errors import blame

from .site import Audit, Site
from .watching.dataflow import tensors_in
from .watching.kinds import RECURRENT, looks_like, snake_case
from .watching.measure import Measure, slopes_at
from .watching.observe import batches, call, untouched
from .watching.watch import Event, Watch

__all__ = ["audit"]


def audit(model: nn.Module, example: Any, *, functions: bool = False) -> Audit:
    """Every nonlinear call of ``model``, found by running it once on ``example``: modules, functional calls and callables in attributes.

    The model's own code runs in evaluation mode, so control flow that depends on the data is followed. The model is left as it was:
    training flags, hooks, buffers and the random state, also if it fails.

    Args:
        model: any module; of a compiled one, the module it was made of.
        example: a tensor, a tuple of positional arguments, a dict of keyword arguments, or a list of those: several batches, whose
            inputs are counted together.
        functions: list arithmetic too (``exp``, ``pow``, ``sqrt``, ``clamp`` …), as group ``function``.

    A call is listed if its input depends on the parameters or on the example's floating tensors: tables of positions are not.
    A module is one site as a whole if it is an activation of slaf or torch, or computes an elementwise function with no module in it
    but activations; its kind is the registered activation it equals to single precision, else the name of its class.

    Raises:
        SlafError: the model is compiled, scripted, not initialised or on the meta device; the example is empty; the model fails on it.

    Example:
        >>> print(slaf.audit(model, torch.randn(8, 3, 32, 32)))
    """
    _check(model, example)
    sites = _Sites(model)
    with untouched(model), ExitStack() as stack:
        stack.enter_context(_eager())
        watch = stack.enter_context(Watch(model, functions))
        for batch in batches(example):
            _run(model, batch, watch)
            with watch.aside():
                sites.add(watch.take(), functions)
    return sites.audit(watch)


def _check(model: nn.Module, example: Any) -> None:
    if not isinstance(model, nn.Module):
        raise SlafError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise SlafError("model is a ScriptModule, whose calls cannot be seen; give the module that it was scripted or traced from")
    for name, module in model.named_modules():
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            which = f"module {name!r} of the model" if name else "model"
            raise SlafError(f"{which} is compiled by torch.compile, which hides its calls; use the model before compile (its ._orig_mod)")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if torch.nn.parameter.is_lazy(tensor):
            raise SlafError(f"{name} of the model has no shape yet; call the model once before the audit")
        if tensor.is_meta:
            raise SlafError(f"{name} of the model is on the meta device, without values; load or initialise the model first")
    for tensor in (t for batch in batches(example) for t in tensors_in(batch)):
        if tensor.numel() == 0:
            raise SlafError(f"example holds a tensor of shape {tuple(tensor.shape)}, without elements; it takes one sample or more")


def _run(model: nn.Module, batch: Any, watch: Watch) -> None:
    """One forward, on copies of the example's tensors, which a model may overwrite."""
    own = tree_map(lambda v: v.detach().clone() if isinstance(v, Tensor) else v, dict(batch) if hasattr(batch, "keys") else batch)
    watch.flow.begin(own)
    try:
        call(model, own)
    except SlafError:
        raise
    except Exception as problem:
        raise SlafError(f"the model fails on the example: {blame(problem)}") from problem


@contextmanager
def _eager() -> Iterator[None]:
    """Functions under ``torch.compile`` run as they are written, so that their calls are seen."""
    compiler = sys.modules.get("torch._dynamo")
    with nullcontext() if compiler is None else torch.compiler.set_stance("force_eager"):
        yield


@dataclass(eq=False)
class _Entry:
    """A site while batches are added."""

    event: Event
    kind: str
    call: int
    measure: Measure
    alive: Tensor | None = None
    flat: int = 0
    slopes: int = 0


class _Sites:
    """Gathers events of all batches: the k-th call of one module, attribute or place is one site."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.entries: dict[tuple[Any, ...], _Entry] = {}
        self.order: list[tuple[Any, ...]] = []
        self.kinds: dict[int, tuple[Any, str]] = {}
        self.notes: dict[str, None] = {}

    def add(self, events: list[Event], functions: bool) -> None:
        """The events of one batch."""
        calls: Counter[tuple[Any, ...]] = Counter()
        after: dict[Any, list[tuple[Any, ...]]] = {}  # what only later batches meet: after the call that it comes after
        before = None
        for event in events:
            kind = event.rule.kind or self._kind(event)
            if event.measure is None or (event.rule.group == "function" and kind not in RECURRENT and not functions):
                continue
            key = (*event.key(), calls[event.key()])
            calls[event.key()] += 1
            if key in self.entries:
                self._merge(self.entries[key], event)
                before = key
            else:
                self.entries[key] = _Entry(event, kind, key[-1], event.measure)
                after.setdefault(before, []).append(key)
            _add_slopes(self.entries[key], event)
        self.order = [key for old in (None, *self.order) for key in (old, *after.get(old, ())) if key is not None]

    def _kind(self, event: Event) -> str:
        """What a whole module or callable computes, or else what it is called."""
        value = event.value
        if id(value) not in self.kinds:
            name = getattr(value, "__name__", None) or type(value).__name__
            fallback = event.attribute if name in ("<lambda>", "partial") and event.attribute else snake_case(name)
            self.kinds[id(value)] = value, looks_like(event.target) or fallback
        return self.kinds[id(value)][1]

    def _merge(self, entry: _Entry, event: Event) -> None:
        assert event.measure is not None
        try:
            entry.measure.sketch.merge(event.measure.sketch)
        except SlafError:
            self.notes[f"batches differ in the channels of {type(event.owner).__name__}; those of the first are kept"] = None

    def audit(self, watch: Watch) -> Audit:
        """All sites, named."""
        paths: dict[int, list[str]] = {}
        for name, module in self.model.named_modules(remove_duplicate=False):
            paths.setdefault(id(module), []).append(name)
        total = Counter(key[:-1] for key in self.order)
        names: Counter[str] = Counter()
        visits: Counter[tuple[int, int]] = Counter()
        sites = []
        for index, key in enumerate(self.order):
            entry = self.entries[key]
            path, caller = _found(entry.event, paths, visits)
            norm = paths.get(id(entry.event.norm), [""])[0]
            own = tuple(paths.get(id(entry.event.owner), ("",)))
            site = _site(entry, index, total[key[:-1]], path, caller, own, norm, self.model)
            names[site.name] += 1
            count = names[site.name]
            sites.append(replace(site, name=f"{site.name}#{count}") if count > 1 else site)
        where = {key: paths.get(key[0], [""])[0] or type(module).__name__ for key, module in watch.missed.items()}
        missed = [f"{kind} in {where[i, kind]}, called below torch's functions" for i, kind in where]
        notes = [*watch.notes, *self.notes, *_notes(sites, self.model)]
        return Audit(sites, type(self.model).__name__, notes, missed)


def _found(event: Event, paths: dict[int, list[str]], visits: Counter[tuple[int, int]]) -> tuple[str, str]:
    """Under which of its paths a module was called, and by whom: of several in one caller, in the order of registration."""
    own = paths.get(id(event.owner), [""])
    if event.how != "module" or event.caller is None:
        return own[0], own[0]
    callers = paths.get(id(event.caller), [""])
    inside = [path for path in own if path.rpartition(".")[0] in callers]
    if not inside:
        return own[0], callers[0]
    here = (id(event.owner), id(event.caller))
    path = inside[visits[here] % len(inside)]
    visits[here] += 1
    return path, path.rpartition(".")[0]


def _site(entry: _Entry, index: int, calls: int, path: str, caller: str, paths: tuple[str, ...], norm: str, model: nn.Module) -> Site:
    event, measure = entry.event, entry.measure
    elementwise = event.rule.group == "activation" and entry.slopes > 0 and entry.alive is not None
    return Site(
        index=index,
        name=_name(entry, path, model),
        kind=entry.kind,
        group=event.rule.group,
        how=event.how,
        path=path,
        caller=caller,
        attribute=event.attribute,
        place=event.place,
        call=entry.call,
        calls=calls,
        paths=paths,
        shape=measure.shape,
        dtype=measure.dtype,
        channel_dim=measure.channel_dim,
        num_channels=measure.num_channels,
        arguments=event.arguments,
        inplace=event.inplace,
        inputs=measure.sketch,
        dead=float((~entry.alive).double().mean()) if elementwise and entry.alive is not None else math.nan,
        saturated=entry.flat / entry.slopes if elementwise else math.nan,
        target=event.target,
        norm=norm,
    )


def _name(entry: _Entry, path: str, model: nn.Module) -> str:
    event = entry.event
    if event.how == "module":
        return path or type(model).__name__
    if event.how == "attribute":
        return f"{path}.{event.attribute}" if path else str(event.attribute)
    text = event.place.text if event.place is not None and event.place.text else entry.kind
    text = text.replace("torch.nn.functional.", "F.")
    if len(text) > 60:
        text = text.partition("(")[0] + "(…)"
    return f"{path}:{text}" if path else text


def _notes(sites: list[Site], model: nn.Module) -> Iterator[str]:
    shared = {s.path: s.calls for s in sites if s.how == "module" and s.calls > 1}
    for path, calls in shared.items():
        yield f"{path or type(model).__name__} is one module called {calls} times in a forward"
    for site in sites:
        if site.kind in RECURRENT:
            yield f"{site.name} has its nonlinearities inside torch's {site.kind} kernel, where they cannot be replaced"
        if site.how == "call" and site.group == "activation" and site.place is not None and site.place.problem is not None:
            yield f"{site.name} cannot be rerouted: {site.place.problem}"
    scripted = [name for name, module in model.named_modules() if isinstance(module, torch.jit.ScriptModule)]
    for name in scripted:
        if not any(name.startswith(f"{outer}.") for outer in scripted):
            yield f"{name} is a ScriptModule: what it computes is not listed"


def _add_slopes(entry: _Entry, event: Event) -> None:
    """Slopes of the target at the inputs seen: which channels are alive, how many are flat."""
    if event.rule.group != "activation" or event.measure is None:
        return
    slopes = slopes_at(event.target, event.measure.sample)
    if slopes is None:
        return
    alive = (slopes != 0).any(0)
    if entry.alive is None or entry.alive.shape == alive.shape:
        entry.alive = alive if entry.alive is None else entry.alive | alive
    entry.flat += int((slopes.abs() < 1e-3).sum())
    entry.slopes += slopes.numel()
