"""The boundary loss: what inputs of an activation cost outside the range on which it is to be trusted."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["boundary_loss"]

STEEP = 5.0
"""Half widths beyond the range from which on the loss goes on straight, so that it cannot overflow."""


def boundary_loss(x: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """mean(exp(d) - 1), d = how far x lies outside [low, high] in half widths of it; straight from d = 5 on; 0 inside.

    A polynomial is good on the range it was made for and grows without bound beyond: a network that trains with this loss keeps the inputs
    inside, so that no clamp is needed afterwards. In float32 whatever x is.

    Args:
        x: inputs of an activation, any shape; with no element the loss is 0.
        low, high: the range, low < high; numbers, or tensors that broadcast with x (a range for each channel).

    Returns:
        A scalar, differentiable in x.

    Source: F. Al Hossain, T. Rahman, A Training Framework for Optimal and Stable Training of Polynomial Neural Networks, arXiv:2505.11589
    [abstract read: "exponentially penalizes activation inputs outside a predefined stable range"; scale and straight end are ours].
    """
    x = x.float()
    if not x.numel():
        return x.sum()
    width = (torch.as_tensor(high, device=x.device) - low) / 2
    beyond = ((x - high).relu() + (low - x).relu()) / width
    steep = beyond.clamp(max=STEEP)
    return (torch.expm1(steep) + torch.exp(steep) * (beyond - steep)).mean()
