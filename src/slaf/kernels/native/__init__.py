"""The C++ kernels, by their C interface: integers in, integers out. Nothing here checks a pointer; ``slaf.kernels`` does, before it calls.

The library is built with the package where a C++ compiler is at hand and loaded at the first use, never compiled here.
"""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

__all__ = [
    "DTYPES",
    "FAMILIES",
    "FORMS",
    "ISAS",
    "available",
    "borrow_threads",
    "force_isa",
    "function",
    "isa",
    "reason",
    "threads_borrowed",
]

ABI = 1
DTYPES = {"float32": 0, "bfloat16": 1, "float16": 2}
FAMILIES = {"power": 0, "chebyshev": 1}
FORMS = {"even": 0, "per_term": 1, "joint": 2, "square": 3}
ISAS = ("avx512", "avx2", "portable")

_INT, _LONG, _DOUBLE, _POINTER = ctypes.c_int, ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
_SHAPE = (_INT, _LONG, _LONG, _LONG)  # dtype, n, c, s
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    # x, y, shape, family, degree, coef, center, rscale, threads
    "series_forward": (_POINTER, _POINTER, *_SHAPE, _INT, _INT, _POINTER, _POINTER, _POINTER, _INT),
    # x, g, gx, shape, family, degree, coef, center, rscale, gcoef, sum_gu, sum_guu, threads
    "series_backward": (*(_POINTER,) * 3, *_SHAPE, _INT, _INT, *(_POINTER,) * 6, _INT),
    # x, g, gx, shape, family, degree, coef, degree_q, q, center, rscale, threads
    "series_backward_input": (*(_POINTER,) * 3, *_SHAPE, _INT, _INT, _POINTER, _INT, *(_POINTER,) * 3, _INT),
    # x, shape, family, count, center, rscale, t, threads
    "moments": (_POINTER, *_SHAPE, _INT, _INT, *(_POINTER,) * 3, _INT),
    # x, y, shape, form, numerator and denominator degree, num, den, threads
    "rational_forward": (_POINTER, _POINTER, *_SHAPE, _INT, _INT, _INT, _POINTER, _POINTER, _INT),
    # x, g, gx, shape, form, numerator and denominator degree, num, den, gnum, gden, threads
    "rational_backward": (*(_POINTER,) * 3, *_SHAPE, _INT, _INT, _INT, *(_POINTER,) * 4, _INT),
    # x, y, shape, family, degree, rows, factor, position, weight, bias, center, rscale, table, threads
    "sites_series_forward": (_POINTER, _POINTER, *_SHAPE, _INT, _INT, _LONG, _DOUBLE, *(_POINTER,) * 6, _INT),
    # x, g, gx, shape, family, degree, rows, factor, position, gweight, gbias, table, threads
    "sites_series_backward": (*(_POINTER,) * 3, *_SHAPE, _INT, _INT, _LONG, _DOUBLE, *(_POINTER,) * 4, _INT),
    # family, c, t, unit
    "accurate": (_INT, _LONG, _POINTER, _DOUBLE),
    # x, shape, family, degree, rows, factor, position, weight, bias, mean, var, batches, momentum, warm_up, renorm, eps, unit, table,
    # state, threads
    "standardise": (
        _POINTER,
        *_SHAPE,
        _INT,
        _INT,
        _LONG,
        _DOUBLE,
        *(_POINTER,) * 6,
        _DOUBLE,
        _INT,
        _INT,
        _DOUBLE,
        _DOUBLE,
        _POINTER,
        _POINTER,
        _INT,
    ),
    # x, g, gx, shape, family, degree, rows, factor, position, gweight, gbias, table, state, threads
    "standardised_backward": (*(_POINTER,) * 3, *_SHAPE, _INT, _INT, _LONG, _DOUBLE, *(_POINTER,) * 5, _INT),
    # x, y, shape, family, degree, rows, factor, position, weight, bias, mean, var, batches, eps, the same of the input, renorm, unit,
    # momentum, warm_up, about, table, state, threads
    "normalise": (
        *(_POINTER,) * 2,
        *_SHAPE,
        _INT,
        _INT,
        _LONG,
        _DOUBLE,
        *(_POINTER,) * 6,
        _DOUBLE,
        *(_POINTER,) * 3,
        _DOUBLE,
        _INT,
        _DOUBLE,
        _DOUBLE,
        _INT,
        *(_POINTER,) * 3,
        _INT,
    ),
    # x, g, gx, shape, family, degree, rows, factor, position, gweight, gbias, eps, map, table, state, threads
    "normalised_backward": (*(_POINTER,) * 3, *_SHAPE, _INT, _INT, _LONG, _DOUBLE, *(_POINTER,) * 3, _DOUBLE, _INT, *(_POINTER,) * 2, _INT),
    # x, y, shape, form, numerator and denominator degree, rows of both, position, num, den, table, threads
    "sites_rational_forward": (_POINTER, _POINTER, *_SHAPE, _INT, _INT, _INT, _LONG, _LONG, *(_POINTER,) * 4, _INT),
    # x, g, gx, shape, form, numerator and denominator degree, rows of both, position, gnum, gden, table, threads
    "sites_rational_backward": (*(_POINTER,) * 3, *_SHAPE, _INT, _INT, _INT, _LONG, _LONG, *(_POINTER,) * 4, _INT),
    # x, y, shape, degree, cells, table, center, rscale, threads
    "pieces_forward": (_POINTER, _POINTER, *_SHAPE, _INT, _INT, *(_POINTER,) * 3, _INT),
    # x, g, gx, shape, degree, cells, table, center, rscale, sums, threads
    "pieces_backward": (*(_POINTER,) * 3, *_SHAPE, _INT, _INT, *(_POINTER,) * 4, _INT),
    # x, y, shape, count, parameters, threads
    "hinges_forward": (_POINTER, _POINTER, *_SHAPE, _INT, _POINTER, _INT),
    # x, g, gx, shape, count, parameters, sums, threads
    "hinges_backward": (*(_POINTER,) * 3, *_SHAPE, _INT, *(_POINTER,) * 2, _INT),
    # x, y, shape, channels last, groups, raw, eps, weight, v, bias, stats, threads
    "gate_norm_forward": (*(_POINTER,) * 2, *_SHAPE, _INT, _LONG, _INT, _DOUBLE, *(_POINTER,) * 4, _INT),
    # x, g, gx, shape, channels last, groups, raw, weight, v, stats, sums, threads
    "gate_norm_backward": (*(_POINTER,) * 3, *_SHAPE, _INT, _LONG, _INT, *(_POINTER,) * 4, _INT),
    # x, shape, channels last, out, threads
    "sample_spreads": (_POINTER, *_SHAPE, _INT, _POINTER, _INT),
    # step, x, g, out, shape, channels last, rows, sums, threads
    "quotient_norm": (_INT, *(_POINTER,) * 3, *_SHAPE, _INT, *(_POINTER,) * 2, _INT),
    # x, y, shape, terms, spacing, width, coef, center, rscale, threads
    "bumps_forward": (*(_POINTER,) * 2, *_SHAPE, _INT, _DOUBLE, _DOUBLE, *(_POINTER,) * 3, _INT),
    # x, g, gx, shape, terms, spacing, width, coef, center, rscale, gcoef, slopes, threads
    "bumps_backward": (*(_POINTER,) * 3, *_SHAPE, _INT, _DOUBLE, _DOUBLE, *(_POINTER,) * 5, _INT),
    # x, g, gx, shape, terms, spacing, width, coef, center, rscale, line, threads
    "bumps_input": (*(_POINTER,) * 3, *_SHAPE, _INT, _DOUBLE, _DOUBLE, *(_POINTER,) * 4, _INT),
    # x, y, batch, inputs, outputs, degree, cells, left out, base, weight, bias, center, scale, pieces, threads
    "kan_forward": (*(_POINTER,) * 2, *(_LONG,) * 3, *(_INT,) * 4, *(_POINTER,) * 5, _INT),
    # x, g, gx, gweight, batch, inputs, outputs, degree, cells, left out, base, weight, center, scale, pieces, threads
    "kan_backward": (*(_POINTER,) * 4, *(_LONG,) * 3, *(_INT,) * 4, *(_POINTER,) * 4, _INT),
}


