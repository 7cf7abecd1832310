"""The constant matrix from a basis' terms to the simpler elements that it is evaluated in, as a part of a module."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slaf.bases import Basis

from .statistics import small_dtype

__all__ = ["Mixing"]


class Mixing(nn.Module):
    """A basis' constant matrix from terms to elements: never cast to a narrower type, made anew wherever the module is moved."""

    matrix: Tensor

    def __init__(self, basis: Basis, count: int, device: Any = None) -> None:
        super().__init__()
        self.basis, self.count = basis, count
        # a buffer, so that it travels with the module and a compiler sees a tensor
        self.register_buffer("matrix", self._made(torch.device(device or torch.get_default_device())), persistent=False)

    def _made(self, device: torch.device) -> Tensor:
        return torch.from_numpy(np.array(self.basis.mixing(self.count))).to(device, small_dtype(device))

    def _apply(self, fn: Any, recurse: bool = True) -> Mixing:
        super()._apply(fn, recurse)
        self.matrix = self._made(self.matrix.device)
        return self
