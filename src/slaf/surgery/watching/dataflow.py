"""What is known of every tensor on its way through a model: whether it depends on the data, and which dimension is its channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from .kinds import base_name

__all__ = ["Dataflow", "tensors_in"]

_SECOND = frozenset(
    {"convolution", "_convolution", *(f"conv{n}d" for n in (1, 2, 3)), *(f"conv_transpose{n}d" for n in (1, 2, 3))},
)
_NORMS = frozenset(["batch_norm", "_native_batch_norm_legit_no_training", "_batch_norm_no_update"]) | {
    "group_norm",
    "native_group_norm",
    "instance_norm",
}
_MATRIX = frozenset(["linear", "matmul", "rmatmul", "bmm", "mm", "addmm", "baddbmm", "addbmm", "einsum", "bilinear"])
_LAST = _MATRIX | {"layer_norm", "native_layer_norm", "rms_norm", "embedding", "lstm", "gru", "rnn_tanh", "rnn_relu"}
_MOVES = frozenset(["transpose", "swapaxes", "swapdims", "permute", "movedim", "moveaxis", "t", "adjoint", "numpy_T"])
_RESHAPES = frozenset(["view", "reshape", "flatten", "unflatten", "_unsafe_view", "unsqueeze", "squeeze", "view_as", "reshape_as"])
_LIKE = frozenset(["zeros", "ones", "empty", "full", "rand", "randn", "randint"])


@dataclass(frozen=True)
class Mark:
    """``depends``: on parameters or the example's floating tensors; ``channel``: the channel dimension, if something says so."""

    depends: bool
    channel: int | None = None


_CONSTANT = Mark(False)


class Dataflow:
    """Marks of tensors by identity, held as long as the tensors live. A floating tensor of unknown origin counts as data."""

    def __init__(self, model: nn.Module) -> None:
        self._marks: Any = WeakIdKeyDictionary()
        for module in model.modules():
            for value in (*module._buffers.values(), *(v for v in module.__dict__.values() if not isinstance(v, nn.Module))):
                for tensor in tensors_in(value):
                    self._marks[tensor] = _CONSTANT
        for parameter in model.parameters():
            self._marks[parameter] = Mark(True)

    def begin(self, example: Any) -> None:
        """The example's floating tensors are data, its others are not."""
        for tensor in tensors_in(example):
            self._marks[tensor] = Mark(_floating(tensor))

    def depends(self, tensor: Tensor) -> bool:
        """Whether ``tensor`` depends on parameters or on the example's floating tensors."""
        return self._mark(tensor).depends

    def channel_dim(self, tensor: Tensor) -> int:
        """The dimension of the channels: as the layers before say; else 1, or the last of three."""
        known = self._mark(tensor).channel
        if known is not None:
            return known
        return tensor.dim() - 1 if tensor.dim() in (1, 2, 3) else min(1, tensor.dim())

    def _mark(self, tensor: Tensor) -> Mark:
        found: Mark | None = self._marks.get(tensor)
        return found if found is not None else Mark(_floating(tensor))

    def passed(self, function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any], result: Any) -> None:
        """Mark what a torch function gave."""
        outputs = list(tensors_in(result))
        name = base_name(function)
        if name == "setitem":
            outputs = list(tensors_in(args[:1]))
        if not outputs:
            return
        inputs = list(tensors_in((*args, *keywords.values())))
        if name in ("type_as", "to", "expand_as", "view_as", "reshape_as"):
            inputs = inputs[:1]  # the second one lends its type or shape only
        depends = not _template(name) and any(self.depends(t) for t in inputs)
        source = next((t for t in inputs if self._mark(t).depends and not isinstance(t, nn.Parameter)), None)
        for tensor in outputs:
            written = any(tensor is t for t in inputs)
            if written and self._mark(tensor).depends:
                continue
            channel = self._channel(name, function, args, keywords, source, tensor) if depends else None
            self._marks[tensor] = Mark(depends, channel)
            if written and depends and tensor._base is not None:  # data written into a part of a constant
                self._marks[tensor._base] = Mark(True)

    def module_gave(self, inputs: Any, result: Any) -> None:
        """Mark what came out of a module unseen, by a custom function or a kernel: it depends on what went in."""
        unseen = [t for t in tensors_in(result) if self._marks.get(t) is None]
        if unseen:
            depends = any(self.depends(t) for t in tensors_in(inputs))
            for tensor in unseen:
                self._marks[tensor] = Mark(depends)

    def _channel(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        keywords: Mapping[str, Any],
        source: Tensor | None,
        result: Tensor,
    ) -> int | None:
        dims = result.dim()
        if name in _SECOND:
            weight = next((t for t in tensors_in((*args[1:2], keywords.get("weight")))), None)
            return None if weight is None else max(0, dims - weight.dim() + 1)
        if name in _NORMS:
            return 1 if dims > 1 else 0
        if name in _LAST:
            return dims - 1 if dims else None
        if source is None:
            return None
        channel = self._mark(source).channel
        if "pool" in name and channel is None:
            return 1 if dims > 2 else None
        if channel is None or dims == 0:
            return None
        if name in _MOVES or (name == "get" and _transposes(function)):
            return _moved(function, args, keywords, source, channel)
        if dims == source.dim() and name not in _RESHAPES:
            return channel
        return _kept(tuple(source.shape), tuple(result.shape), channel)


def _floating(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _template(name: str) -> bool:
    """Functions that take a tensor's size and type, but none of its values: ``zeros_like``, ``new_full`` …"""
    return name.removesuffix("_like") in _LIKE or name.removeprefix("new_") in _LIKE or name in ("bernoulli", "normal_", "zero")


def _transposes(function: Any) -> bool:
    """Whether a property's getter is one of ``T``, ``mT``, ``H``, ``mH``."""
    return getattr(getattr(function, "__self__", None), "__name__", "") in ("T", "mT", "H", "mH")


def _moved(function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any], source: Tensor, channel: int) -> int | None:
    """Where a permutation takes a dimension: the same call on a tensor without memory, whose strides tell its dimensions apart."""
    strides = [7**k for k in range(source.dim())]
    marker = torch.empty_strided(tuple(max(2, n) for n in source.shape), strides, device="meta")
    try:
        out = function(*(marker if a is source else a for a in args), **{k: marker if v is source else v for k, v in keywords.items()})
        return list(out.stride()).index(strides[channel])
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None


def _kept(before: tuple[int, ...], after: tuple[int, ...], channel: int) -> int | None:
    """The channel dimension after a change of shape, where all before it stayed, or where it stayed the last."""
    if after[: channel + 1] == before[: channel + 1]:
        return channel
    if channel == len(before) - 1 and after[-1] == before[-1]:
        return len(after) - 1
    return None


def tensors_in(value: Any, depth: int = 3) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists, dicts and the like."""
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, Mapping):
        yield from _each(value.values(), depth)
    elif depth and isinstance(value, (tuple, list)):
        yield from _each(value, depth)


def _each(values: Iterable[Any], depth: int) -> Iterator[Tensor]:
    for value in values:
        yield from tensors_in(value, depth - 1)
