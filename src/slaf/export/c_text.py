"""Pieces of C: numbers that read back as the same float, tables, names."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slaf.core import SlafError

__all__ = ["Code", "check_name", "comment", "number", "table", "unique_name"]


@dataclass(frozen=True)
class Code:
    """One function in C, without its name.

    Attributes:
        told: what its comment says, one line each.
        body: its statements, of ``x`` and, where ``sites`` > 1, of ``channel``.
        bound: of the error that the comment states.
        sites: how many channels or units it serves with numbers of their own.
        before: definitions that stand before it; ``{name}`` is the function's.
    """

    told: tuple[str, ...]
    body: tuple[str, ...]
    bound: float
    sites: int = 1
    before: tuple[str, ...] = ()

    def text(self, name: str) -> str:
        """The definition."""
        parameters = "float x" if self.sites == 1 else "float x, int channel"
        before, body = ([line.replace("{name}", name) for line in lines] for lines in (self.before, self.body))
        definition = [comment(self.told), f"static inline float {name}({parameters})", "{", *(f"    {line}" for line in body), "}"]
        return "\n".join([*before, *definition])


def number(value: float) -> str:
    """A float constant of 9 digits: it reads back as exactly the float32 that ``value`` rounds to.

    Raises:
        SlafError: it is not finite in float32.
    """
    rounded = float(torch.tensor(value, dtype=torch.float32))
    if not math.isfinite(rounded):
        raise SlafError(f"a coefficient of {value!r} cannot be written in C")
    text = f"{rounded:.9g}"
    return f"{text}f" if any(c in text for c in ".e") else f"{text}.0f"


def table(name: str, values: Tensor) -> list[str]:
    """A constant array of one or two dimensions and its numbers: floats, or int8."""
    whole = values.dtype == torch.int8
    kind, shape = "signed char" if whole else "float", "".join(f"[{n}]" for n in values.shape)
    rows: Any = values.tolist() if values.dim() == 2 else [values.tolist()]
    written = [", ".join(str(v) if whole else number(v) for v in row) for row in rows]
    if values.dim() == 1:
        inner = textwrap.wrap(written[0], 108)
    else:
        inner = [line for row in written for line in textwrap.wrap(f"{{{row}}},", 108, subsequent_indent=" ")]
    return [f"static const {kind} {name}{shape} = {{", *(f"    {line}" for line in inner), "};"]


def comment(lines: Iterable[str]) -> str:
    """A block comment, wrapped."""
    clean = [re.sub(r"\*/|/\*", "* /", line).replace("\\", "/").replace("\n", " ") for line in lines]
    ascii_only = [line.encode("ascii", "replace").decode().replace("??", "? ?") for line in clean]  # ??/ would be a trigraph
    wrapped = [part for line in ascii_only for part in textwrap.wrap(line, 108, subsequent_indent="  ") or [""]]
    return "\n".join(["/*", *(f" * {line}".rstrip() for line in wrapped), " */"])


_RESERVED = """
auto break case char const continue default do double else enum extern float for goto if inline int long register restrict return short
signed sizeof static struct switch typedef union unsigned void volatile while main bool true false
"""
_FUNCTIONS = """
abs acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs fdim floor fma fmax fmin fmod frexp
gamma hypot ilogb j0 j1 jn ldexp lgamma log log10 log1p log2 logb lrint lround llrint llround modf nan nearbyint nextafter pow remainder
remquo rint round scalbn scalbln sin sinh sqrt tan tanh tgamma trunc y0 y1 yn
"""
_KEYWORDS, _LIBRARY = frozenset(_RESERVED.split()), frozenset(_FUNCTIONS.split())


def _reserved(name: str) -> bool:
    return name in _KEYWORDS or name in _LIBRARY or (name[-1] in "fl" and name[:-1] in _LIBRARY)


def check_name(name: object) -> str:
    """Return ``name`` if a C function can have it; raise otherwise."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or _reserved(name):
        raise SlafError(f"name must be letters, digits and underscores, and no name of C's own; got {name!r}")
    return name


def unique_name(text: str, taken: Sequence[str]) -> str:
    """A C identifier as near to ``text`` as can be, and none of ``taken``."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "activation"
    name = f"f_{name}" if name[0].isdigit() else f"{name}_" if _reserved(name) else name
    out, count = name, 1
    while out in taken:
        count += 1
        out = f"{name}_{count}"
    return out
