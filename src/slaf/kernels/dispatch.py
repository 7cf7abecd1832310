"""Which inputs the native kernels take: one predicate over tensors, one rule for the memory layout, one switch.

A kernel is given raw pointers and checks nothing, so nothing may reach it that does not pass here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.compiler import is_compiling

from . import gpu, native

__all__ = [
    "DTYPES",
    "Backend",
    "Layout",
    "backend",
    "current_mode",
    "dense",
    "fits",
    "in_transform",
    "layout_of",
    "on_gpu",
    "place",
    "plain",
    "readable",
    "ready",
    "refusal",
    "running",
    "threads",
    "transformed",
    "use",
    "wrapped",
]

DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
MAX_DEGREE = 15
LARGE = 1 << 16
"""Elements from which on the difference is worth a warning."""

_MODES = ("auto", "native", "reference", "triton")
_mode: ContextVar[str] = ContextVar("slaf_kernels", default="auto")
current_mode = _mode.get
_keys = torch._C._dispatch_keys  # looked up once: these run at every call
_functorch_level = torch._C._functorch.maybe_current_level
_dispatch_modes = torch._C._len_torch_dispatch_stack
_tracing = torch._C._is_tracing
_NOT_PLAIN = ~_keys(torch.empty(0)).raw_repr()


class Layout(NamedTuple):
    """Dense memory as (n, c, s): element (i, k, j) at (i·c + k)·s + j uses the k-th θ.

    ``dims`` are the dimensions that θ runs over, in the order of memory, and ``sizes`` their sizes.
    """

    n: int
    c: int
    s: int
    dims: tuple[int, ...]
    sizes: tuple[int, ...]


def transformed() -> bool:
    """Whether autograd functions and raw pointers must be avoided here: functorch, forward AD, compilation, tracing, export."""
    return is_compiling() or _eager_transform()


def _eager_transform() -> bool:
    """What of :func:`transformed` is not compilation."""
    return _functorch_level() is not None or forward_ad._current_level >= 0 or _tracing() or _dispatch_modes() > 0


def in_transform() -> bool:
    """Whether a transform of functorch or forward-mode differentiation is active."""
    return _functorch_level() is not None or forward_ad._current_level >= 0


@lru_cache(maxsize=8)
def _not_plain(device: str) -> int:
    """The dispatch keys that no plain tensor of a device has."""
    return ~_keys(torch.empty(0, device=device)).raw_repr()


def wrapped(x: Tensor) -> bool:
    """Whether ``x`` is no plain strided tensor to torch's dispatcher: of a transform, lazily negated, a zero tensor, …"""
    return bool(_keys(x).raw_repr() & (_NOT_PLAIN if x.is_cpu else _not_plain(x.device.type)))


def plain(x: Tensor) -> bool:
    """Whether ``x`` is what :func:`refusal` mostly lets pass: on the CPU, in the default order."""
    kind = type(x)
    if (kind is not Tensor and kind is not nn.Parameter) or x.dtype not in DTYPES or _keys(x).raw_repr() & _NOT_PLAIN:
        return False
    return x.is_contiguous() and x.dim() > 0 and x.data_ptr() != 0  # the keys say device and layout, and what is empty has no address


def refusal(x: Tensor) -> str | None:
    """Why no kernel may see the memory of ``x``; ``None`` if it may. Reads no element.

    Taken are plain tensors and parameters on the CPU or a CUDA device that Triton can use, dense in any order of their dimensions, of
    float32, bfloat16 or float16, with one dimension and one element or more.
    """
    if plain(x):
        return None
    kind = type(x)
    if kind is not Tensor and kind is not nn.Parameter:
        return f"it is a {kind.__name__}, not a plain tensor"
    if x.layout is not torch.strided:
        return f"its layout is {x.layout}"
    if not x.is_cpu:
        if not x.is_cuda:
            return f"it is on {x.device.type}"
        if absent := gpu.reason(x.device):
            return f"it is on {x.device.type}: {absent}"
    if x.dtype not in DTYPES:
        return f"its dtype is {x.dtype}"
    if wrapped(x):
        return "it is wrapped or lazy"
    if x.dim() == 0:
        return "it has no dimension"
    if x.numel() == 0:
        return "it is empty"
    if not _dense(x.shape, x.stride()):
        return _NOT_DENSE
    return None if x.data_ptr() else "it has no memory"


