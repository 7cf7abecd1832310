"""``Site``, one nonlinear call of a model, and ``Audit``, all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, overload

import torch
from torch import Tensor

from .rewriting.places import Place
from .sketch import Sketch

__all__ = ["Audit", "Site", "aligned"]


@dataclass(frozen=True, eq=False)
class Site:
    """One nonlinear call of a model, as :func:`slaf.audit` saw it.

    Attributes:
        index: the order in which data meets it.
        name: unique: the module's path (``layer1.0.relu``), or the path of the module whose code makes the call and the call
            (``layer1.0:F.relu(out)``); ``#2`` is the second of the same.
        kind: the registered activation's name where there is one, else what it is: ``softmax``, ``glu``, ``attention``, ``exp`` …
        group: ``activation``, ``softmax``, ``glu``, ``attention`` or ``function``.
        how: ``module``; ``attribute``, a callable that an attribute holds; or ``call``, written in a module's code.
        path: of the activation module as this call found it, else of the module whose code makes the call.
        caller: path of the module whose code makes the call.
        attribute: the attribute's name, where ``how`` says so.
        place: where the call is written; for a module, where it is called, if that is in a model's own code.
        call, calls: this is the ``call``-th, from 0, of ``calls`` calls of the same module, attribute or place in one forward.
        paths: every path under which the module (the owner, unless ``how`` is ``module``) is registered.
        shape, dtype, channel_dim, num_channels: of the input; the channel dimension is the one that the layers before make.
        arguments: the call's other arguments.
        inplace: whether it overwrites its input.
        inputs: what it was given.
        dead: share of the channels whose slope was 0 for every input seen; NaN if it is no elementwise function.
        saturated: share of the inputs with |slope| < 1e-3; NaN likewise. Slopes are taken at 65,536 elements of a call or fewer.
        target: the elementwise function as it is called here, in evaluation mode, out of place (activations only).
        norm: path of the batch norm whose output is the input; empty if there is none.
    """

    index: int
    name: str
    kind: str
    group: str
    how: str
    path: str
    caller: str
    attribute: str | None
    place: Place | None
    call: int
    calls: int
    paths: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype
    channel_dim: int
    num_channels: int
    arguments: dict[str, Any]
    inplace: bool
    inputs: Sketch = field(repr=False)
    dead: float
    saturated: float
    target: Callable[[Tensor], Tensor] = field(repr=False)
    norm: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain data that JSON can hold; numbers that are not finite are None, ``target`` is left out."""
        plain = (
            "index",
            "name",
            "kind",
            "group",
            "how",
            "path",
            "caller",
            "attribute",
            "call",
            "calls",
            "channel_dim",
            "num_channels",
            "inplace",
            "norm",
        )
        return {
            **{name: getattr(self, name) for name in plain},
            "paths": list(self.paths),
            "shape": list(self.shape),
            "dtype": str(self.dtype).removeprefix("torch."),
            "arguments": dict(self.arguments),
            "place": None if self.place is None else self.place.to_dict(),
            "inputs": self.inputs.to_dict(),
            "dead": _finite(self.dead),
            "saturated": _finite(self.saturated),
        }


class Audit(Sequence[Site]):
    """The nonlinear calls of a model in the order data meets them. ``print`` it for a table.

    Attributes:
        model: the class of the model.
        notes: what is odd, or cannot be replaced from outside, a sentence each.
        missed: nonlinear operators that no torch function called (scripted code, extensions): seen, but not listed.
    """

    def __init__(self, sites: Sequence[Site], model: str = "", notes: Sequence[str] = (), missed: Sequence[str] = ()) -> None:
        self._sites = tuple(sites)
        self.model, self.notes, self.missed = model, tuple(notes), tuple(missed)

    @overload
    def __getitem__(self, index: int) -> Site: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Site, ...]: ...
    def __getitem__(self, index: int | slice) -> Site | tuple[Site, ...]:
        return self._sites[index]

    def __len__(self) -> int:
        return len(self._sites)

    def __iter__(self) -> Iterator[Site]:
        return iter(self._sites)

    @property
    def activations(self) -> list[Site]:
        """The elementwise ones, which another activation can take the place of."""
        return [site for site in self._sites if site.group == "activation"]

    def find(self, pattern: str) -> list[Site]:
        """The sites whose kind, name or path (any of a shared module's) is or matches ``pattern`` (``*`` any characters, ``?`` one)."""
        return [s for s in self._sites if any(n == pattern or fnmatchcase(n, pattern) for n in (s.kind, s.name, s.path, *s.paths))]

    def to_dict(self) -> dict[str, Any]:
        """As plain data that JSON can hold."""
        return {"model": self.model, "sites": [s.to_dict() for s in self._sites], "notes": list(self.notes), "missed": list(self.missed)}

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        """A table at most 120 columns wide, and the notes."""
        head = f"{self.model}: {_plural(len(self._sites), 'nonlinear call')}"
        said = [*(f"note: {note}" for note in self.notes), *(f"missed: {m}" for m in self.missed)]
        return "\n".join([head, *aligned(self.rows(), left=(1, 3, 2, 4)), *said])

    def _repr_html_(self) -> str:
        from html import escape

        rows = self.rows()
        tags = ["th", *["td"] * (len(rows) - 1)]
        cells = ["".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) for tag, row in zip(tags, rows, strict=True)]
        notes = "".join(f"<p>{escape(note)}</p>" for note in (*self.notes, *self.missed))
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>{notes}"

    def rows(self) -> list[tuple[str, ...]]:
        """The table's cells, the heads first; none but heads if there are no sites."""
        return [HEADS, *(_row(site) for site in self._sites)]


HEADS = ("#", "name", "kind", "norm", "shape", "channels", "shared", "mean", "std", "min … max", "dead", "saturated")
WIDTH = 120


def _row(site: Site) -> tuple[str, ...]:
    seen = site.inputs
    return (
        str(site.index),
        site.name,
        site.kind,
        site.norm,
        "×".join(map(str, site.shape)) or "scalar",
        str(site.num_channels),
        f"{site.call + 1}/{site.calls}" if site.calls > 1 else "",
        _number(seen.mean),
        _number(seen.std),
        f"{_number(seen.min)} … {_number(seen.max)}",
        _share(site.dead),
        _share(site.saturated),
    )


def aligned(rows: list[tuple[str, ...]], left: tuple[int, ...]) -> list[str]:
    """Columns under their heads, two spaces apart, empty ones left out; those to the left are cut, in this order, so that a row fits."""
    if len(rows) == 1:
        return []
    shown = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in shown}
    for i in (i for i in left if i in widths):
        over = sum(widths.values()) + 2 * (len(shown) - 1) - WIDTH
        widths[i] = max(min(widths[i], 16), widths[i] - max(0, over))
    cut = [{i: _shortened(row[i], widths[i]) for i in shown} for row in rows]
    return ["  ".join(row[i].ljust(widths[i]) if i in left else row[i].rjust(widths[i]) for i in shown).rstrip() for row in cut]


def _shortened(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    path, colon, _ = text.partition(":")
    if colon and len(path) < width - 8:
        return text[: width - 1] + "…"
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{100 * value:.0f}%" if value in (0, 1) else f"{100 * value:.1f}%"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
