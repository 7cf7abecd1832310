"""``slaf::activate``: a module's eager forward pass as one opaque operation of a graph, and ``slaf::activate_backward``, its gradient.

Forward runs under autograd where a gradient is needed, and records what the backward of an eager call would have, but for x: a compiler
uses memory again, and may rather compute x anew than keep it, so backward is given x by the graph. The record lives as long as the memory
of a token, a number that the graph hands from forward to backward.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch._C import DispatchKey, _dispatch_tls_is_dispatch_key_excluded, _dispatch_tls_set_dispatch_key_excluded
from torch.autograd.graph import GradientEdge, get_gradient_edge

from .again import first

__all__ = ["know"]

# -- modules without their tensors -----------------------------------------------------------------------------------------------------

_known: dict[str, nn.Module] = {}


def know(name: str, module: nn.Module) -> None:
    """From now on the operator has the module, without its tensors, under this name."""
    if name not in _known:
        nothing = itertools.repeat(torch.empty(0))
        _known[name] = _with_tensors(module, nothing, nothing)


def _with_tensors(module: nn.Module, parameters: Iterator[Tensor], buffers: Iterator[Tensor]) -> Any:
    """A shallow copy that has these for its own, in the order of ``module.parameters()`` and ``module.buffers()``."""
    twin = object.__new__(type(module))
    twin.__dict__ |= module.__dict__ | {
        "_parameters": {k: t if t is None else next(parameters) for k, t in module._parameters.items()},
        "_buffers": {k: t if t is None else next(buffers) for k, t in module._buffers.items()},
    }
    twin.__dict__["_modules"] = {k: m if m is None else _with_tensors(m, parameters, buffers) for k, m in module._modules.items()}
    return twin


# -- what forward leaves for backward ----------------------------------------------------------------------------------------------------


class _Input:
    """x of one call, which its autograd graph does not keep: it is there while backward runs.

    The hooks of the graph hold this and no more, so that nothing holds the graph in a circle.
    """

    x: Tensor

    def __init__(self, x: Tensor) -> None:
        self._memory, self._offset = x.untyped_storage().data_ptr(), x.storage_offset()
        self._sizes, self._strides = x.size(), x.stride()

    def pack(self, t: Tensor) -> Any:
        if t.untyped_storage().data_ptr() != self._memory or t.numel() == 0:
            return t
        return t.size(), t.stride(), t.storage_offset() - self._offset

    def unpack(self, kept: Any) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        sizes, strides, offset = kept
        return self.x.as_strided(sizes, strides, self.x.storage_offset() + offset)

    @contextmanager
    def given(self, x: Tensor) -> Iterator[None]:
        if x.stride() != self._strides:
            x = torch.empty_strided(self._sizes, self._strides, dtype=x.dtype).copy_(x)
        self.x = x.detach()
        try:
            yield
        finally:
            del self.x


class _Begin(torch.autograd.Function):
    """x, with a gradient at this node: a leaf would keep x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor) -> Tensor:  # noqa: ARG004
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # noqa: ARG004
        return None, None


class _Record(NamedTuple):
    input: _Input
    output: GradientEdge
    inputs: list[GradientEdge]


class _Token(np.ndarray):
    """A number in memory that a tensor can share, and that takes its record with it when it is freed."""

    record: _Record


_numbers = itertools.count(1)
_tokens: WeakValueDictionary[int, _Token] = WeakValueDictionary()


def _token_of(record: _Record) -> Tensor:
    number = next(_numbers)
    token = np.array([number]).view(_Token)
    token.record = record
    _tokens[number] = token
    return torch.from_numpy(token)


@contextmanager
def _autograd() -> Iterator[None]:
    """As in eager code: torch calls an operator below autograd."""
    keys = DispatchKey.AutogradFunctionality, DispatchKey.ADInplaceOrView
    before = [_dispatch_tls_is_dispatch_key_excluded(key) for key in keys]
    try:
        for key in keys:
            _dispatch_tls_set_dispatch_key_excluded(key, False)
        with torch.enable_grad():
            yield
    finally:
        for key, excluded in zip(keys, before, strict=True):
            _dispatch_tls_set_dispatch_key_excluded(key, excluded)