_NOT_DENSE = "its memory is not dense (a slice or an expanded tensor); call .contiguous() once where it is made"


def fits(x: Tensor) -> bool:
    """Whether a kernel may see the memory of ``x``, see :func:`refusal`."""
    return refusal(x) is None


def _in_memory(sizes: tuple[int, ...], strides: tuple[int, ...]) -> list[int]:
    """The dimensions of more than one entry, outermost in memory first."""
    return sorted((d for d in range(len(sizes)) if sizes[d] > 1), key=lambda d: -strides[d])


@lru_cache(maxsize=1024)
def _dense(sizes: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    step = 1
    for d in reversed(_in_memory(sizes, strides)):
        if strides[d] != step:
            return False
        step *= sizes[d]
    return True


@lru_cache(maxsize=1024)
def layout_of(sizes: tuple[int, ...], strides: tuple[int, ...], *shapes: tuple[int, ...]) -> Layout | None:
    """The layout of dense memory for θ of these shapes, which broadcast against ``sizes``; ``None`` if θ is no single run of it."""
    if any(len(shape) != len(sizes) for shape in shapes):
        return None
    theta = tuple(max((shape[d] for shape in shapes), default=1) for d in range(len(sizes)))
    if any(shape[d] not in (1, theta[d]) or theta[d] not in (1, sizes[d]) for shape in shapes for d in range(len(sizes))):
        return None
    order = _in_memory(sizes, strides)
    own = [i for i, d in enumerate(order) if theta[d] > 1]
    if not own:
        return Layout(1, 1, prod(sizes), (), ())
    first, last = own[0], own[-1] + 1
    if len(own) != last - first:
        return None
    dims = tuple(order[first:last])
    outer, inner = (prod(sizes[d] for d in part) for part in (order[:first], order[last:]))
    own_sizes = tuple(sizes[d] for d in dims)
    return Layout(outer, prod(own_sizes), inner, dims, own_sizes)


def place(x: Tensor, *shapes: tuple[int, ...]) -> Layout | None:
    """Where the kernels find ``x`` and its θ of ``shapes``; ``None`` where the reference must run.

    Raises:
        RuntimeError: inside ``use("native")`` and ``use("triton")``, if the kernels cannot run.
    """
    if ready(x):
        found = layout_of(x.shape, x.stride(), *shapes)
        if found is not None:
            return found
    if is_compiling():
        return None
    mode = current_mode()
    if mode == "reference":
        return None
    reason = _missing(x)
    if reason is None:
        reason = "it is inside a transform or a tracer" if transformed() else refusal(x)
    if reason is None:
        found = layout_of(x.shape, x.stride(), *shapes)
        if found is not None:
            return found
        reason = "its memory does not hold the elements that share coefficients side by side"
    if mode != "auto":
        raise RuntimeError(f"the {mode} kernels cannot take the input of shape {tuple(x.shape)}: {reason}")
    if reason is _NOT_DENSE and x.numel() >= LARGE:
        _warn_once(reason)
    return None


def ready(x: Tensor) -> bool:
    """Whether the compiled kernels may run on ``x``, by the shortest way; where not, :func:`place` finds another, or says why."""
    return running() and plain(x)


def running() -> bool:
    """What of :func:`ready` does not depend on a tensor."""
    if is_compiling():  # first: a compiler sees nothing of what follows
        return False
    mode = current_mode()
    return (mode == "auto" or mode == "native") and native.available() and not _eager_transform()


def on_gpu(x: Tensor) -> bool:
    """Whether the Triton kernels run, not the compiled ones."""
    return x.is_cuda or current_mode() == "triton"


def _missing(x: Tensor) -> str | None:
    """What the kernels for x's device lack; of a CUDA device :func:`refusal` says it."""
    if not on_gpu(x):
        return None if native.available() else "the library is not there"
    return None if x.is_cuda or gpu.interpreted() else "Triton takes it only under its interpreter, TRITON_INTERPRET=1"


def readable(theta: Tensor | None) -> bool:
    """Whether a kernel may read a parameter as it lies: rows of float32, or none.

    Unlike :func:`plain` it asks for no keys, which takes as long as all the rest: what is wrapped has no address to be taken, and raises.
    """
    if theta is None:
        return True
    kind = type(theta)
    if theta.dtype is not torch.float32 or (kind is not nn.Parameter and kind is not Tensor) or not theta.is_contiguous():
        return False
    return (theta.is_cpu and not theta.is_neg()) or refusal(theta) is None


def dense(x: Tensor) -> Tensor:
    """``x``, or a copy of it if it is a slice or an expanded tensor that a kernel would take otherwise: one pass more, differentiable."""
    if is_compiling() or (x.layout is torch.strided and x.is_contiguous()):
        return x
    if current_mode() == "reference" or _missing(x) or transformed():
        return x
    return x.clone(memory_format=torch.preserve_format) if refusal(x) is _NOT_DENSE else x


@lru_cache(maxsize=8)
def _warn_once(reason: str) -> None:
    warnings.warn(f"slaf's fast path does not take this input: {reason}", stacklevel=2)


def threads(numel: int) -> int:
    """How many threads a kernel may use for so many elements."""
    return torch.get_num_threads() if numel >= 1 << 15 else 1


# -- what runs, and the switch --------------------------------------------------------------------------------------------------


class Backend(NamedTuple):
    """What runs, ``name`` to ``threads`` on the CPU.

    Attributes:
        name: ``"native"`` or ``"reference"``.
        reason: why that.
        library: path of the native library, or ``None``.
        instruction_set: ``"avx512"``, ``"avx2"`` or ``"portable"``; ``None`` without a library.
        threads: as many as torch has.
        cuda: what runs on CUDA tensors: Triton's version, or why plain torch does.
        threads_of: ``"torch's OpenMP"``, or ``"own"``: a pool of the library, where that OpenMP is not found and in forked processes.
    """

    name: str
    reason: str
    library: str | None
    instruction_set: str | None
    threads: int
    cuda: str
    threads_of: str | None = None

    def __str__(self) -> str:
        if self.name == "native":
            threads = f"{self.threads} threads: {self.threads_of}"
            return f"native: {self.library}, {self.instruction_set}, {threads} ({self.reason}); CUDA: {self.cuda}"
        return f"reference: {self.reason}; CUDA: {self.cuda}"


def backend() -> Backend:
    """What the learned families run on, and why; ``print`` it."""
    there = native.available()
    library, isa = native.path(), native.isa() if there else None
    whose = ("torch's OpenMP" if native.threads_borrowed() else "own") if there else None
    mode, count = current_mode(), torch.get_num_threads()
    if mode == "reference":
        inside = "inside slaf.kernels.use('reference')"
        return Backend("reference", inside, library, isa, count, f"plain torch: {inside}", whose)
    if not there:
        return Backend("reference", native.reason(), None, None, count, gpu.describe())
    why = "for dense float32, bfloat16 and float16 on the CPU; plain torch for everything else"
    return Backend("native", why, library, isa, count, gpu.describe(), whose)


@contextmanager
def use(mode: str) -> Iterator[None]:
    """Inside, run ``"reference"`` (plain torch), ``"native"`` (raise where a kernel cannot run), ``"triton"`` (the same with Triton, on
    CPU tensors too under its interpreter) or ``"auto"``: for tests and debugging. What ``torch.compile`` has compiled stays as it was.

    Raises:
        ValueError: another mode.
        RuntimeError: inside ``"native"`` and ``"triton"``, an input that the kernels cannot take.
    """
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {', '.join(_MODES)}; got {mode!r}")
    token = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(token)
