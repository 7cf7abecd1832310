"""``package.module:function``: a function of the user's that returns data."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slaf.core import SlafError, nearest
from slaf.core.errors import blame

__all__ = ["called", "is_function", "load_function", "name_of"]

_FORM = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")


_here: dict[str, Callable[..., Any]] = {}
"""Functions of this process that cannot be imported by name, such as a notebook's."""


def name_of(function: Callable[..., Any]) -> tuple[str, bool]:
    """A name by which :func:`load_function` finds ``function`` in this process, and whether it does in any other."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", type(function).__qualname__)
    text = f"{module}:{name}"
    if module != "__main__" and _FORM.fullmatch(text):
        try:
            _here.pop(text, None)
            if load_function(text) is function:
                return text, True
        except SlafError:
            pass
    _here[text] = function
    return text, False


def is_function(text: str) -> bool:
    """Whether ``text`` has the form ``package.module:function`` and is not the name of a file or folder."""
    return text in _here or (isinstance(text, str) and bool(_FORM.fullmatch(text)) and not Path(text).exists())


def load_function(text: str) -> Callable[..., Any]:
    """The function that ``package.module:function`` names; modules in the folder the user is in are found.

    Raises:
        SlafError: the text has another form, the module cannot be imported, or it has no such function.
    """
    if text in _here:
        return _here[text]
    if not (isinstance(text, str) and _FORM.fullmatch(text)):
        raise SlafError(f"a function is written package.module:function; got {text!r}")
    name, _, attribute = text.partition(":")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a console script does not look in the folder that the user is in
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise SlafError(f"module {name!r} cannot be imported: {error}") from None
    except (Exception, SystemExit) as error:
        raise SlafError(f"module {name!r} cannot be imported: {blame(error)}") from None
    if not hasattr(module, attribute):
        there = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise SlafError(f"module {name!r} has no function {attribute!r}{nearest(attribute, there)}")
    function = getattr(module, attribute)
    if not callable(function):
        raise SlafError(f"{text} must be a function; it is a {type(function).__name__}")
    return function


def called(text: str) -> Any:
    """What the function that ``text`` names returns.

    Raises:
        SlafError: it cannot be loaded, needs arguments, or raises; then the sentence holds the exception, its file and line.
    """
    function = load_function(text)
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise SlafError(f"{text} must be a function that needs no arguments: {error}") from None
    except ValueError:
        pass  # some built-in functions do not tell
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise SlafError(f"{text} failed: {blame(error)}") from None