def _in_place_of(found: Tensor | None, like: Tensor, *inputs: Tensor) -> Tensor:
    """``found`` as the compiler expects it: in the memory format of ``like``, zeros for ``None``, no memory of the inputs."""
    if found is None:
        return torch.zeros_like(like)
    found = found.detach()
    expected = like.stride() if like.is_contiguous() else torch.empty_like(like, device="meta").stride()
    if found.stride() == expected and all(found.untyped_storage().data_ptr() != t.untyped_storage().data_ptr() for t in inputs):
        return found
    return torch.empty_like(like).copy_(found)


# -- the operators -----------------------------------------------------------------------------------------------------------------------


def _run(known: nn.Module, x: Tensor, parameters: list[Tensor], buffers: list[Tensor], need: list[bool]) -> tuple[Tensor, Tensor]:
    """y and the token; ``buffers`` count the batch."""
    if not any(need):
        return _with_tensors(known, iter(parameters), iter(buffers)).forward(x), torch.empty(0, dtype=torch.int64)
    own = [p.clone().requires_grad_(n) for p, n in zip(parameters, need[1:], strict=True)]
    given = _Input(x)
    with _autograd(), torch.autograd.graph.saved_tensors_hooks(given.pack, given.unpack):
        begin = _Begin.apply(x.detach(), torch.empty(0, requires_grad=need[0]))
        y = _with_tensors(known, iter(own), iter(buffers)).forward(begin)
        return y, _token_of(_Record(given, get_gradient_edge(y), [get_gradient_edge(t) for t in (begin, *own) if t.requires_grad]))


@torch.library.custom_op("slaf::activate", mutates_args=())
def activate(
    x: Tensor, parameters: list[Tensor], buffers: list[Tensor], name: str, need: list[bool]
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """y; the token, empty where no gradient is needed; the buffers after a training batch.

    Args:
        need: whether x and each parameter needs a gradient.
    """
    known, counted = _known[name], [b.clone() for b in buffers]
    with first():
        y, token = _run(known, x, parameters, counted, need)
    return _in_place_of(y, x, x, *parameters), token, counted if known.training else []


@activate.register_fake
def _(x: Tensor, parameters: list[Tensor], buffers: list[Tensor], name: str, need: list[bool]) -> Any:  # noqa: ARG001
    counted = [torch.empty_like(b) for b in buffers] if _known[name].training else []
    return torch.empty_like(x), torch.empty(int(any(need)), dtype=torch.int64, device="cpu"), counted


@torch.library.custom_op("slaf::activate_backward", mutates_args=())
def activate_backward(g: Tensor, token: Tensor, x: Tensor, parameters: list[Tensor], need: list[bool]) -> list[Tensor]:
    """The gradients of those that need one."""
    kept = _tokens.get(int(token))
    if kept is None:
        raise RuntimeError("what the forward pass of slaf::activate has kept is gone; tensors saved for backward must not be copied")
    given, output, inputs = kept.record
    with _autograd(), torch.no_grad(), given.given(x):
        found = torch.autograd.grad(output, inputs, g, retain_graph=True, allow_unused=True)
    wanted = [t for t, n in zip((x, *parameters), need, strict=True) if n]
    return [_in_place_of(f, t, g) for f, t in zip(found, wanted, strict=True)]


@activate_backward.register_fake
def _(g: Tensor, token: Tensor, x: Tensor, parameters: list[Tensor], need: list[bool]) -> Any:  # noqa: ARG001
    return [torch.empty_like(t) for t, n in zip((x, *parameters), need, strict=True) if n]


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    x, parameters, buffers, _, ctx.need = inputs
    ctx.buffers = len(buffers)
    ctx.save_for_backward(output[1], x, *parameters)


def _backward(ctx: Any, g: Tensor, *_: Any) -> Any:
    token, x, *parameters = ctx.saved_tensors
    found = iter(torch.ops.slaf.activate_backward(g, token, x, parameters, ctx.need))
    gx, *others = [next(found) if n else None for n in ctx.need]
    return gx, others, [None] * ctx.buffers, None, None


activate.register_autograd(_backward, setup_context=_setup)
