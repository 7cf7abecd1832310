"""The C++ kernels, an extension module without torch: tensors or addresses in, bits and numbers out. Nothing here checks what a pointer
leads to; ``slaf.kernels`` does, before it calls.

It is built with the package where a C++ compiler is at hand and imported at the first use, never compiled here. What its functions take
is declared where they are defined, see entry.hpp.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from .caches import last_level, outputs_past

__all__ = [
    "DTYPES",
    "FAMILIES",
    "FORMS",
    "ISAS",
    "available",
    "borrow_threads",
    "entries",
    "force_isa",
    "isa",
    "past_caches_from",
    "path",
    "reason",
    "threads_borrowed",
]

MODULE = "slaf.kernels._entries"
DTYPES = {"float32": 0, "bfloat16": 1, "float16": 2}
FAMILIES = {"power": 0, "chebyshev": 1}
FORMS = {"even": 0, "per_term": 1, "joint": 2, "square": 3}
ISAS = ("avx512", "avx2", "portable")
NEVER = 2**63 - 1
PAST_CACHES = "SLAF_PAST_CACHES_FROM"
"""The environment's say in how large an output is that goes past the caches."""


@lru_cache(maxsize=1)
def _library() -> tuple[Any, str]:
    """The module, or ``None`` and why."""
    if os.environ.get("SLAF_NO_NATIVE"):
        return None, "switched off by SLAF_NO_NATIVE"
    if find_spec(MODULE) is None:
        return None, "not built: no C++ compiler with Python's headers was found when slaf was installed"
    try:
        library = import_module(MODULE)
    except ImportError as error:
        return None, f"it cannot be loaded: {error}"
    library.borrow_threads(_gomp_parallel())
    if (size := _past_caches_from()) is not None:
        library.go_past_from(size)
    return library, ""


def _past_caches_from() -> int | None:
    """What the environment says, or else the machine; ``None`` where both are silent."""
    if not (size := os.environ.get(PAST_CACHES)):
        return outputs_past(last_level())
    if not size.isdecimal():
        raise ValueError(f"{PAST_CACHES} must be a number of bytes; got {size!r}")
    return min(int(size), NEVER)


def _gomp_parallel() -> int | None:
    """The address of ``GOMP_parallel`` in the OpenMP runtime that torch is linked to and has loaded; ``None`` where there is none.

    A look-up by the handle of torch's library searches what that depends on, so it finds the runtime that runs torch's own loops.
    """
    flags = getattr(os, "RTLD_NOLOAD", None)
    if flags is None or not torch.backends.openmp.is_available():
        return None
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"), mode=flags | os.RTLD_LAZY)
        return ctypes.cast(library.GOMP_parallel, ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None


def available() -> bool:
    """Whether the compiled kernels can be called."""
    return _library()[0] is not None


def reason() -> str:
    """Why :func:`available` is false; empty where it is true."""
    return _library()[1]


def path() -> str | None:
    """Of the library; ``None`` without one."""
    library = _library()[0]
    return None if library is None else str(library.__file__)


def isa() -> str:
    """The instruction set that runs: ``"avx512"``, ``"avx2"`` or ``"portable"``; ``"none"`` without a library."""
    library = _library()[0]
    return "none" if library is None else str(library.isa())


def force_isa(name: str | None) -> bool:
    """Run with another instruction set, for tests; ``None`` goes back to the best. False where the machine lacks it."""
    library = _library()[0]
    return library is not None and bool(library.force_isa(name))


def threads_borrowed() -> bool:
    """Whether the kernels run on the threads of torch's OpenMP, not on a pool of their own; false in a forked process."""
    library = _library()[0]
    return library is not None and bool(library.threads_borrowed())


def borrow_threads(borrow: bool) -> bool:
    """Take torch's OpenMP threads, or for tests our own; whether they are torch's then."""
    return bool(_library()[0].borrow_threads(_gomp_parallel() if borrow else None))


@contextmanager
def past_caches_from(size: int) -> Iterator[None]:
    """Inside, outputs of ``size`` bytes and more go past the caches if in memory already, from 0 all: for tests and measurements."""
    library = _library()[0]
    before = library.go_past_from(size)
    try:
        yield
    finally:
        library.go_past_from(before)


class _Entries:
    """The kernels by name. In the place of a pointer one takes a tensor, a bytearray, an address or ``None``; it returns whether it did
    its work, since one may find that it cannot, by what it has read. The interpreter's lock is released during the call. ``__doc__`` of a
    kernel is its arguments' types in the letters of :mod:`struct`.

    A kernel raises ``RuntimeError`` for an argument out of range and ``MemoryError``.
    """

    def __getattr__(self, name: str) -> Any:
        found = getattr(_library()[0], name, None)
        if found is None:
            raise RuntimeError(f"there is no kernel {name} in {path()}; install slaf again")
        setattr(self, name, found)  # so that this runs once
        return found


entries = _Entries()
