"""A tiny vision transformer on the digits, with perceptrons around an activation, GR-KAN or other blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from slaf.compare.study import Data, Make, register_study
from slaf.train import Recipe

from ._blocks import BLOCKS
from ._transformer import ViT
from .digits import Digits

__all__ = ["Vision"]

NETWORK = {"width": 32, "hidden": 64, "depth": 2, "lr": 4e-3}
SOURCE = "X. Yang, X. Wang, Kolmogorov–Arnold Transformer, 2024, arXiv:2409.10594"


def vit(make: Make, data: Data, size: int, patch: int, channels: int = 1) -> nn.Module:
    """The transformer that ``data.spec`` describes."""
    s = data.spec
    return ViT(make, s["width"], s["depth"], 4, s["hidden"], size, patch, s["classes"], channels)


def network_of(budget: Mapping[str, Any], classes: int) -> dict[str, Any]:
    """The part of ``data.spec`` that :func:`vit` reads."""
    return {name: budget[name] for name in ("width", "hidden", "depth")} | {"classes": classes}


@register_study
class Vision(Digits):
    """A transformer over the 16 patches of 2×2 pixels of the digits. Mixup keeps it from learning 1,257 images by heart."""

    name = "vision"
    title = "A tiny vision transformer on the digits"
    source = f"{SOURCE}; {Digits.source}"
    claim = "GR-KAN in the place of the perceptrons reads more held-out images right than GELU in them, at equal size."
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"epochs": 2, **NETWORK, "width": 16, "hidden": 32, "depth": 1},
        "small": {"epochs": 40, **NETWORK},
        "full": {"epochs": 100, **NETWORK, "width": 64, "hidden": 256, "depth": 4, "lr": 2e-3},
    }
    activations = ("relu", "gelu", "gr_kan", "gr_kan(start=gelu, from_mlp=True)", "kan")
    blocks = BLOCKS

    def data(self, seed: int, budget: Mapping[str, Any]) -> Data:
        data = super().data(seed, {"widths": (), **budget})
        data.spec = network_of(budget, 10)
        return data

    def build(self, make: Make, data: Data) -> nn.Module:
        return vit(make, data, size=8, patch=2)

    def recipe(self, budget: Mapping[str, Any], data: Data) -> Recipe:
        return Recipe(budget["epochs"], 128, budget["lr"], "cosine", "adamw", weight_decay=1e-2, mixup=0.4)
