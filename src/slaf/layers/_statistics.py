"""What layers with running statistics share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import NormActivation, OverRanks

__all__ = ["FullStatistics", "RunningStatistics"]

_STARTS = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0}


class FullStatistics(nn.Module):
    """Mixed into a module whose buffers stay float32 when it is cast to a half type: half the bits are too few to accumulate in."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.dtype in (torch.float16, torch.bfloat16):
                self._buffers[name] = new.to(old.dtype) if old.is_meta else old.to(new.device)
        return self


class RunningStatistics(FullStatistics, OverRanks, NormActivation):
    """Mixed into a layer with buffers of :data:`_STARTS`, float64 in a float64 layer and float32 in all others."""

    def _keep(self, *names: str, size: int, device: Any, dtype: torch.dtype | None) -> None:
        """Register the buffers, without values."""
        kept = torch.float64 if dtype == torch.float64 else torch.float32
        for name in names:
            counts = name == "num_batches_tracked"
            self.register_buffer(name, torch.empty(() if counts else size, dtype=torch.int64 if counts else kept, device=device))

    def reset_parameters(self) -> None:
        """As at the start: mean 0, variance 1."""
        super().reset_parameters()
        with torch.no_grad():
            for name, buffer in self.named_buffers(recurse=False):
                buffer.fill_(_STARTS[name])

    def take_over(self, norm: Any) -> None:
        with torch.no_grad():
            for name, buffer in self.named_buffers(recurse=False):
                if getattr(norm, name, None) is not None:
                    buffer.copy_(getattr(norm, name))