class _Loaded:
    library: Any = None
    reason = ""


@lru_cache(maxsize=1)
def _library() -> _Loaded:
    out = _Loaded()
    if os.environ.get("SLAF_NO_NATIVE"):
        out.reason = "switched off by SLAF_NO_NATIVE"
        return out
    found = sorted(Path(__file__).parent.parent.glob("_native*.so")) + sorted(Path(__file__).parent.parent.glob("_native*.pyd"))
    if not found:
        out.reason = "not built: no C++ compiler was found when slaf was installed"
        return out
    # builds for other Python versions and platforms may lie beside ours in a checkout: any that loads is right, the interface is C
    for path in found:
        try:
            library = ctypes.CDLL(str(path))
            library.slaf_abi.restype = _INT
            if (abi := library.slaf_abi()) != ABI:
                out.reason = f"{path.name} was built for interface {abi}, this version needs {ABI}; install slaf again"
                continue
            _declare(library)
        except (OSError, AttributeError) as error:
            out.reason = f"{path.name} cannot be loaded: {error}"
            continue
        out.library, out.reason = library, ""
        library.slaf_borrow_threads(_gomp_parallel())
        break
    return out


def _gomp_parallel() -> int | None:
    """The address of ``GOMP_parallel`` in the OpenMP runtime that torch is linked to and has loaded; ``None`` where there is none.

    A look-up by the handle of torch's library searches what that depends on, so it finds the runtime that runs torch's own loops.
    """
    flags = getattr(os, "RTLD_NOLOAD", None)
    if flags is None or not torch.backends.openmp.is_available():
        return None
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"), mode=flags | os.RTLD_LAZY)
        return ctypes.cast(library.GOMP_parallel, _POINTER).value
    except (OSError, AttributeError):
        return None


