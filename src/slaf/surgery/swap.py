"""``swap``: other activations in any model, fitted so that it goes on computing what it computed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import Activation, SlafError, Spec, make, one_of

from .audit import audit
from .comparison import Compared, SiteDrift, SwapReport
from .drift import drift_of, run
from .edits import hand_over_hooks
from .fitting.fit_to import Fitted, fit_to
from .recipe import record
from .replacements import Replacement, install, number_format
from .rules import Rules, choose, matches
from .site import Site
from .targets import Slot, Target, targets
from .watching.observe import batches, untouched

__all__ = ["swap", "unshare"]


def swap(
    model: nn.Module,
    rules: Rules,
    example: Any,
    held_out: Any = None,
    share: str | None = None,
    outside: str = "linear",
    inplace: bool = False,
) -> nn.Module:
    """Other activations in ``model``, each fitted to the old one on the inputs that it is measured to get.

    Modules, functional calls (``F.relu``, ``x.sigmoid()``) and callables held as attributes are all found by running the model (see
    :func:`audit`); a functional call is rerouted to a new submodule by rewriting the method that makes it.

    Args:
        model: any ``nn.Module``; left as it is.
        rules: ``{"relu": "rational(5,4)"}``: by kind, by pattern over names and paths, or by a predicate over :class:`Site`; the first
            that fits decides, ``None`` keeps what fits. A string is for all activations.
        example: what the model is run on: a tensor, a tuple of arguments, a dict of keyword arguments, or a list of those.
        held_out: the same, for the drift; by default the last of several examples, which is then not fitted to, else the example.
        share: ``"call"``: every call of a shared module, or in a loop, gets an activation of its own; ``"module"``: one for all of them.
            By default a module without parameters is shared by chance and split, one with parameters stays shared.
        outside: of the interval that was measured: ``"linear"`` goes on straight, ``"clamp"`` stays at the end's value.
        inplace: change ``model`` itself; :func:`undo` reverts it.

    Returns:
        A copy of the model (the model itself with ``inplace``) with ``slaf_recipe``, which :func:`rebuild` reads, and ``slaf_report``
        (:class:`SwapReport`): the drift per site and at the output, relative to the centred reference, in evaluation mode.

    Raises:
        SlafError: a rule fits nothing, the example does not fit the model, a fit is impossible; the model stays as it was.

    Example:
        >>> swapped = slaf.swap(model, {"relu": "rational(5,4)"}, example=x)
        >>> print(swapped.slaf_report)
    """
    one_of("outside", outside, ("linear", "clamp"))
    if share is not None:
        one_of("share", share, ("call", "module"))
    fitted_on, tested_on, held = _examples(example, held_out)
    found = audit(model, fitted_on)
    chosen = choose(rules, found)
    if not chosen:
        raise SlafError("the rules keep every activation as it is, so there is nothing to swap")
    wanted, missed = targets(model, chosen, found, share)
    if not wanted:
        raise SlafError(f"none of the sites that the rules mean can be swapped: {missed[0]}")
    if any(target.paths == ("",) and target.place is None for target in wanted):
        name = type(model).__name__
        raise SlafError(f"model is itself the activation ({name}); put it into an nn.Sequential, in which it can be replaced")
    fits = [[_fit(slot, outside, model, target.paths[0]) for slot in target.slots] for target in wanted]
    changed = model if inplace else _copied(model)
    before, sites = _side_by_side(changed, wanted, fits, tested_on)
    new = [(_replacement(t, f), [fitted.module for fitted in f]) for t, f in zip(wanted, fits, strict=True)]
    _hand_over_hooks(changed, wanted, fits)
    edits = install(changed, new)
    try:
        output = drift_of(before, _outputs(changed, tested_on))
    except BaseException:
        edits.undo()
        raise
    record(changed, [replacement for replacement, _ in new], edits)
    changed.slaf_report = SwapReport(tuple(sites), output, held, (*missed, *found.missed))  # type: ignore[assignment]
    return changed


def unshare(model: nn.Module, example: Any, where: str | Callable[[Site], bool] = "*", inplace: bool = False) -> nn.Module:
    """Give every call of an activation that is shared, by several calls of a module or in a loop, a module of its own.

    The same functions, bitwise: a swap without new ones. ``where`` is a kind, a pattern or a predicate, as a rule's key in :func:`swap`.

    Raises:
        SlafError: as :func:`swap`; a site whose function slaf has no name for.
    """

    def shared(site: Site) -> bool:
        return site.calls > 1 and matches(where, site)

    return swap(model, {shared: _as_it_is}, example, share="call", inplace=inplace)


def _as_it_is(site: Site) -> str:
    try:
        make(site.kind, **site.arguments)
    except SlafError:  # a weight's value or shape, which the fit finds out
        return site.kind
    return str(Spec(site.kind, (), site.arguments))


def _outputs(model: nn.Module, examples: list[Any]) -> list[Any]:
    """One output for each, in evaluation mode."""
    with untouched(model):
        return [run(model, batch) for batch in examples]


def _hand_over_hooks(model: nn.Module, wanted: Sequence[Target], fits: Sequence[Sequence[Fitted]]) -> None:
    for target, each in zip(wanted, fits, strict=True):
        for slot, fitted in zip(target.slots, each, strict=True):
            if slot.sites[0].how == "module":
                hand_over_hooks(model.get_submodule(slot.sites[0].path), fitted.module)


def _examples(example: Any, held_out: Any) -> tuple[list[Any], list[Any], bool]:
    """The batches to fit to, the batches to measure the drift on, and whether these are others."""
    given = batches(example)
    if held_out is not None:
        return given, batches(held_out), True
    if len(given) > 1:
        return given[:-1], given[-1:], True
    return given, given, False


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as problem:
        hint = "inplace=True changes the model itself, and slaf.undo reverts it"
        raise SlafError(f"swap cannot copy the model ({problem}); {hint}") from None


def _fit(slot: Slot, outside: str, model: nn.Module, path: str) -> Fitted:
    site = slot.sites[0]
    try:
        fitted = fit_to(slot.spec, _of_one_number(site), slot.inputs(), kinks=_kinks(site), outside=outside, **slot.channels())
    except SlafError as reason:
        raise SlafError(f"{site.name} ({site.kind}) cannot become {slot.spec}: {reason}") from None
    device, dtype = number_format(model, path) or (None, site.dtype)
    fitted.module.to(device=device, dtype=dtype)
    return fitted


def _of_one_number(site: Site) -> Callable[[Tensor], Tensor]:
    """The old function on a vector; where its channels have functions of their own, the mean of them."""

    def function(x: Tensor) -> Tensor:
        dims = len(site.shape)
        shape = [1] * dims
        shape[site.channel_dim] = site.num_channels
        across = 0 if site.channel_dim % dims else 1
        if dims < 2:
            return site.target(x)
        points = x.reshape([-1 if dim == across else 1 for dim in range(dims)]).expand(
            [len(x) if d == across else n for d, n in enumerate(shape)]
        )
        return site.target(points.contiguous()).mean(site.channel_dim).flatten()

    return function if _by_channel(site) else site.target


def _by_channel(site: Site) -> bool:
    """Whether the old activation takes nothing but inputs of its own number of channels."""
    try:
        with torch.no_grad():
            site.target(torch.zeros(site.num_channels + 1, dtype=site.dtype))
    except (RuntimeError, SlafError):
        return len(site.shape) > 1
    return False


def _kinks(site: Site) -> tuple[float, ...]:
    """Of the old function, where slaf knows it."""
    module: Any = getattr(site.target, "module", None)
    try:
        known: Any = module if isinstance(module, Activation) else make(_as_it_is(site))
    except SlafError:
        return ()
    return tuple(float(k) for k in known.facts.kinks or ())


def _replacement(target: Target, fits: Sequence[Fitted]) -> Replacement:
    return Replacement(target.paths, tuple(fitted.spec for fitted in fits), target.place, target.name)


def _side_by_side(
    changed: nn.Module, wanted: Sequence[Target], fits: Sequence[Sequence[Fitted]], tested_on: list[Any]
) -> tuple[Any, list[SiteDrift]]:
    """The old model's outputs, and the drift of each site; both functions run in the new places, the old one's value is used.

    So it is also proven that the new places are where the old functions were: the outputs are the same as before.
    """
    before = _outputs(changed, tested_on)
    compared = [
        [Compared(slot.sites[0].target, fitted.module, (fitted.low, fitted.high)) for slot, fitted in zip(target.slots, f, strict=True)]
        for target, f in zip(wanted, fits, strict=True)
    ]
    edits = install(changed, [(_replacement(t, f), c) for t, f, c in zip(wanted, fits, compared, strict=True)])
    try:
        again = _outputs(changed, tested_on)
    finally:
        edits.undo()
    if not drift_of(before, again).max_abs <= 1e-5 * max(1.0, drift_of(before, again).size):
        raise SlafError(
            "with the old functions at the new places the model computes something else, so nothing is swapped: an in-place activation's "
            "input seems to be used again after it; write it out of place"
        )
    return before, [
        SiteDrift.of(site, fitted, comparison)
        for target, f, c in zip(wanted, fits, compared, strict=True)
        for slot, fitted, comparison in zip(target.slots, f, c, strict=True)
        for site in slot.sites[:1]
    ]
