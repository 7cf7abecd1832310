"""The user's table: a column predicted from the others by a small network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slaf.compare.study import Data, Make, Study, register_study
from slaf.data import is_function, table_files
from slaf.train import Recipe, generator

from ._given import epochs_for, given_arrays, given_table
from ._mlp import mlp, predict

__all__ = ["TableStudy"]

_READING = {"task": "auto", "delimiter": "auto", "decimal": ".", "missing": "", "categorical": "", "ignore": "", "max_rows": 2_000_000}
_COMMON = {"epochs": 100, "batch_size": 128, "lr": 1e-3, "clip": 1.0, "test_share": 0.2, **_READING}


@register_study
class TableStudy(Study):
    """A perceptron of two hidden layers on a CSV or Parquet file, or on rows that a function returns: classification or regression."""

    name = "table"
    title = "Your table"
    source = "the file or function given as data"
    claim = "A learned activation predicts held-out rows of this table at least as well as ReLU in the same network."
    inputs: ClassVar[Mapping[str, str]] = {
        "data": "a CSV, TSV (also .gz) or Parquet file, or package.module:function that returns (x, y)",
        "target": "the column to predict (for a function: what to call y)",
    }
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"steps": 200, "widths": (64, 64), **_COMMON},
        "small": {"steps": 3_000, "widths": (64, 64), **_COMMON},
        "full": {"steps": 12_000, "widths": (256, 256), **_COMMON},
    }

    ranking = "accuracy (more is better), or in a regression nmse (less is better)"

    def files(self) -> tuple[Path, ...]:
        return () if is_function(self.given["data"]) else table_files(self.given["data"])

    def fingerprint(self) -> str:
        """Of a function: SHA-256 of what it returns."""
        return given_arrays(self.given["data"]).digest() if is_function(self.given["data"]) else super().fingerprint()

    def _read(self, budget: Mapping[str, Any]) -> Any:
        """A ``Table`` or ``Arrays``; both have a ``task`` and ``tensors``."""
        if is_function(self.given["data"]):
            return given_arrays(self.given["data"])
        return given_table(self.given["data"], self.given["target"], self.files(), {name: budget[name] for name in _READING})

    def ranked_by(self, budget: Mapping[str, Any]) -> tuple[str, str]:
        """Accuracy, or in a regression the mean squared error's share of the held-out targets' variance."""
        return ("nmse", "min") if self._read(budget).task == "regression" else ("accuracy", "max")

    def data(self, seed: int, budget: Mapping[str, Any]) -> Data:
        """The rows, split and standardised by :mod:`slaf.data`; what a function returns is flattened to rows.

        Raises:
            SlafError: what :func:`slaf.data.read_table` or :func:`slaf.data.arrays_from` refuses.
        """
        read = self._read(budget)
        split = read.tensors(generator(seed, "data"), budget["test_share"])
        spec = {"widths": tuple(budget["widths"]), "outputs": len(read.classes) or 1, "target_std": split.target_std}
        (x, y), (x_test, y_test) = split.train, split.test
        return Data((x.flatten(1), y), (x_test.flatten(1), y_test), spec=spec, notes=split.notes)

    def build(self, make: Make, data: Data) -> nn.Module:
        return mlp(make, (data.train[0].shape[1], *data.spec["widths"], data.spec["outputs"]))

    def recipe(self, budget: Mapping[str, Any], data: Data) -> Recipe:
        """``steps`` in whole epochs, at least one and at most ``epochs``; the learning rate falls to 0 along a cosine.

        Found for ReLU alone on three tables: with more than 100 epochs a few hundred rows are learned by heart. The gradient's norm is
        clipped (``clip`` 0: not), which changes nothing for ReLU: a column with a heavy tail can otherwise throw a polynomial off for good.
        """
        size, clip = budget["batch_size"], budget["clip"]
        epochs = min(epochs_for(budget["steps"], len(data.train[0]), size), budget["epochs"])
        return Recipe(epochs, size, budget["lr"], optimizer="adamw", weight_decay=1e-4, schedule="cosine", clip=clip or None)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy, or the mean squared error of the standardised target."""
        return F.mse_loss(output, target) if target.is_floating_point() else F.cross_entropy(output, target)

    def metrics(self, model: nn.Module, data: Data) -> dict[str, float]:
        """Regression: ``nmse``, ``rmse`` in the target's own unit. Classes: ``accuracy``, and ``balanced_accuracy``, their mean recall."""
        x, y = data.test
        output = predict(model, x)
        loss = float(self.loss(output, y))
        if y.is_floating_point():
            # one held-out row, say, has no variance: then the training rows', which is 1
            variance = float(y.double().var(correction=0)) or 1.0
            return {"nmse": loss / variance, "rmse": math.sqrt(loss) * data.spec["target_std"], "loss": loss}
        right = (output.argmax(1) == y).double()
        counts = torch.bincount(y)
        recall = torch.bincount(y, weights=right)[counts > 0] / counts[counts > 0]
        return {"accuracy": float(right.mean()), "balanced_accuracy": float(recall.mean()), "loss": loss}
