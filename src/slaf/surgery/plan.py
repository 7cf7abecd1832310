"""What a change of activations is going to be: which calls become what, each new activation fitted to the old one, and how far they differ.

``swap`` carries it out at once, ``anneal`` gradually.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import Activation, SlafError, Spec, make, one_of

from .audit import audit
from .comparison import Compared, SiteDrift
from .drift import drift_of, run
from .edits import Edits, hand_over_hooks, paths
from .fitting.fit_to import OUTSIDE, Fitted, fit_to
from .pairs import NORMS, Normed, affine_norms, joined, normalizes, with_norms
from .replacements import Replacement, install, number_format
from .rules import Rules, choose
from .site import Site
from .sketch import Sketch
from .targets import Slot, Target, targets
from .watching.observe import batches, untouched

__all__ = ["Change", "Plan", "as_it_is", "copied", "outputs", "plan", "refitted"]


@dataclass(frozen=True)
class Change:
    """A target with its new activations, one for each of its slots."""

    target: Target
    fits: tuple[Fitted, ...]
    norms: tuple[tuple[Slot, tuple[str, ...]], ...] = ()
    """The slots whose activation takes the place of a batch norm too, and all paths of that."""

    @property
    def replacement(self) -> Replacement:
        """The same as data."""
        norms = tuple(path for _, names in self.norms for path in names)
        return Replacement(self.target.paths, tuple(fitted.spec for fitted in self.fits), self.target.place, self.target.name, norms)

    @property
    def pairs(self) -> list[tuple[Slot, Fitted]]:
        """Every slot with what it gets."""
        return list(zip(self.target.slots, self.fits, strict=True))

    @property
    def modules(self) -> list[nn.Module]:
        """The new activations."""
        return [fitted.module for fitted in self.fits]


@dataclass(frozen=True)
class Plan:
    """Everything that a rule means, before anything is changed.

    Attributes:
        changes: what is replaced, in the order of the data.
        tested_on: the batches that drifts are measured on; ``held_out``: whether these are others than those fitted to.
        missed: what cannot be replaced, and why.
    """

    changes: tuple[Change, ...]
    tested_on: list[Any]
    held_out: bool
    missed: tuple[str, ...]
    affine: tuple[tuple[Replacement, nn.Module], ...] = ()
    """What takes the place of batch norms that no activation follows."""

    def install(self, model: nn.Module, hooks: bool = True) -> Edits:
        """The new activations in ``model``; with ``hooks`` who listened to an old module listens to the new one."""
        for change in self.changes if hooks else ():
            for slot, fitted in change.pairs:
                if slot.sites[0].how == "module":
                    hand_over_hooks(model.get_submodule(slot.sites[0].path), fitted.module)
        alone = [(replacement, [module]) for replacement, module in self.affine]
        return install(model, [(change.replacement, change.modules) for change in self.changes] + alone)

    def side_by_side(self, model: nn.Module) -> tuple[list[Any], list[SiteDrift]]:
        """The old model's outputs, and the drift of each site; both functions run in the new places, the old one's value is used.

        So it is also proven that the new places are where the old functions were: the outputs are the same as before.
        """
        before = outputs(model, self.tested_on)
        compared = _compared(model, self.changes)
        if not self._same(model, before, self.changes, compared):
            for change in self.changes:  # which one it is
                if change.norms and not self._same(model, before, [change], _compared(model, [change])):
                    slot, (path, *_) = change.norms[0]
                    raise SlafError(f"the output of batch norm {path} is read by more than {slot.sites[0].name}, so nothing is swapped")
            raise SlafError(
                "with the old functions at the new places the model computes something else, so nothing is swapped: an in-place "
                "activation's input seems to be used again after it; write it out of place"
            )
        return before, [
            SiteDrift.of(site, fitted, comparison)
            for change, c in zip(self.changes, compared, strict=True)
            for (slot, fitted), comparison in zip(change.pairs, c, strict=True)
            for site in slot.sites[:1]
        ]

    def _same(self, model: nn.Module, before: list[Any], changes: Sequence[Change], compared: Sequence[Sequence[Compared]]) -> bool:
        """Whether the model computes what it did with the old functions in the new places."""
        normed = {id(c.normed): c.normed for several in compared for c in several if c.normed is not None}
        with ExitStack() as stack:
            for norm in normed.values():
                stack.enter_context(norm.watched())
            places = [(dataclasses.replace(change.replacement, norms=()), c) for change, c in zip(changes, compared, strict=True)]
            stack.callback(install(model, places).undo)
            again = outputs(model, self.tested_on)
        for norm in normed.values():
            if norm.calls > len(self.tested_on):
                raise SlafError(f"batch norm {norm.path} runs several times in one forward, so it is no pair with one activation")
        moved = drift_of(before, again)
        return moved.max_abs <= 1e-5 * max(1.0, moved.size)


def _compared(model: nn.Module, changes: Sequence[Change]) -> list[list[Compared]]:
    """For every slot of each change, the module that runs the old function and the new one."""
    norms = {path: Normed(path, model.get_submodule(path)) for change in changes for _, (path, *_) in change.norms}
    out = []
    for change in changes:
        after = {id(slot): norms[path] for slot, (path, *_) in change.norms}
        out.append([Compared(s.sites[0].target, f.module, (f.low, f.high), after.get(id(s))) for s, f in change.pairs])
    return out


def plan(
    model: nn.Module,
    rules: Rules,
    example: Any,
    held_out: Any = None,
    share: str | None = None,
    outside: str = "linear",
    norms: str | None = None,
) -> Plan:
    """Audit ``model``, choose by ``rules`` and fit; the arguments and errors are :func:`slaf.swap`'s. The model stays as it is.

    Without ``norms``, a layer that normalises is refused.
    """
    one_of("outside", outside, OUTSIDE)
    if share is not None:
        one_of("share", share, ("call", "module"))
    if norms is not None:
        one_of("norms", norms, NORMS)
    fitted_on, tested_on, held = _examples(example, held_out)
    found = audit(model, fitted_on)
    chosen = choose(rules, found)
    if not chosen:
        raise SlafError("the rules keep every activation as it is, so there is nothing to swap")
    wanted, missed = targets(model, chosen, found, share)
    if norms is not None:
        wanted, unpaired = with_norms(wanted)
        missed += unpaired
    if not wanted:
        raise SlafError(f"none of the sites that the rules mean can be swapped: {missed[0]}")
    if any(target.paths == ("",) and target.place is None for target in wanted):
        name = type(model).__name__
        raise SlafError(f"model is itself the activation ({name}); put it into an nn.Sequential, in which it can be replaced")
    registered = paths(model)
    changes = []
    for target in wanted:
        pairs = [slot for slot in target.slots if norms is not None and normalizes(slot.spec)]
        fits = tuple(joined(s, model) if s in pairs else _fit(s, outside, model, target.paths[0]) for s in target.slots)
        changes.append(Change(target, fits, tuple((s, tuple(registered[model.get_submodule(s.sites[0].norm)])) for s in pairs)))
    alone = affine_norms(model, found) if norms == "affine" and any(change.norms for change in changes) else []
    return Plan(tuple(changes), tested_on, held, (*missed, *found.missed), tuple(alone))


def as_it_is(site: Site) -> str:
    """The string of the activation that a site has now; its kind alone where an argument is no part of a string."""
    try:
        make(site.kind, **site.arguments)
    except SlafError:  # a weight's value or shape, which the fit finds out
        return site.kind
    return str(Spec(site.kind, (), site.arguments))


def outputs(model: nn.Module, examples: list[Any]) -> list[Any]:
    """One output for each, in evaluation mode."""
    with untouched(model):
        return [run(model, batch) for batch in examples]


def _examples(example: Any, held_out: Any) -> tuple[list[Any], list[Any], bool]:
    """The batches to fit to, the batches to measure the drift on, and whether these are others."""
    given = batches(example)
    if held_out is not None:
        return given, batches(held_out), True
    if len(given) > 1:
        return given[:-1], given[-1:], True
    return given, given, False


def copied(model: nn.Module) -> nn.Module:
    """A deep copy."""
    try:
        return copy.deepcopy(model)
    except Exception as problem:
        hint = "inplace=True changes the model itself, and slaf.undo reverts it"
        raise SlafError(f"slaf cannot copy the model ({problem}); {hint}") from None


def refitted(slot: Slot, spec: str, inputs: Sketch) -> Activation:
    """A new activation for a slot's old function, fitted on other inputs; one θ for all channels."""
    site = slot.sites[0]
    return fit_to(spec, _of_one_number(site), inputs, kinks=_kinks(site), outside="extrapolate").module


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
        known: Any = module if isinstance(module, Activation) else make(as_it_is(site))
    except SlafError:
        return ()
    return tuple(float(k) for k in known.facts.kinks or ())
