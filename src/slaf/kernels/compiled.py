"""The kernels in the graphs of ``torch.compile``: a forward pass becomes one call of the operator in :mod:`.operator`.

A compiler cannot see into a kernel, and what it makes of a definition is slower (docs/speed.md). The operator knows a module by the
content of its attributes. Dynamo reads them while it traces, so it guards them: equal modules share a graph, and what changes is compiled
anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import wraps
from inspect import isfunction
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling, is_exporting

from . import native
from .dispatch import DTYPES, current_mode, in_transform

__all__ = ["ByKernel", "compiled"]

LEAST = 1 << 17
"""Elements from which on a kernel gains more than the operator's call takes."""
_BOOKKEEPING = (frozenset(vars(nn.Module())) - {"training"}) | {
    "_compile_kwargs"
}  # the last is Lightning's note of torch.compile's arguments
_CONSTANTS = (bool, int, float, str, type(None))


class ByKernel(nn.Module):
    """A module whose forward pass kernels run in eager code."""

    def has_kernel(self, x: Tensor) -> bool:  # noqa: ARG002 - for those that decide by it
        """Whether one runs for inputs like ``x``, faster than what a compiler makes of the definition."""
        return True

    def _operator(self) -> tuple[str, Any] | None:
        """The name that the operator has for this module, and its content; ``None`` where no kernel may run.

        The module is then in a transform, against which Dynamo guards its graphs itself, or has state that nobody here knows.
        """
        if in_transform() or current_mode() not in ("auto", "native") or not native.available() or not _known(self):
            return None
        from .operator import know  # only here, because it takes its time

        content = _content(self)
        name = f"{type(self).__name__}-{hashlib.sha256(repr(content).encode()).hexdigest()[:16]}"
        know(name, self)
        return name, content

    # torch.compiler.assume_constant_result does just this, but imports Dynamo, which takes a second. Of a method, because a graph that was
    # made from a module as an argument serves that instance only.
    _operator._dynamo_marked_constant = True  # type: ignore[attr-defined]


_M = TypeVar("_M", bound=ByKernel)


def compiled(forward: Callable[[_M, Tensor], Tensor]) -> Callable[[_M, Tensor], Tensor]:
    """A forward pass, from one tensor to one like it: an operator under ``torch.compile`` where ``self.has_kernel(x)`` and x is large.

    Exporters, functional transforms and forward-mode differentiation see what is written, and so does the compiler where no kernel may
    run. As any compiled graph, one with the operator is not differentiated twice.
    """

    @wraps(forward)
    def run(self: _M, x: Tensor) -> Tensor:
        y = _operated(self, x) if is_compiling() else None
        return forward(self, x) if y is None else y

    return run


def _operated(module: ByKernel, x: Tensor) -> Tensor | None:
    """y by the operator, as Dynamo traces it; ``None`` where the definition must be compiled."""
    if is_exporting() or x.dtype not in DTYPES or not module.has_kernel(x) or x.numel() < LEAST:
        return None
    parameters, buffers = list(module.parameters()), list(module.buffers())
    if not all((type(t) is Tensor or type(t) is nn.Parameter) and t.device.type == "cpu" for t in (x, *parameters, *buffers)):
        return None
    found = module._operator()
    if found is None or _content(module) != found[1]:  # which is never, but so every part is guarded, also what counts as a variable
        return None
    need = [torch.is_grad_enabled() and t.requires_grad for t in (x, *parameters)]
    y, _, counted = torch.ops.slaf.activate(x, parameters, buffers, found[0], need)
    for buffer, new in zip(buffers, counted, strict=False):  # in evaluation there are none
        buffer.copy_(new.detach())
    return y


def _content(value: Any) -> Any:
    """All that a result may depend on beside tensors, as constants; for what is :func:`_known`."""
    if isinstance(value, _CONSTANTS):
        return value
    if isinstance(value, (tuple, list)):
        return tuple([_content(v) for v in value])
    if isinstance(value, dict):
        return tuple([(k, _content(v)) for k, v in value.items()])
    kind = type(value).__qualname__
    if isinstance(value, nn.Module):
        given = tuple([k for k, p in value._parameters.items() if p is not None])
        return kind, given, _content(_attributes(value)), _content(value._modules)
    return (kind, _content(vars(value))) if _ours(value) else kind


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {k: v for k, v in vars(module).items() if k not in _BOOKKEEPING}


def _ours(value: Any) -> bool:
    """Whether of a class of slaf, not of a parametrisation or of one that somebody has derived."""
    return type(value).__module__.startswith("slaf.")


def _known(value: Any) -> bool:
    """Whether all that a result may depend on can be seen."""
    if isinstance(value, (tuple, list)):
        return all(map(_known, value))
    if isinstance(value, dict):
        return all(map(_known, value.values()))
    if isinstance(value, nn.Module):
        return _ours(value) and _known(_attributes(value)) and _known(value._modules)
    if isinstance(value, _CONSTANTS) or isfunction(value):  # such as one that coefficients were fitted to
        return True
    return _ours(value) and _known(vars(value))
