"""The registry's mechanism: names, aliases, lazy discovery. It does not know which folders hold entries; ``slaf/__init__`` says so."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .errors import SlafError, nearest

__all__ = ["Registry", "bind"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to entries. Duplicates are refused; a miss suggests the nearest name; packages are scanned on first use.

    Args:
        kind: what an entry is called in messages, e.g. ``"activation"``.
        listed_by: the command that shows them all.
    """

    def __init__(self, kind: str, listed_by: str = "slaf list") -> None:
        self.kind, self.listed_by = kind, listed_by
        self._entries: dict[str, T] = {}
        self._aliases: dict[str, str] = {}
        self._packages: list[str] = []

    def scan(self, *packages: str) -> None:
        """Name the packages whose modules register entries; they are imported when an entry is first asked for."""
        self._packages += packages

    def _load(self) -> None:
        while self._packages:
            package = importlib.import_module(self._packages.pop())
            for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
                importlib.import_module(module.name)

    def register(self, name: str, entry: T, aliases: tuple[str, ...] = ()) -> T:
        """Add ``entry``.

        Raises:
            SlafError: the name is not an identifier, or it or an alias is taken.
        """
        for new in (name, *aliases):
            if not isinstance(new, str) or not new.isidentifier():
                raise SlafError(f"{self.kind} name must be an identifier such as 'my_relu'; got {new!r}")
            if new in self._entries or new in self._aliases:
                raise SlafError(f"{self.kind} name {new!r} is taken already; choose another")
        self._entries[name] = entry
        self._aliases.update(dict.fromkeys(aliases, name))
        return entry

    def unregister(self, name: str) -> None:
        """Remove an entry and its aliases."""
        del self._entries[self.canonical(name)]
        self._aliases = {a: n for a, n in self._aliases.items() if n in self._entries}

    def canonical(self, name: str) -> str:
        """The registered name that ``name`` (or an alias) stands for; raises with the nearest name on a miss."""
        if name not in self._entries and name not in self._aliases:
            self._load()
        name = self._aliases.get(name, name)
        if name not in self._entries:
            known = (*self._entries, *self._aliases)
            hint = nearest(name, known) or f"; `{self.listed_by}` shows all {len(self._entries)}"
            raise SlafError(f"unknown {self.kind} {name!r}{hint}")
        return name

    def __getitem__(self, name: str) -> T:
        return self._entries[self.canonical(name)]

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries or name in self._aliases

    def names(self) -> list[str]:
        """All names, sorted, without aliases."""
        self._load()
        return sorted(self._entries)


def bind(factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: dict[str, Any], what: str) -> Any:
    """Call ``factory(*args, **kwargs)`` plus those entries of ``context`` that it accepts; explain arguments that do not fit.

    Raises:
        SlafError: an unknown argument (with the nearest one), too many, or one missing.
    """
    parameters = inspect.signature(factory).parameters
    known = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    positional = [n for n, p in parameters.items() if p.kind == p.POSITIONAL_OR_KEYWORD]
    variadic = any(p.kind == p.VAR_POSITIONAL for p in parameters.values())
    takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    for name in kwargs:
        if name not in known and not takes_any:
            own = [n for n in known if n not in ("device", "dtype", "inplace")]
            raise SlafError(f"{what} has no argument {name!r}; it takes {', '.join(own) or 'none'}{nearest(name, own)}")
    if len(args) > len(positional) and not variadic:
        raise SlafError(f"{what} takes at most {len(positional)} positional arguments; got {len(args)}")
    for name in positional[: len(args)]:
        if name in kwargs:
            raise SlafError(f"{what}: argument {name!r} is given twice")
    given = {*positional[: len(args)], *kwargs}
    extra = {n: v for n, v in context.items() if n in known and n not in given and v is not None}
    missing = [n for n in positional if parameters[n].default is inspect.Parameter.empty and n not in given and n not in extra]
    if missing:
        raise SlafError(f"{what} needs the argument {missing[0]!r}")
    return factory(*args, **kwargs, **extra)
