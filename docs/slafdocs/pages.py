"""Every generated page by its path, and what hand-written pages ask for."""

from __future__ import annotations

import re
from collections.abc import Iterable

from slaf.core import SlafError, activations, names, nearest

from . import contract, entry, gallery, layers, speed

__all__ = ["fill", "generated"]

_LINK = re.compile(r"\[\[(\w+)\]\]")
_ASKED = re.compile(r"<!-- slaf: (\w+) -->")


def generated(only: Iterable[str] | None = None) -> dict[str, str]:
    """The gallery, a page for each activation and one of all layers, or the gallery of those in ``only``, as Markdown by path."""
    chosen = names() if only is None else list(only)
    results, costs = contract.load("contract.json"), contract.load("cost.json")
    pages = {f"gallery/{name}.md": entry.page(name, results, costs) for name in chosen}
    pages["gallery/index.md"] = gallery.page(chosen, results)
    return pages | ({"layers.md": layers.page()} if only is None else {})


def fill(markdown: str, path: str) -> str:
    """``[[gelu]]`` becomes a link to its page, ``<!-- slaf: checks -->`` the list of checks, and so on.

    Raises:
        SlafError: a name that is not registered, or something that cannot be filled in.
    """
    up = "../" * path.count("/")

    def link(match: re.Match[str]) -> str:
        name = activations.canonical(match[1])
        return f"[`{match[1]}`]({up}gallery/{name}.md)"

    def ask(match: re.Match[str]) -> str:
        makers = {"checks": contract.checks_table, "peers": contract.peers_table, "summary": lambda: contract.summary(names())}
        makers |= speed.makers()
        if match[1] not in makers:
            raise SlafError(f"nothing is called {match[1]!r} here{nearest(match[1], makers)}")
        return makers[match[1]]()

    return _ASKED.sub(ask, _LINK.sub(link, markdown))
