"""The mini-language of activations: ``name`` or ``name(arg, key=value, …)``, nested where a value is itself an activation.

Nothing is evaluated: a small tokenizer reads names, numbers, quoted strings, ``true/false/none`` and tuples.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from .errors import SpecError

__all__ = ["Spec", "format_value", "parse"]

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|inf\b))
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<string>'[^'\\]*'|"[^"\\]*")
  | (?P<punct>[(),=])
  )""",
    re.VERBOSE,
)
_WORDS = {"true": True, "True": True, "false": False, "False": False, "None": None}
_MAX_LENGTH, _MAX_DEPTH = 2000, 20


@dataclass(frozen=True)
class Spec:
    """A parsed activation string: its name, positional and keyword arguments. ``str(spec)`` is canonical and parses back."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [format_value(a) for a in self.args]
        parts += [f"{k}={format_value(v)}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(parts)})" if parts else self.name

    def __hash__(self) -> int:
        return hash(str(self))


def format_value(value: Any) -> str:
    """Write one value so that :func:`parse` reads it back."""
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value) and value not in _WORDS and value != "inf"
        if plain:
            return value
        return f'"{value}"' if "'" in value else f"'{value}'"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(format_value(v) for v in value) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return f"{value:.1f}"
    return str(value)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0
        self.tokens: list[tuple[str, str, int]] = []
        position = 0
        end = len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                while text[position].isspace():
                    position += 1
                raise self.error(f"unexpected character {text[position]!r}", position)
            kind = str(match.lastgroup)
            self.tokens.append((kind, match.group(kind), match.start(kind)))
            position = match.end()

    def error(self, reason: str, at: int | None = None) -> SpecError:
        if at is None:
            at = self.tokens[self.position][2] if self.position < len(self.tokens) else len(self.text)
        return SpecError(f"activation {self.text!r}: {reason} at position {at + 1}")

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.position][:2] if self.position < len(self.tokens) else ("end", "end of text")

    def take(self, punct: str) -> bool:
        if self.peek() == ("punct", punct):
            self.position += 1
            return True
        return False

    def spec(self, depth: int = 0) -> Spec:
        kind, name = self.peek()
        if kind != "name":
            raise self.error(f"expected an activation's name, found {name!r}")
        self.position += 1
        args, kwargs = self.arguments(depth) if self.take("(") else ((), {})
        return Spec(name, args, kwargs)

    def arguments(self, depth: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if depth > _MAX_DEPTH:
            raise self.error("brackets are nested too deeply")
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        while not self.take(")"):
            kind, key = self.peek()
            named = (
                kind == "name"
                and self.tokens[self.position + 1 : self.position + 2]
                and (self.tokens[self.position + 1][:2] == ("punct", "="))
            )
            if named:
                if key in kwargs:
                    raise self.error(f"argument {key!r} is given twice")
                self.position += 2
                kwargs[key] = self.value(depth + 1)
            elif kwargs:
                raise self.error("a positional argument follows a named one")
            else:
                args.append(self.value(depth + 1))
            if not self.take(",") and self.peek() != ("punct", ")"):
                found = self.peek()[1]
                raise self.error("the bracket is not closed" if self.peek()[0] == "end" else f"expected ',' or ')', found {found!r}")
        return tuple(args), kwargs

    def value(self, depth: int) -> Any:
        kind, text = self.peek()
        if kind == "number":
            self.position += 1
            if text.lstrip("+-") == "inf":
                return math.copysign(math.inf, -1 if text.startswith("-") else 1)
            return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)
        if kind == "string":
            self.position += 1
            return text[1:-1]
        if kind == "name":
            if text in _WORDS:
                self.position += 1
                return _WORDS[text]
            if text == "inf":
                self.position += 1
                return math.inf
            spec = self.spec(depth)
            return spec if spec.args or spec.kwargs else spec.name
        if self.take("("):
            values, named = self.arguments(depth)
            if named:
                raise self.error("a tuple holds values only")
            return values
        raise self.error("the bracket is not closed" if kind == "end" else f"expected a value, found {text!r}")


def parse(text: str) -> Spec:
    """Read ``"leaky_relu(negative_slope=0.2)"`` into a :class:`Spec`.

    Raises:
        SpecError: the text is not of the form ``name(arg, key=value, …)``; the message gives the position.
    """
    if not isinstance(text, str):
        raise SpecError(f"activation must be a string such as 'gelu' or 'slaf(degree=5)'; got {type(text).__name__}")
    if len(text) > _MAX_LENGTH:
        raise SpecError(f"activation string has {len(text)} characters; at most {_MAX_LENGTH} are read")
    if not text.strip():
        raise SpecError("activation is an empty string; give a name such as 'gelu' or 'slaf(degree=5)'")
    reader = _Reader(text)
    spec = reader.spec()
    if reader.peek()[0] != "end":
        raise reader.error(f"unexpected {reader.peek()[1]!r} after the activation")
    return spec


def split(text: str) -> list[str]:
    """Split a comma-separated list of activations at the commas outside brackets and quotes."""
    parts, depth, quote, current = [], 0, "", ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "()":
            depth += 1 if character == "(" else -1
        if character == "," and depth <= 0 and not quote:
            parts.append(current)
            current = ""
        else:
            current += character
    return [p.strip() for p in [*parts, current] if p.strip()]
