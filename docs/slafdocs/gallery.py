"""The gallery's page: a thumbnail for every entry; tags filter without a script, words with one."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from slaf.core import facts
from slaf.plot import example
from slaf.plot.tags import tags, tags_of

from . import contract, figures
from .entry import build

__all__ = ["page"]

_HEAD = """---
title: Gallery
hide: [toc]
---

# Gallery

{count} activations, each with its facts, its numbers and what the [contract](../contract.md) found. Which one to take:
[how to choose](../choose.md). Dense layers, convolutions and blocks of learned functions have a [page of their own](../layers.md).
"""


def page(names: list[str], results: Mapping[str, Any]) -> str:
    """Markdown with HTML: the filters and the grid."""
    known = tags()
    radios = [_radio(0, "", "all", len(names)), *(_radio(n, tag, tag, count) for n, (tag, count) in enumerate(known.items(), 1))]
    rules = "".join(
        f'.slaf-gallery:has(#slaf-tag-{n}:checked) .slaf-card:not([data-tags~="{_word(tag)}"]){{display:none}}'
        for n, tag in enumerate(known, 1)
    )
    search = (
        '<label class="slaf-search" hidden>find <input type="search" id="slaf-find" autocomplete="off" '
        'placeholder="name, tag, words"></label> <output id="slaf-count" for="slaf-find"></output>'
    )
    filters = f'<fieldset class="slaf-tags"><legend>by tag</legend>{"".join(radios)}</fieldset>'
    cards = "\n".join(_card(name, results) for name in names)
    grid = f'<div class="slaf-gallery">\n<style>{rules}</style>\n{search}\n{filters}\n<div class="slaf-grid">\n{cards}\n</div>\n</div>\n'
    return _HEAD.format(count=len(names)) + "\n" + grid


def _radio(n: int, tag: str, label: str, count: int) -> str:
    checked = " checked" if not tag else ""
    return (
        f'<input type="radio" name="slaf-tag" id="slaf-tag-{n}"{checked}><label for="slaf-tag-{n}">'
        f"{html.escape(label)}&nbsp;<small>{count}</small></label>"
    )


def _word(tag: str) -> str:
    """The tag as one word of an attribute and of a selector."""
    return html.escape(tag.replace(" ", "-").replace("\\", "").replace('"', ""), quote=True)


def _card(name: str, results: Mapping[str, Any]) -> str:
    claims = facts(name)
    own = tags_of(claims)
    words = html.escape(" ".join((name, *claims.aliases, *own, claims.summary)).lower(), quote=True)
    tagged = " ".join(_word(t) for t in own)
    return (
        f'<a class="slaf-card" href="{name}.html" data-tags="{tagged}" data-words="{words}">{figures.thumbnail(build(name))}'
        f"<b>{name}</b><span>{html.escape(claims.summary)}</span>{contract.pill(example(name), results)}</a>"
    )
