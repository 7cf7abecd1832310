"""Regression of a sparse polynomial of many features, the SLAF paper's generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slaf.compare.study import Data, Make, Study, register_study
from slaf.core import SlafError
from slaf.train import L1, L2, Recipe, generator

from ._mlp import mlp, predict, xavier

__all__ = ["SparsePolynomials", "sparse_polynomial"]

_PAPER = {"features": 100, "monomials": 10, "degree": 3, "samples": 100_000, "widths": (512, 512), "batch_size": 2048, "penalties": True}


def sparse_polynomial(
    samples: int, features: int = 100, monomials: int = 10, degree: int = 3, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Standard normal inputs and the sum of ``monomials`` products of ``degree`` features each, drawn uniformly with replacement.

    Returns:
        Inputs (samples, features), targets (samples, 1) and the features' indices (monomials, degree). All coefficients are 1; an index
        that is drawn twice is a square.

    Raises:
        SlafError: a size is not positive.

    Source: mohit1997/PAF, sparse polynomial regression.
    """
    for name, size in (("samples", samples), ("features", features), ("monomials", monomials), ("degree", degree)):
        if size < 1:
            raise SlafError(f"{name} must be a positive integer; got {size!r}")
    indices = torch.randint(features, (monomials, degree), generator=generator)
    x = torch.randn(samples, features, generator=generator)
    y = sum((x[:, term].prod(1) for term in indices), torch.zeros(samples))
    return x, y[:, None], indices


@register_study
class SparsePolynomials(Study):
    """The sum of a few monomials of many features; ``degree`` is the monomials'. The error is the mean square's share of the variance."""

    name = "sparse-polynomials"
    title = "Sparse polynomials"
    source = "M. Goyal, R. Goyal, B. Lall, Learning Activation Functions, arXiv:1906.09529; generator and schedule from mohit1997/PAF"
    claim = "Networks of learned polynomial activations regress sparse polynomials with a far smaller error than fixed activations."
    primary = "nmse"
    direction = "min"
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "features": 20, "monomials": 5, "degree": 3, "samples": 4_000, "widths": (64, 64), "batch_size": 512,
            "penalties": False, "clip": 2.0, "epochs": 10, "schedule": "cosine",
        },
        "small": {
            "features": 20, "monomials": 5, "degree": 3, "samples": 20_000, "widths": (64, 64), "batch_size": 512,
            "penalties": False, "clip": 2.0, "epochs": 60, "schedule": "cosine",
        },
        "full": _PAPER | {"clip": None, "epochs": 60, "schedule": "cosine"},
        "paper": _PAPER | {"clip": None, "epochs": 20_000, "schedule": "paper"},
    }  # fmt: skip
    activations = ("relu", "gelu", "slaf", "batch_norm(relu)", "batch_norm(tanh)")

    def data(self, seed: int, budget: Mapping[str, Any]) -> Data:
        """The first 70 % of the samples for training; nothing is standardised."""
        stream = generator(seed, "data")
        x, y, indices = sparse_polynomial(budget["samples"], budget["features"], budget["monomials"], budget["degree"], stream)
        cut = int(0.7 * len(x))
        truth = {"monomials": [sorted(term) for term in indices.tolist()]}
        return Data((x[:cut], y[:cut]), (x[cut:], y[cut:]), truth, spec={"widths": tuple(budget["widths"])})

    def build(self, make: Make, data: Data) -> nn.Module:
        return xavier(mlp(make, (data.train[0].shape[1], *data.spec["widths"], 1)))

    def recipe(self, budget: Mapping[str, Any], data: Data) -> Recipe:
        """Adam, clipped at smoke and small, because the target's tails are heavy.

        At the paper's sizes its L1 on the first layer instead, and its separate step of ½Σa² on learned coefficients.
        """
        easy = budget["degree"] <= 3
        schedule, rate = budget["schedule"], 1e-2
        if schedule == "paper":
            rate = 1e-2 if easy else 1e-3
            schedule = ((200, 1e-3), (1000, 1e-4)) if easy else ((200, 1e-4), (1000, 1e-5), (2000, 1e-4))
        first = L1(0.005 if easy else 0.01, layers=("0",))
        penalties = {"penalty": first, "separate_penalty": L2(1e-3)} if budget["penalties"] else {}
        size, clip = budget["batch_size"], budget["clip"]
        return Recipe(epochs=budget["epochs"], batch_size=size, lr=rate, schedule=schedule, clip=clip, **penalties)  # type: ignore[arg-type]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(output, target)

    def metrics(self, model: nn.Module, data: Data) -> dict[str, float]:
        x, y = data.test
        error = float(self.loss(predict(model, x), y))
        return {"nmse": error / float(y.var(correction=0)), "loss": error}
