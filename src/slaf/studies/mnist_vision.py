"""The tiny vision transformer on images in MNIST's format that the user has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from slaf.compare.study import Data, Make, register_study
from slaf.core import SlafError

from ._blocks import BLOCKS
from .images import ImageStudy
from .mnist import Mnist
from .vision import NETWORK, SOURCE, Vision, network_of, vit

__all__ = ["MnistVision"]


@register_study
class MnistVision(Mnist):
    """The network of ``vision`` over patches of 4×4 pixels."""

    name = "mnist-vision"
    title = "A tiny vision transformer on MNIST"
    slots = ("hidden",)
    source = f"{SOURCE}; the files given as data"
    claim = Vision.claim
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {**ImageStudy.budgets[name], **NETWORK, "lr": 3e-3, "patch": 4} for name in ("smoke", "small", "full")
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
        data.spec |= network_of(budget, data.spec["classes"]) | {"patch": budget["patch"]}
        return data

    def build(self, make: Make, data: Data) -> nn.Module:
        return vit(make, data, data.train[0].shape[-1], data.spec["patch"], data.train[0].shape[1])
