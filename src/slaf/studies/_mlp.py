"""What several studies share: the multilayer perceptron, its paper initialisation, and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from slaf.compare.study import Make
from slaf.train import rows_at_once

__all__ = ["mlp", "predict", "xavier"]


def mlp(make: Make, sizes: Sequence[int], slot: str = "hidden", channel_dim: int = 1) -> nn.Module:
    """Linear layers of the given ``sizes`` (input, hidden …, output), an activation after each but the last; or a block in their place."""
    linears = [nn.Linear(before, after) for before, after in pairwise(sizes)]
    block = getattr(make, "block", None)
    if block is not None:
        return block(linears)
    layers: list[nn.Module] = []
    for linear in linears[:-1]:
        layers += [linear, make(slot, linear.out_features) if channel_dim == 1 else make(slot, linear.out_features, channel_dim)]
    return nn.Sequential(*layers, linears[-1])


def xavier(model: nn.Module) -> nn.Module:
    """Uniform Xavier weights and zero biases in every linear layer; returns the model."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


@torch.no_grad()
def predict(model: nn.Module, x: Tensor) -> Tensor:
    """The model's outputs on ``x`` in evaluation mode, without gradients; the mode it was in is kept."""
    before = model.training
    model.eval()
    try:
        return torch.cat([model(part) for part in x.split(rows_at_once(x))])
    finally:
        model.train(before)
