"""Handwritten digits: the 1,797 images of 8×8 pixels that scikit-learn brings along."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slaf.compare.study import Data, Make, Study, register_study
from slaf.core import SlafError
from slaf.train import Recipe, generator

from ._mlp import mlp, predict

__all__ = ["Digits"]


@register_study
class Digits(Study):
    """A small network reads 8×8 digits; 30 % of the images, drawn by the seed, are held out."""

    name = "digits"
    title = "Handwritten digits"
    source = "E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998; the copy bundled with scikit-learn"
    claim = "A learned activation reads held-out digits at least as well as ReLU in the same small network."
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"epochs": 3, "widths": (32, 32)},
        "small": {"epochs": 30, "widths": (32, 32)},
        "full": {"epochs": 100, "widths": (256, 256)},
    }
    activations: ClassVar[tuple[str, ...]] = ("relu", "gelu", "slaf")

    def files(self) -> tuple[Path, ...]:
        found = find_spec("sklearn")  # importing it would cost every listing a second
        path = Path(str(found.origin)).parent / "datasets" / "data" / "digits.csv.gz" if found else None
        return (path,) if path is not None and path.is_file() else ()

    def data(self, seed: int, budget: Mapping[str, Any]) -> Data:
        """1,257 training and 540 test images, flattened to 64 pixels in [−1, 1].

        Raises:
            SlafError: scikit-learn is not installed.
        """
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise SlafError('the digits come with scikit-learn, which is not installed: pip install "slaf[data]"') from error
        pixels, labels = load_digits(return_X_y=True)
        # one scale for all: a pixel of its own scale would divide by zero at the border, which is always blank
        x, y = torch.from_numpy(pixels).float() / 8 - 1, torch.from_numpy(labels).long()
        order = torch.randperm(len(x), generator=generator(seed, "data"))
        train, test = order[: int(0.7 * len(x))], order[int(0.7 * len(x)) :]
        return Data((x[train], y[train]), (x[test], y[test]), spec={"widths": tuple(budget["widths"])})

    def build(self, make: Make, data: Data) -> nn.Module:
        return mlp(make, (64, *data.spec["widths"], 10))

    def recipe(self, budget: Mapping[str, Any], data: Data) -> Recipe:
        return Recipe(epochs=budget["epochs"], batch_size=64, lr=1e-3, optimizer="adamw", weight_decay=1e-4)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target)

    def metrics(self, model: nn.Module, data: Data) -> dict[str, float]:
        x, y = data.test
        output = predict(model, x)
        return {"accuracy": float((output.argmax(1) == y).double().mean()), "loss": float(self.loss(output, y))}