def _declare(library: Any) -> None:
    library.slaf_isa.restype = ctypes.c_char_p
    library.slaf_force_isa.argtypes = (ctypes.c_char_p,)
    library.slaf_borrow_threads.argtypes, library.slaf_borrow_threads.restype = (_POINTER,), None
    for name, arguments in _SIGNATURES.items():
        entry = getattr(library, f"slaf_{name}")
        entry.argtypes, entry.restype = arguments, _INT


def available() -> bool:
    """Whether the compiled kernels can be called."""
    return _library().library is not None


def reason() -> str:
    """Why :func:`available` is false; empty where it is true."""
    return _library().reason


def isa() -> str:
    """The instruction set that runs: ``"avx512"``, ``"avx2"`` or ``"portable"``; ``"none"`` without a library."""
    library = _library().library
    return "none" if library is None else str(library.slaf_isa().decode())


def force_isa(name: str | None) -> bool:
    """Run with another instruction set, for tests; ``None`` goes back to the best. False where the machine lacks it."""
    library = _library().library
    return library is not None and library.slaf_force_isa(None if name is None else name.encode()) == 0


def threads_borrowed() -> bool:
    """Whether the kernels run on the threads of torch's OpenMP, not on a pool of their own; false in a forked process."""
    library = _library().library
    return library is not None and bool(library.slaf_threads_borrowed())


def borrow_threads(borrow: bool) -> bool:
    """Take torch's OpenMP threads, or for tests our own; whether they are torch's then."""
    _library().library.slaf_borrow_threads(_gomp_parallel() if borrow else None)
    return threads_borrowed()


def function(name: str) -> Any:
    """The raw entry ``slaf_<name>``: pointers as integers, ``None`` for NULL. It returns 0, 1 (a bad argument) or 2 (out of memory).

    ctypes releases the interpreter's lock during the call.
    """
    return getattr(_library().library, f"slaf_{name}")
