"""Mixup: training on weighted means of pairs of samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from slaf.core import SlafError

__all__ = ["mixed"]

Loss = Callable[[Tensor, Tensor], Tensor]


def mixed(x: Tensor, loss: Loss, alpha: float) -> tuple[Tensor, Loss]:
    """λ·x + (1 - λ)·x', x' the batch in another order, λ ~ Beta(α, α); and λ·loss(output, y) + (1 - λ)·loss(output, y').

    One λ for the batch, so a loss that is a mean stays one, whatever it is of. Drawn from torch's global generator.

    Args:
        x: inputs (n, …), of a floating dtype.
        alpha: α > 0; 1 is a uniform λ, smaller ones stay nearer to the samples.

    Source: H. Zhang, M. Cisse, Y. Dauphin, D. Lopez-Paz (2018), mixup: beyond empirical risk minimization, arXiv:1710.09412 [from memory].

    Raises:
        SlafError: inputs that cannot be averaged, such as tokens.
    """
    if not x.is_floating_point():
        raise SlafError(f"mixup averages inputs, which must be of a floating dtype; got {x.dtype}")
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    other = torch.randperm(len(x)).to(x.device)

    def of_both(output: Tensor, y: Tensor) -> Tensor:
        return share * loss(output, y) + (1 - share) * loss(output, y[other])

    return torch.lerp(x[other], x, share), of_both
