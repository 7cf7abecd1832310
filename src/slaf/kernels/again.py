"""Whether a forward pass is run again, by ``torch.utils.checkpoint`` for a backward pass: running statistics have counted its batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch.compiler import is_compiling

__all__ = ["again", "first"]

_first: ContextVar[bool] = ContextVar("slaf_first", default=False)


def again() -> bool:
    """Whether autograd runs this, and so a checkpoint; a graph of ``torch.compile`` sees to that itself."""
    return not is_compiling() and torch._C._current_graph_task_id() != -1 and not _first.get()


@contextmanager
def first() -> Iterator[None]:
    """Inside, a forward pass counts wherever it runs."""
    token = _first.set(True)
    try:
        yield
    finally:
        _first.reset(token)
