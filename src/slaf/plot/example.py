"""``example``: a string that makes an activation, also of a family that has no defaults."""

from __future__ import annotations

import inspect
import re

from slaf.core import Facts, activations

__all__ = ["example"]


def example(name: str) -> str:
    """``name`` itself where that is enough, otherwise the first string of its docstring's examples that begins with it.

    Raises:
        SlafError: an unknown name.
    """
    factory = activations[name]
    if isinstance(getattr(factory, "claims", None), Facts):
        return name
    parameters = inspect.signature(factory).parameters.values()
    if not any(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in parameters):
        return name
    own = re.escape(activations.canonical(name))
    found = re.search(rf"""make\((["'])({own}\(.*?\))\1""", inspect.getdoc(factory) or "")
    return found[2] if found else name
