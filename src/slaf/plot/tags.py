"""``tags`` and ``tagged``: activations by what they are."""

from __future__ import annotations

from collections.abc import Iterable

from slaf.core import Facts, SlafError, facts, names, nearest

__all__ = ["is_learned", "tagged", "tags", "tags_of"]


def is_learned(claims: Facts) -> bool:
    """Whether something is trained: the family says so, or one of its parameters is learnable."""
    return "learnable" in claims.tags or any(p.learnable for p in claims.params.values())


def tags_of(claims: Facts) -> tuple[str, ...]:
    """The declared tags, and ``"learnable"`` wherever something is trained."""
    return tuple(dict.fromkeys((*claims.tags, *(("learnable",) if is_learned(claims) else ()))))


def tags() -> dict[str, int]:
    """Every tag in use and how many activations have it, sorted."""
    counts: dict[str, int] = {}
    for name in names():
        for tag in tags_of(facts(name)):
            counts[tag] = counts.get(tag, 0) + 1
    return dict(sorted(counts.items()))


def tagged(wanted: Iterable[str]) -> list[str]:
    """The names of the activations that have all of the tags ``wanted``.

    Raises:
        SlafError: an unknown tag; the message gives the nearest and the list.
    """
    wanted, known = list(wanted), tags()
    for tag in wanted:
        if tag not in known:
            raise SlafError(f"unknown tag {tag!r}; there are {', '.join(known)}{nearest(tag, known)}")
    return [name for name in names() if set(wanted) <= set(tags_of(facts(name)))]
