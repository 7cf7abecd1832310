"""``reroute``: calls written in the source of a module's methods become calls of its submodules; ``restore`` undoes it."""

from __future__ import annotations

import keyword
from collections.abc import Mapping

from torch import fx, nn

from slaf.core import SlafError

from . import graphs
from .generated import apply_routes, routes_of, set_class
from .per_call import PerCall
from .places import Place
from .resolve import original_class

__all__ = ["PerCall", "reroute", "restore", "routes_of"]


def reroute(owner: nn.Module, routes: Mapping[Place, str]) -> None:
    """Make every call at a place a call of ``owner.<name>``, applied to the call's first argument; its other arguments are dropped.

    The methods are compiled again from their changed source into a subclass of the owner's class, and the owner becomes an instance
    of it: control flow, ``isinstance``, signatures, deep copies, pickles, ``torch.compile``, ``torch.export`` and ``torch.fx`` work
    as before. The class itself and its other instances are left alone. Of an ``fx.GraphModule``, the graph is changed instead.

    A call that works in place on a variable (``x.relu_()``, ``F.relu(x, inplace=True)``) assigns the result to the variable; other
    names of the same memory keep the old values.

    Adds to earlier routes (for a place that has one, the new one counts); all or nothing. A submodule of each name must exist before
    forward runs, and a :class:`PerCall` must be there now, or there must be nothing of its name.

    Raises:
        SlafError: a place cannot be rerouted (its ``problem`` says why), it is not in this module's code, the source has changed
            since the place was found, or a name cannot be an attribute.
    """
    for place, name in routes.items():
        if place.problem is not None or not place.steps:
            raise SlafError(f"{place.text!r} ({place.file}, line {place.line}) cannot be rerouted: {place.problem or 'it has no steps'}")
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name.startswith("__"):
            raise SlafError(f"the name of a route must be an attribute's, without leading double underscore; got {name!r}")
    if isinstance(owner, fx.GraphModule):
        graphs.reroute(owner, routes)
        return
    earlier = {place: name for place, name in routes_of(owner).items() if all(place.steps != new.steps for new in routes)}
    if merged := {**earlier, **routes}:
        apply_routes(owner, merged)


def restore(owner: nn.Module) -> None:
    """Give the owner its own class back (an ``fx.GraphModule``: its own graph); nothing happens if it was not rerouted."""
    if isinstance(owner, fx.GraphModule):
        graphs.restore(owner)
    else:
        set_class(owner, original_class(owner))
