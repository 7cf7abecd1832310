"""The allocator kept warm: glibc then neither maps large tensors at each call nor gives their memory back."""

from __future__ import annotations

import os
import sys

__all__ = ["WARM", "start_warm"]

WARM = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33), "MALLOC_TOP_PAD_": str(2**30)}
"""For the environment of a process, which glibc reads as it starts."""


def start_warm() -> None:
    """Start this program again with :data:`WARM`, unless it has it."""
    if any(os.environ.get(k) != v for k, v in WARM.items()):
        os.environ.update(WARM)
        os.execv(sys.executable, [sys.executable, *sys.argv])
