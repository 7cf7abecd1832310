"""Which sites a swap means: rules by kind, name pattern or predicate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from slaf.core import SlafError, Spec, parse

from .site import Site

__all__ = ["Rules", "choose", "matches"]

Key = str | Callable[[Site], bool]
Rules = Mapping[Key, Any] | str
"""``{"relu": "rational(5,4)", "encoder.*": "gelu", lambda site: site.num_channels > 64: "silu"}``, or one string for all activations.

A value may also be a function of the site.
"""


def choose(rules: Rules, sites: Sequence[Site]) -> list[tuple[Site, str]]:
    """Every activation that a rule means, with its new activation string; the first rule that fits decides, ``None`` keeps the site.

    Raises:
        SlafError: a rule that fits nothing, fits only what is no elementwise function, or whose value is no activation string.
    """
    if isinstance(rules, (str, Spec)):
        rules = {"*": rules}
    if not isinstance(rules, Mapping) or not rules:
        raise SlafError(f"rules must be a mapping such as {{'relu': 'rational(5,4)'}} or an activation string; got {rules!r}")
    wanted = {key: _string(key, value) for key, value in rules.items()}
    usable = [site for site in sites if site.group == "activation"]
    for key in wanted:
        if not any(matches(key, site) for site in usable):
            raise SlafError(_nothing_matches(key, sites, usable))
    out = []
    for site in usable:
        key, new = next(((key, new) for key, new in wanted.items() if matches(key, site)), ("", None))
        if callable(new):
            new = _string(key, new(site))
        if new is not None:
            out.append((site, str(new)))
    return out


def _string(key: Key, value: Any) -> str | Callable[[Site], str] | None:
    if value is None or callable(value):
        return value
    if not isinstance(value, (str, Spec)):
        raise SlafError(f"the rule {_word(key)} must give an activation string, a function of the site or None; got {type(value).__name__}")
    return str(parse(value) if isinstance(value, str) else value)


def _word(key: Key) -> str:
    return repr(key) if isinstance(key, str) else getattr(key, "__name__", repr(key))


def matches(key: Key, site: Site) -> bool:
    """Whether a rule's key means a site: its kind, a pattern over its name and paths, or a predicate."""
    if callable(key):
        return bool(key(site))
    return key == site.kind or any(fnmatchcase(name, key) for name in (site.name, *site.paths, site.path))


def _nothing_matches(key: Key, sites: Sequence[Site], usable: Sequence[Site]) -> str:
    other = next((site for site in sites if matches(key, site)), None)
    if other is not None:
        return f"{_word(key)} means {other.name} ({other.kind}), which is no elementwise activation and cannot be swapped"
    if not usable:
        return f"{_word(key)} fits nothing: the model calls no activation"
    words = list(dict.fromkeys(word for site in usable for word in (site.kind, site.name)))
    near = get_close_matches(key, words, n=1, cutoff=0.6) if isinstance(key, str) else []
    return f"{_word(key)} fits no activation{f'; did you mean {near[0]!r}?' if near else ''}; there are {_listed(usable)}"


def _listed(sites: Iterable[Site]) -> str:
    named = [f"{site.name} ({site.kind})" for site in sites]
    return ", ".join(named[:8]) + (f" and {len(named) - 8} more" if len(named) > 8 else "")
