"""One run of a model on an example, watched: every nonlinear call, in order, with who makes it and what it is given.

A torch-function mode sees functions, methods and operators; hooks on every module, removed afterwards, say which one is at work. The
model's own code runs as it is, so control flow that depends on the data is no obstacle. Nothing is decided here: see ``audit``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slaf.core import SlafError

__all__ = ["batches", "call", "untouched"]


def batches(example: Any) -> list[Any]:
    """The batches of an example: those of a list, else the one it is."""
    if not isinstance(example, list):
        return [example]
    if not example:
        raise SlafError("example is an empty list; it takes one batch or more")
    return example


def call(model: nn.Module, example: Any) -> Any:
    """What ``model`` gives for an example: a tensor, a tuple (positional arguments) or a dict (keyword arguments).

    A list holds several batches: then all the results, as a list.

    Raises:
        SlafError: ``example`` is none of these.
    """
    if isinstance(example, list):
        return [call(model, batch) for batch in batches(example)]
    if isinstance(example, Tensor):
        return model(example)
    if isinstance(example, Mapping):
        return model(**{str(k): v for k, v in example.items()})
    if isinstance(example, tuple):
        return model(*example)
    raise SlafError(
        "example must be a tensor, a tuple of positional arguments, a dict of keyword arguments or a list of those; "
        f"got {type(example).__name__}"
    )


@contextmanager
def untouched(model: nn.Module, training: bool = False) -> Iterator[nn.Module]:
    """The model in evaluation mode, without gradients; afterwards, also after an error, it is as it was.

    Restored, bitwise: every module's attributes (training flags, hooks, parameters, buffers and submodules by identity), the contents
    of the buffers, and the random states of torch, NumPy and Python. torch's fused transformer
    kernels, which hide their calls, are off within.

    Args:
        model: a module.
        training: the flag that every module has within.
    """
    modules = list(model.modules())
    attributes = [(m, dict(m.__dict__), [(d, dict(d)) for d in m.__dict__.values() if isinstance(d, dict)]) for m in modules]
    contents = [(b, b.detach().clone(), b._version) for b in model.buffers()]
    with ExitStack() as stack:
        stack.callback(_restore_contents, contents)
        stack.callback(_restore_attributes, attributes)
        stack.enter_context(_same_randomness())
        stack.enter_context(_no_fast_path())
        stack.enter_context(torch.no_grad())
        for module in modules:
            module.__dict__["training"] = training  # not by train(), which models override with more than this
        yield model


def _restore_attributes(attributes: list[tuple[nn.Module, dict[str, Any], list[tuple[dict[Any, Any], dict[Any, Any]]]]]) -> None:
    for module, before, dicts in attributes:
        for held, items in dicts:
            _set(held, items)
        _set(module.__dict__, before)


def _set(held: dict[Any, Any], items: dict[Any, Any]) -> None:
    """Make ``held`` what it was, the order too; untouched if it still is."""
    if list(held) != list(items) or any(held[k] is not v for k, v in items.items()):
        held.clear()
        held.update(items)


def _restore_contents(contents: list[tuple[Tensor, Tensor, int]]) -> None:
    with torch.no_grad():
        for tensor, before, version in contents:
            if tensor._version != version or not torch.equal(tensor, before):
                tensor.copy_(before)


@contextmanager
def _same_randomness() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def _no_fast_path() -> Iterator[None]:
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
