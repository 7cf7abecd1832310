"""The user's images: the SLAF paper's convolutional network, equally wide for every activation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from slaf.compare.study import Data, Make, Study, register_study
from slaf.core import SlafError, one_of
from slaf.data import Arrays, Images, image_files, is_function
from slaf.train import Recipe, generator

from ._given import epochs_for, given_arrays, given_images, names_of
from ._mlp import predict

__all__ = ["ImageStudy", "paper_cnn"]

_READING = {"size": 0, "max_images": 200_000}
_COMMON = {"images": 0, "batch_size": 64, "lr": 1e-3, "schedule": "cosine", "clip": 1.0, "start": "torch", "test_share": 0.2, **_READING}
_LARGEST = 128


def paper_cnn(make: Make, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Convolution 5×5 to 16 channels, activation, 2×2 maximum; the same to 32 channels; 1024 units, activation, dropout ½; classes.

    ``shape`` is (channels, height, width) of an image; convolutions keep height and width, maxima halve them, rounding up.

    Source: M. Goyal, R. Goyal, B. Lall, Learning Activation Functions, arXiv:1906.09529; mohit1997/PAF, whose widths differ between
    activations, while these do not.
    """
    channels, height, width = shape
    pixels = -(-height // 4) * -(-width // 4)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, padding=2),
        make("convolution", 16),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(16, 32, 5, padding=2),
        make("convolution", 32),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(32 * pixels, 1024),
        make("dense", 1024),
        nn.Dropout(0.5),
        nn.Linear(1024, classes),
    )


@register_study
class ImageStudy(Study):
    """The paper's network on a folder of images, IDX files, or what a function returns."""

    name = "images"
    title = "Your images"
    source = "the folder or function given as data; the network of M. Goyal, R. Goyal, B. Lall, arXiv:1906.09529"
    claim = "A learned activation classifies held-out images at least as well as ReLU in the same convolutional network."
    inputs: ClassVar[Mapping[str, str]] = {
        "data": "a folder with a subfolder of images for each class, or with IDX files, or package.module:function that returns images"
    }
    slots: ClassVar[tuple[str, ...]] = ("convolution", "dense")
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"steps": 30, **_COMMON, "images": 1000},
        "small": {"steps": 750, **_COMMON},
        "full": {"steps": 5000, **_COMMON},
        "paper": {"steps": 25_000, **_COMMON, "batch_size": 50, "lr": 1e-2, "schedule": "paper", "clip": 0.0, "start": "paper"},
    }

    def files(self) -> tuple[Path, ...]:
        return () if is_function(self.given["data"]) else image_files(self.given["data"])

    def fingerprint(self) -> str:
        """SHA-256 of the files and of their names below the folder, for these say the classes; or of what a function returns."""
        data = self.given["data"]
        if is_function(data):
            return given_arrays(data).digest()
        return hashlib.sha256((super().fingerprint() + names_of(data, self.files())).encode()).hexdigest()

    def _read(self, budget: Mapping[str, Any]) -> Images | Arrays:
        data = self.given["data"]
        if not is_function(data):
            return given_images(data, self.files(), {name: budget[name] for name in _READING})
        arrays = given_arrays(data)
        if arrays.task != "classification" or arrays.train[0].dim() not in (3, 4):
            what = "floating-point targets" if arrays.task != "classification" else f"inputs of shape {tuple(arrays.train[0].shape[1:])}"
            raise SlafError(
                f"{data} returned {what}; study {self.name} takes (height, width) or (channels, height, width) and classes, "
                "study table takes rows and numbers"
            )
        return arrays

    def data(self, seed: int, budget: Mapping[str, Any]) -> Data:
        """The images, split and standardised by :mod:`slaf.data`; the first ``images`` of training, in random order, if that is not 0.

        Raises:
            SlafError: what :func:`slaf.data.read_images` or :func:`slaf.data.arrays_from` refuses, or images above 128×128.
        """
        read = self._read(budget)
        most = budget["images"]
        if most < 0:
            raise SlafError(f"images must be an integer of at least 0, which means all; got {most!r}")
        split = read.tensors(generator(seed, "data"), budget["test_share"])
        (x, y), (x_test, y_test) = ((x[:, None] if x.dim() == 3 else x, y) for x, y in (split.train, split.test))
        if max(x.shape[2:]) > _LARGEST:
            raise SlafError(
                f"images of {x.shape[3]}×{x.shape[2]} are too large for this network, {_LARGEST}×{_LARGEST} is the most: -o size=64"
            )
        notes = split.notes
        if 0 < most < len(x):
            notes = (f"only {most:,} of the {len(x):,} training images are used (images={most})", *notes)
            x, y = x[:most].clone(), y[:most].clone()
            x_test, y_test = x_test[:most].clone(), y_test[:most].clone()
        spec = {"classes": len(read.classes), "start": one_of("start", budget["start"], ("torch", "paper"))}
        return Data((x, y), (x_test, y_test), spec=spec, notes=notes)

    def build(self, make: Make, data: Data) -> nn.Module:
        """Torch's own first weights; at the paper's budget its truncated normal ones of standard deviation 0.1, and biases of 0.1."""
        _, channels, height, width = data.train[0].shape
        model = paper_cnn(make, (channels, height, width), data.spec["classes"])
        if data.spec["start"] == "paper":
            for layer in model:
                if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
                    nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)  # TensorFlow cuts at two standard deviations
                    nn.init.constant_(layer.bias, 0.1)
        return model

    def recipe(self, budget: Mapping[str, Any], data: Data) -> Recipe:
        """Adam in whole epochs, the gradient's norm clipped (``clip`` 0: not), for standardised images have heavy tails.

        First weights and learning rate were tuned for ReLU alone; at the paper's budget they, and the schedule, are its own.
        """
        size, rate, schedule = budget["batch_size"], budget["lr"], budget["schedule"]
        rows = len(data.train[0])
        epochs = epochs_for(budget["steps"], rows, size)
        if schedule == "paper":  # its 3,000 and 5,000 iterations in whole epochs
            first = epochs_for(3_000, rows, size)
            schedule = ((first, 1e-3), (max(first, epochs_for(5_000, rows, size)), 5e-5))
        return Recipe(epochs=epochs, batch_size=size, lr=rate, schedule=schedule, clip=budget["clip"] or None)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target)

    def metrics(self, model: nn.Module, data: Data) -> dict[str, float]:
        x, y = data.test
        output = predict(model, x)
        return {"accuracy": float((output.argmax(1) == y).double().mean()), "loss": float(self.loss(output, y))}
