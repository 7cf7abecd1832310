"""What layers with running statistics share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["FullStatistics"]


class FullStatistics(nn.Module):
    """Mixed into a module whose buffers stay float32 when it is cast to a half type: half the bits are too few to accumulate in."""

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.dtype in (torch.float16, torch.bfloat16):
                self._buffers[name] = new.to(old.dtype) if old.is_meta else old.to(new.device)
        return self
