"""Two small transformers around any activation or block: one that reads images, one that goes on with text."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slaf.compare.study import Make

from ._mlp import mlp

__all__ = ["GPT", "ViT"]


class Block(nn.Module):
    """x + attention(norm(x)), then x + f(norm(x)), where f is the perceptron width → hidden → width, or the block in its place."""

    def __init__(self, make: Make, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = mlp(make, (width, hidden, width), channel_dim=-1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        z = self.norm1(x)
        x = x + self.attention(z, z, z, need_weights=False, attn_mask=mask, is_causal=mask is not None)[0]
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class ViT(nn.Module):
    """A vision transformer over square patches of images that may come flattened; the mean over patches is read at the end.

    Shapes: (n, channels·size·size) or (n, channels, size, size) → (n, classes).

    Source: A. Dosovitskiy et al. (2021), An image is worth 16×16 words, arXiv:2010.11929 [from memory].
    """

    def __init__(
        self,
        make: Make,
        width: int = 32,
        depth: int = 2,
        heads: int = 4,
        hidden: int = 64,
        size: int = 8,
        patch: int = 2,
        classes: int = 10,
        channels: int = 1,
    ) -> None:
        super().__init__()
        self.image = (channels, size, size)
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.positions = nn.Parameter(0.02 * torch.randn((size // patch) ** 2, width))
        self.blocks = nn.ModuleList(Block(make, width, heads, hidden) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x.reshape(-1, *self.image)).flatten(2).mT + self.positions
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(self.norm(x).mean(1))
        return y


class GPT(nn.Module):
    """A transformer in which every token sees itself and those before it.

    Shapes: tokens (n, t), t ≤ context → logits of the next one (n, t, vocabulary).

    Source: A. Radford et al. (2019), Language models are unsupervised multitask learners [from memory].
    """

    mask: Tensor

    def __init__(
        self, make: Make, vocabulary: int, context: int, width: int = 64, depth: int = 2, heads: int = 4, hidden: int = 256
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(0.02 * torch.randn(context, width))
        self.blocks = nn.ModuleList(Block(make, width, heads, hidden) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)
        self.register_buffer("mask", torch.ones(context, context, dtype=torch.bool).triu(1), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        x, mask = self.tokens(tokens) + self.positions[:length], self.mask[:length, :length]
        for block in self.blocks:
            x = block(x, mask)
        y: Tensor = self.head(self.norm(x))
        return y
