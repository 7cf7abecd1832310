"""How many samples at once fit in memory comfortably."""

from __future__ import annotations

from torch import Tensor

__all__ = ["rows_at_once"]


def rows_at_once(x: Tensor) -> int:
    """Samples of ``x`` for one pass without gradients: 8192, fewer where they are large (about a million numbers, of images a quarter)."""
    most = 2**20 if x.dim() <= 2 else 2**18  # a convolution makes of each pixel as many numbers as it has channels
    return max(1, min(8192, most // max(1, x[:1].numel())))
