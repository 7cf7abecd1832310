"""From the calls that a rule means to what is replaced: modules, attributes and rerouted calls; what is shared stays so or is split."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from .rewriting.places import Place
from .site import Site
from .sketch import Sketch

__all__ = ["Slot", "Target", "targets"]


@dataclass
class Slot:
    """The calls that one new activation serves, and its string."""

    sites: list[Site]
    spec: str

    def inputs(self) -> Sketch:
        """What all its calls were given."""
        merged = copy.deepcopy(self.sites[0].inputs)
        for site in self.sites[1:]:
            merged.merge(site.inputs)
        return merged

    def channels(self) -> dict[str, int]:
        """The sizes of the new activation; none where the calls differ in them."""
        sizes = {(s.num_channels, _from_the_end(s)) for s in self.sites}
        if len(sizes) > 1:
            return {}
        ((num_channels, channel_dim),) = sizes
        return {"num_channels": num_channels} if channel_dim == 1 else {"num_channels": num_channels, "channel_dim": channel_dim}


def _from_the_end(site: Site) -> int:
    """The channel dimension; the last one of a sequence is so however many come before it."""
    return -1 if site.channel_dim > 1 and site.channel_dim == len(site.shape) - 1 else site.channel_dim


@dataclass
class Target:
    """One replacement to make, with a slot for every call that gets an activation of its own."""

    slots: list[Slot]
    paths: tuple[str, ...]
    place: Place | None = None
    name: str = ""


def targets(
    model: nn.Module, chosen: Sequence[tuple[Site, str]], sites: Sequence[Site], share: str | None
) -> tuple[list[Target], list[str]]:
    """What to replace for the chosen sites, in the order of the data, and why some cannot be.

    Args:
        model: names of new submodules are free in it.
        chosen: sites and the strings of their new activations.
        sites: all sites, the others that share a module with a chosen one included.
        share: as in :func:`swap`.
    """
    names = _Names(model)
    out: list[Target] = []
    missed: list[str] = []
    for group in _together(chosen):
        first = group[0][0]
        calls = [s for s in sites if _holder(s) == _holder(first)]
        if first.how != "call" and (len(calls) == 1 or not _split(model, first, share)):
            if len(group) < len(calls):
                missed.append(f"{first.name} shares its parameters with {len(calls) - len(group)} calls that no rule means")
            elif reason := _differ(group):
                missed.append(f"{first.name}: {reason}")
            else:
                out.append(Target([_joined(group)], _all_paths(first)))
        elif first.how == "module" and len({s.path for s in calls}) == len(calls):
            out.extend(Target([Slot([site], spec)], (site.path,)) for site, spec in group)
        else:
            _by_place(group, calls, share, names, out, missed)
    return out, missed


def _holder(site: Site) -> tuple[object, ...]:
    """What calls have in common that go to the same module, attribute or place."""
    if site.how == "call":
        return ("call", site.path, site.place)
    return (site.how, site.paths if site.how == "module" else (site.path, site.attribute))


def _together(chosen: Iterable[tuple[Site, str]]) -> list[list[tuple[Site, str]]]:
    groups: dict[object, list[tuple[Site, str]]] = {}
    for site, spec in chosen:
        groups.setdefault(_holder(site), []).append((site, spec))
    return list(groups.values())


def _split(model: nn.Module, site: Site, share: str | None) -> bool:
    """Whether the calls of a shared module get activations of their own."""
    if share is not None:
        return share == "call"
    return site.how != "module" or next(model.get_submodule(site.path).parameters(), None) is None


def _all_paths(site: Site) -> tuple[str, ...]:
    if site.how == "module":
        return site.paths
    return (f"{site.path}.{site.attribute}".lstrip("."),)


def _joined(group: Sequence[tuple[Site, str]]) -> Slot:
    return Slot([site for site, _ in group], group[0][1])


def _by_place(
    group: Sequence[tuple[Site, str]], calls: Sequence[Site], share: str | None, names: _Names, out: list[Target], missed: list[str]
) -> None:
    """Reroute the calls where they are written; a place that runs several times gets one slot a run, or one for all."""
    at: dict[tuple[str, Place | None], list[tuple[Site, str]]] = {}
    for site, spec in group:
        at.setdefault((site.caller, site.place), []).append((site, spec))
    for (owner, place), here in at.items():
        site = here[0][0]
        runs = sum((s.caller, s.place) == (owner, place) for s in calls)
        problem = "its place in the source is not known" if place is None else place.problem
        if problem is None and len(here) < runs and share != "module":
            problem = f"its place runs {runs} times, of which the rules mean {len(here)}"
        if problem is None and share == "module":
            problem = _differ(here)
        if problem is not None or place is None:
            where = "" if place is None else f" ({place.file}:{place.line}: {place.text})"
            missed.append(f"{site.name}{where}: {problem}")
            continue
        slots = [_joined(here)] if share == "module" else [Slot([s], spec) for s, spec in here]
        out.append(Target(slots, (owner,), place, names.fresh(owner, site.kind)))


def _differ(group: Sequence[tuple[Site, str]]) -> str | None:
    """Why calls cannot have one activation: the rules want several."""
    wanted = list(dict.fromkeys(spec for _, spec in group))
    return f"its calls have one activation together, and the rules want {' and '.join(wanted)}" if len(wanted) > 1 else None


class _Names:
    """Names for new submodules that nothing has yet."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.taken = model, set[tuple[str, str]]()

    def fresh(self, owner: str, kind: str) -> str:
        module, stem = self.model.get_submodule(owner), kind if kind.isidentifier() else "activation"
        number = 1
        while hasattr(module, f"{stem}_{number}") or (owner, f"{stem}_{number}") in self.taken:
            number += 1
        self.taken.add((owner, f"{stem}_{number}"))
        return f"{stem}_{number}"
