"""A tiny vision transformer, on the digits or on images of yours, with perceptrons around an activation, GR-KAN or other blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from slaf.compare.study import Data, Make, register_study
from slaf.core import SlafError
from slaf.train import Recipe

from ._blocks import BLOCKS
from ._transformer import ViT
from .digits import Digits
from .images import ImageStudy
from .mnist import Mnist

__all__ = ["MnistVision", "Vision"]

_NETWORK = {"width": 32, "hidden": 64, "depth": 2, "lr": 4e-3}
_SOURCE = "X. Yang, X. Wang, Kolmogorov–Arnold Transformer, 2024, arXiv:2409.10594"


def _built(make: Make, data: Data, size: int, patch: int, channels: int = 1) -> nn.Module:
    s = data.spec
    return ViT(make, s["width"], s["depth"], 4, s["hidden"], size, patch, s["classes"], channels)


def _network(budget: Mapping[str, Any], classes: int) -> dict[str, Any]:
    return {name: budget[name] for name in ("width", "hidden", "depth")} | {"classes": classes}


@register_study
class Vision(Digits):
    """A transformer over the 16 patches of 2×2 pixels of the digits. Mixup keeps it from learning 1,257 images by heart."""

    name = "vision"
    title = "A tiny vision transformer on the digits"
    source = f"{_SOURCE}; {Digits.source}"
    claim = "GR-KAN in the place of the perceptrons reads more held-out images right than GELU in them, at equal size."
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"epochs": 2, **_NETWORK, "width": 16, "hidden": 32, "depth": 1},
        "small": {"epochs": 40, **_NETWORK},
        "full": {"epochs": 100, **_NETWORK, "width": 64, "hidden": 256, "depth": 4, "lr": 2e-3},
    }
    activations = ("relu", "gelu", "gr_kan", "gr_kan(start=gelu, from_mlp=True)", "kan")
    blocks = BLOCKS

    def data(self, seed: int, budget: Mapping[str, Any]) -> Data:
        data = super().data(seed, {"widths": (), **budget})
        data.spec = _network(budget, 10)
        return data

    def build(self, make: Make, data: Data) -> nn.Module:
        return _built(make, data, size=8, patch=2)

    def recipe(self, budget: Mapping[str, Any], data: Data) -> Recipe:
        return Recipe(budget["epochs"], 128, budget["lr"], "cosine", "adamw", weight_decay=1e-2, mixup=0.4)


@register_study
class MnistVision(Mnist):
    """The same over the patches of 4×4 pixels of images in MNIST's format."""

    name = "mnist-vision"
    title = "A tiny vision transformer on MNIST"
    slots = ("hidden",)
    source = f"{_SOURCE}; the files given as data"
    claim = Vision.claim
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {**ImageStudy.budgets[name], **_NETWORK, "lr": 3e-3, "patch": 4} for name in ("smoke", "small", "full")
    }
    activations = Vision.activations
    blocks = BLOCKS

    def data(self, seed: int, budget: Mapping[str, Any]) -> Data:
        """As :class:`slaf.studies.images.ImageStudy` reads them.

        Raises:
            SlafError: images that are not square, or that squares of ``patch`` pixels do not tile.
        """
        data = super().data(seed, budget)
        height, width = data.train[0].shape[2:]
        if height != width or budget["patch"] < 1 or width % budget["patch"]:
            raise SlafError(f"patch must be the side of squares that tile a square image; got {budget['patch']!r} for {width}×{height}")
        data.spec |= _network(budget, data.spec["classes"]) | {"patch": budget["patch"]}
        return data

    def build(self, make: Make, data: Data) -> nn.Module:
        return _built(make, data, data.train[0].shape[-1], data.spec["patch"], data.train[0].shape[1])
