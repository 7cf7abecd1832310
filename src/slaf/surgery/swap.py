"""``swap``: other activations in any model, fitted so that it goes on computing what it computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from .comparison import SwapReport
from .drift import drift_of
from .plan import as_it_is, copied, outputs, plan
from .recipe import record
from .rules import Rules, matches
from .site import Site

__all__ = ["swap", "unshare"]


def swap(
    model: nn.Module,
    rules: Rules,
    example: Any,
    held_out: Any = None,
    share: str | None = None,
    outside: str = "linear",
    norms: str = "keep",
    inplace: bool = False,
) -> nn.Module:
    """Other activations in ``model``, each fitted to the old one on the inputs that it is measured to get.

    Modules, functional calls (``F.relu``, ``x.sigmoid()``) and callables held as attributes are all found by running the model (see
    :func:`audit`); a functional call is rerouted to a new submodule by rewriting the method that makes it.

    A layer that normalises (``evonorm_s0``, ``batch_norm(relu)``) takes the place of an activation and of the batch norm whose output it
    reads, which becomes the identity. Nothing can be fitted there: it starts as its paper says, with the norm's running statistics
    where it keeps some, and is to be trained. Where no batch norm is directly before, the activation stays, and the report says so.

    Args:
        model: any ``nn.Module``; left as it is.
        rules: ``{"relu": "rational(5,4)"}``: by kind, by pattern over names and paths, or by a predicate over :class:`Site`; the first
            that fits decides, ``None`` keeps what fits. A string is for all activations.
        example: what the model is run on: a tensor, a tuple of arguments, a dict of keyword arguments, or a list of those.
        held_out: the same, for the drift; by default the last of several examples, which is then not fitted to, else the example.
        share: ``"call"``: every call of a shared module, or in a loop, gets an activation of its own; ``"module"``: one for all of them.
            By default a module without parameters is shared by chance and split, one with parameters stays shared.
        outside: of the interval that was measured: ``"linear"`` goes on straight, ``"clamp"`` stays at the end's value,
            ``"extrapolate"`` goes on as the family does.
        norms: what becomes of the batch norms that no activation follows, if a layer that normalises takes the place of others:
            ``"keep"``, or ``"affine"``: their scale and shift stay, their statistics go (as the EvoNorm paper has it).
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
    planned = plan(model, rules, example, held_out, share, outside, norms)
    changed = model if inplace else copied(model)
    before, sites = planned.side_by_side(changed)
    edits = planned.install(changed)
    try:
        output = drift_of(before, outputs(changed, planned.tested_on))
    except BaseException:
        edits.undo()
        raise
    record(changed, [change.replacement for change in planned.changes], edits)
    changed.slaf_report = SwapReport(tuple(sites), output, planned.held_out, planned.missed)  # type: ignore[assignment]
    return changed


def unshare(model: nn.Module, example: Any, where: str | Callable[[Site], bool] = "*", inplace: bool = False) -> nn.Module:
    """Give every call of an activation that is shared, by several calls of a module or in a loop, a module of its own.

    The same functions, bitwise: a swap without new ones. ``where`` is a kind, a pattern or a predicate, as a rule's key in :func:`swap`.

    Raises:
        SlafError: as :func:`swap`; a site whose function slaf has no name for.
    """

    def shared(site: Site) -> bool:
        return site.calls > 1 and matches(where, site)

    return swap(model, {shared: as_it_is}, example, share="call", inplace=inplace)
