"""``fold``: every activation module of a model replaced by a cheap form on the interval that it is measured to see."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import nn

from slaf.core import Activation, NormActivation, SlafError, Spec, facts, make
from slaf.fit import fold as fold_one
from slaf.fit.folded import Folded
from slaf.learnable.extended import Extended

from .audit import audit
from .drift import drift_of, run
from .edits import Edits, paths
from .folded_per_channel import FoldedPerChannel, per_channel
from .freeze import frozen_polynomial
from .frozen import FrozenPolynomial
from .site import Site
from .watching.kinds import looks_like, module_rule
from .watching.observe import batches, untouched

__all__ = ["FoldedSite", "fold", "folded_sites"]

INTERVAL = (-4.0, 4.0)
"""Of a single activation, where none is given."""


@dataclass(frozen=True)
class FoldedSite:
    """One folded activation of a model.

    Attributes:
        name: its first path.
        form: ``"polynomial"``, ``"piecewise_linear"``, ``"piecewise_polynomial"``, ``"int8"``, or ``"exact"``: a polynomial kept as it is.
        size: degree, number of pieces, or entries of the table; of the largest where channels differ.
        interval: where the bound holds; None: everywhere.
        error_bound: |f(x) - module(x)| is nowhere larger, proven, for float32 input.
    """

    name: str
    form: str
    size: int
    interval: tuple[float, float] | None
    error_bound: float


def folded_sites(model: nn.Module) -> list[FoldedSite]:
    """The folded activations of a model, each with its proven bound; one for each module, at its first path."""
    out = []
    for name, module in model.named_modules():
        if isinstance(module, (Folded, FoldedPerChannel)):
            out.append(FoldedSite(name, module.form, module.size, module.interval, module.error_bound))
        elif isinstance(module, FrozenPolynomial):
            out.append(FoldedSite(name, "exact", module.degree, None, 0.0))
    return out


@overload
def fold(
    model: str | Spec | Activation,
    to: str = ...,
    interval: tuple[float, float] | None = ...,
    *,
    example: None = ...,
    margin: float = ...,
    inplace: bool = ...,
    **options: Any,
) -> Folded: ...
@overload
def fold(
    model: nn.Module,
    to: str = ...,
    interval: tuple[float, float] | None = ...,
    *,
    example: Any = ...,
    margin: float = ...,
    inplace: bool = ...,
    **options: Any,
) -> nn.Module: ...
def fold(
    model: Any,
    to: str = "piecewise_linear",
    interval: tuple[float, float] | None = None,
    *,
    example: Any = None,
    margin: float = 0.05,
    inplace: bool = False,
    **options: Any,
) -> nn.Module:
    """Replace an activation, or every activation module of a model, by a cheap form; how far each is off at most is proven.

    Args:
        model: an activation string or module, folded as :func:`slaf.fit.fold` does; or a model, left as it is.
        to: ``"polynomial"``, ``"piecewise_linear"``, ``"piecewise_polynomial"`` or ``"int8"``. With ``"polynomial"`` and no smaller
            degree asked for, a ``slaf`` that is a polynomial in evaluation stays exactly that.
        interval: (low, high), where the bounds hold; (-4, 4) for one activation. For a model, by default the smallest and the largest
            input that each activation is measured to get, over all its channels and calls.
        example: what the model is run on to measure: a tensor, a tuple of arguments, a dict of keyword arguments, or a list of those.
        margin: measured intervals are widened by it on both sides, as a share of their length. One of length 0 becomes ±1 around it,
            with a warning.
        inplace: change ``model`` itself. If the model as a whole is an activation, the new module is returned.
        options: ``degree``, ``pieces``, ``tolerance``, ``outside``, ``breakpoints`` and so on, see :func:`slaf.fit.fold`.

    An activation with a θ for every channel gets a form for every channel that has a function of its own
    (:class:`FoldedPerChannel`). A module used several times gets one form, for all its calls. :func:`folded_sites` lists what came of
    it, :func:`drift` measures the outputs. Functional calls are no modules: a warning names those that stay.

    Raises:
        SlafError: a tolerance that is not reached, an input that is not finite, an activation that cannot be folded, or none in the
            model, each with its name; the model stays as it was.

    Example:
        >>> cheap = slaf.fold(slaf.freeze(model, example=x), to="piecewise_linear", example=x, tolerance=1e-3)
        >>> print(slaf.surgery.drift(model, cheap, x))
    """
    if not isinstance(model, nn.Module) or (isinstance(model, Activation) and example is None):
        return fold_one(model, to, INTERVAL if interval is None else interval, **options)
    if "site" in options:
        raise SlafError("site is for one activation; every channel of a model's activations is folded")
    if example is None:
        raise SlafError("fold needs example= for a model: what it is run on to measure the inputs of its activations")
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0 <= margin < float("inf"):
        raise SlafError(f"margin must be a non-negative number; got {margin!r}")
    found = audit(model, example)
    sites, left = _modules(model, found.activations)
    left += [f"{site.name} ({site.kind})" for site in found.activations if site.how != "module"]
    if not sites:
        raise SlafError(f"{type(model).__name__} has no activation module to fold" + (f"; it calls {', '.join(left)}" if left else ""))
    _refuse_overwritten_inputs(model, example, sites)
    devices = _devices(model)
    new = {m: _folded(s, m, to, _interval(s, interval, margin), options, devices.get(m)) for m, s in sites.items()}
    folded = model if inplace else copy.deepcopy(model)
    known = paths(model)
    folded = Edits().replace(folded, {folded.get_submodule(known[module][0]): form for module, form in new.items()})
    if left:
        warnings.warn(f"not folded, because they are no modules that slaf knows (swap them first): {', '.join(left)}", stacklevel=2)
    return folded


def _modules(model: nn.Module, sites: list[Site]) -> tuple[dict[nn.Module, list[Site]], list[str]]:
    """The modules that can be folded, each with its calls, and the names of those that cannot."""
    calls: dict[nn.Module, list[Site]] = {}
    left = []
    for site in sites:
        if site.how != "module":
            continue
        module = model.get_submodule(site.path)
        if isinstance(module, NormActivation):
            raise SlafError(f"{site.name} ({module.name}) is no function of one number; freeze the model first, or swap it for one that is")
        if isinstance(module, (Folded, FoldedPerChannel, FrozenPolynomial)) or _activation(module, site) is not None:
            if not isinstance(module, (Folded, FoldedPerChannel)):
                calls.setdefault(module, []).append(site)
        else:
            left.append(f"{site.name} ({site.kind})")
    return calls, left


def _activation(module: nn.Module, site: Site) -> Activation | None:
    """A module of somebody else as the activation that it is; None if that is not known."""
    if isinstance(module, Activation):
        return module
    rule = module_rule(module)
    if isinstance(module, nn.PReLU):
        act = make("prelu", **({"num_channels": module.num_parameters} if module.num_parameters > 1 else {}))
        with torch.no_grad():
            act.weight.copy_(module.weight)  # type: ignore[operator]
    elif rule is not None:
        known = facts(rule[0].kind).params
        act = make(Spec(rule[0].kind, (), {name: value for name, value in rule[1].items() if name in known}))
    else:
        name = looks_like(site.target)
        if name is None:
            return None
        act = make(name)
    return act if isinstance(act, Activation) else None


def _interval(calls: list[Site], given: tuple[float, float] | None, margin: float) -> tuple[float, float]:
    """What the calls were given, widened."""
    name, low, high = calls[0].name, min(s.inputs.min for s in calls), max(s.inputs.max for s in calls)
    bad = sum(s.inputs.nonfinite for s in calls)
    if bad:
        raise SlafError(f"{name} gets {bad} inputs that are not finite, so there is no interval to fold it on")
    if given is not None:
        return given
    if low == high:
        warnings.warn(f"{name} gets the input {low:g} alone; it is folded on [{low - 1:g}, {high + 1:g}]", stacklevel=3)
        return low - 1, high + 1
    room = margin * (high - low)
    return low - room, high + room


def _folded(
    calls: list[Site], module: nn.Module, to: str, interval: tuple[float, float], options: Mapping[str, Any], device: torch.device | None
) -> nn.Module:
    """The form, or forms, of one module."""
    name = calls[0].name
    if module.training and getattr(module, "normalizes", False):
        raise SlafError(f"{name} ({module.name}) standardises by batch statistics in training mode; freeze the model first")
    act = _activation(module, calls[0])
    assert act is not None
    try:
        act = copy.deepcopy(act).cpu().eval()
        kept = _kept(act, to, options)
        form = _each(act, to, interval, options) if kept is None else kept
    except SlafError as reason:
        raise SlafError(f"{name} cannot be folded: {reason}") from None
    return form.to(device)


def _kept(act: Activation, to: str, options: Mapping[str, Any]) -> Activation | None:
    """A polynomial as it is, perhaps continued by straight lines, where one of its degree may be had."""
    if to != "polynomial" or options.get("outside") not in (None, "extrapolate"):
        return None
    act = frozen_polynomial(act) or act
    inner = act.inner if isinstance(act, Extended) and options.get("outside") is None else act
    if not isinstance(inner, FrozenPolynomial):
        return None
    degree = options.get("degree")
    return act if degree is None or degree >= inner.degree else None


def _each(act: Activation, to: str, interval: tuple[float, float], options: Mapping[str, Any]) -> nn.Module:
    """One form where all channels have the same function, else one for each function."""
    act = act.double()
    act = frozen_polynomial(act) or act
    values = act.curves(torch.linspace(*interval, 257, dtype=torch.float64))
    several, sharing = values.shape[1] > 1, getattr(act, "sharing", None)
    if several and sharing is None:
        raise SlafError(f"{act.name} has {values.shape[1]} different functions, and nothing says which channel has which")
    rows, index = values.T.unique(dim=0, return_inverse=True)
    first = [int((index == n).nonzero()[0]) for n in range(len(rows))]
    forms = [_form(act, site if several else None, to, interval, options) for site in first]
    if len(forms) == 1 or sharing is None:
        return forms[0]
    return per_channel(forms, index, sharing)


def _form(act: Activation, site: int | None, to: str, interval: tuple[float, float], options: Mapping[str, Any]) -> Folded:
    """The form of one channel."""
    if site is not None and isinstance(act, FrozenPolynomial):
        act, site = act.alone(site), None
    return fold_one(act, to, interval, site=site, **options)


def _refuse_overwritten_inputs(model: nn.Module, example: Any, sites: Mapping[nn.Module, list[Site]]) -> None:
    """Raise where something reads the tensor that an in-place activation has overwritten: no form is in place."""
    inplace = {module: calls[0].name for module, calls in sites.items() if getattr(module, "inplace", False)}
    if not inplace:
        return

    def outputs(out_of_place: Mapping[nn.Module, str]) -> Any:
        with untouched(model):
            for module in out_of_place:
                module.__dict__["inplace"] = False
            return [run(model, batch) for batch in batches(example)]

    before = outputs({})
    if drift_of(before, outputs(inplace)).max_abs > 0:
        names = [name for module, name in inplace.items() if drift_of(before, outputs({module: name})).max_abs > 0]
        raise SlafError(f"{', '.join(names) or 'an activation'} works in place and the model reads its input again; write it out of place")


def _devices(model: nn.Module) -> dict[nn.Module, torch.device]:
    """Where the tensors of each module are; of a module without any, those of what was registered before it."""
    out: dict[nn.Module, torch.device] = {}
    last = next((t.device for t in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    for module in model.modules():
        last = next((t.device for t in (*module.parameters(recurse=False), *module.buffers(recurse=False))), last)
        out[module] = last
    return out
