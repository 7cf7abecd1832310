"""Kolmogorov–Arnold networks on tables and on smooth functions of few variables, beside perceptrons of as many parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from slaf.compare.study import Data, Make, register_study
from slaf.core import SlafError, one_of
from slaf.data.arrays import Arrays
from slaf.train import Recipe, generator

from ._blocks import BLOCKS
from ._mlp import mlp
from .table import TableStudy

__all__ = ["Tabular"]

BUNDLED = ("diabetes", "breast_cancer", "wine")


def _friedman(x: Tensor) -> Tensor:
    """10 sin(π x_1 x_2) + 20 (x_3 − ½)² + 10 x_4 + 5 x_5, x uniform on [0, 1]; the other five columns say nothing."""
    return 10 * torch.sin(math.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5).square() + 10 * x[:, 3] + 5 * x[:, 4]


def _smooth(x: Tensor) -> Tensor:
    """exp(sin(π x) + y²) on [−1, 1]², an example of the KAN paper's."""
    u = 2 * x - 1
    return torch.exp(torch.sin(math.pi * u[:, 0]) + u[:, 1].square())


def _smooth4(x: Tensor) -> Tensor:
    """exp(½ (sin(π (x_1² + x_2²)) + sin(π (x_3² + x_4²)))) on [−1, 1]⁴, another."""
    u = math.pi * (2 * x - 1).square()
    return torch.exp((torch.sin(u[:, 0] + u[:, 1]) + torch.sin(u[:, 2] + u[:, 3])) / 2)


GENERATED: Mapping[str, tuple[Callable[[Tensor], Tensor], int, float]] = {
    "friedman": (_friedman, 10, 1.0),
    "smooth": (_smooth, 2, 0.0),
    "smooth4": (_smooth4, 4, 0.0),
}
"""By name: the function, how many inputs, and the standard deviation of the noise on the target."""


@lru_cache(maxsize=4)
def _arrays(table: str, rows: int) -> Arrays:
    """The table; a generated one is the same for every seed, which draws the rows that are held out."""
    if table in GENERATED:
        function, columns, noise = GENERATED[table]
        g = generator(0, "table", table)
        x = torch.rand(rows, columns, generator=g, dtype=torch.float64)
        y = function(x) + noise * torch.randn(rows, generator=g, dtype=torch.float64)
        note = f"{rows:,} rows of {table}, generated" + (f", with noise of standard deviation {noise:g} on the target" if noise else "")
        return Arrays((x.float(), y), None, "regression", (), (note,))
    try:
        import sklearn.datasets
    except ImportError as error:
        raise SlafError(f'{table} comes with scikit-learn, which is not installed: pip install "slaf[data]"') from error
    given = getattr(sklearn.datasets, f"load_{table}")()
    x, y = torch.tensor(given.data, dtype=torch.float32), torch.tensor(given.target)
    names = tuple(str(name) for name in getattr(given, "target_names", ()))
    task = "classification" if names else "regression"
    return Arrays((x, y.long() if names else y.double()), None, task, names, (f"{table}, {len(y):,} rows, bundled with scikit-learn",))


@register_study
class Tabular(TableStudy):
    """Networks of one shape on Friedman's first function, smooth functions of 2 and 4 variables, or a table of scikit-learn's."""

    name = "tabular"
    title = "Tables with Kolmogorov–Arnold networks"
    source = (
        "Liu et al., KAN: Kolmogorov–Arnold Networks, 2024, arXiv:2404.19756 [from memory]; J. Friedman, Multivariate adaptive "
        "regression splines, 1991; tables bundled with scikit-learn"
    )
    claim = "A Kolmogorov–Arnold network has a smaller held-out error than a perceptron of as many parameters."
    primary, direction = "nmse", "min"
    inputs: ClassVar[Mapping[str, str]] = {}
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"table": "friedman", "rows": rows, "steps": steps, "widths": widths, "epochs": 400, "batch_size": 128, "lr": lr}
        for name, rows, steps, widths, lr in (
            ("smoke", 400, 100, (16,), 3e-3),
            ("small", 2000, 1500, (64, 64), 3e-3),
            ("full", 10_000, 10_000, (64, 64), 3e-3),
        )
    }
    activations = ("relu", "silu", "kan", "kan(basis=rbf)", "kan(basis=chebyshev, degree=4)")
    blocks = BLOCKS

    def files(self) -> tuple[()]:
        return ()

    def fingerprint(self) -> str:
        return ""

    def _read(self, budget: Mapping[str, Any]) -> Arrays:
        rows = budget["rows"]
        if rows < 20:
            raise SlafError(f"rows must be an integer of at least 20; got {rows!r}")
        return _arrays(one_of("table", budget["table"], (*GENERATED, *BUNDLED)), rows)

    def data(self, seed: int, budget: Mapping[str, Any]) -> Data:
        """Rows and targets, standardised; ``truth["nmse"]`` is the share of the held-out variance that is noise."""
        data = super().data(seed, {"test_share": 0.3, **budget})
        noise = GENERATED.get(budget["table"], (None, 0, 0.0))[2]
        if noise:
            data.truth["nmse"] = (noise / data.spec["target_std"]) ** 2
            data.notes += (f"No model can have an expected nmse below {data.truth['nmse']:.4f}, the noise's share.",)
        return data

    def build(self, make: Make, data: Data) -> nn.Module:
        return mlp(make, (data.train[0].shape[1], *data.spec["widths"], data.spec["outputs"]))

    def recipe(self, budget: Mapping[str, Any], data: Data) -> Recipe:
        """As for a table of the user's, the gradient's norm clipped at 1."""
        return super().recipe({"clip": 1.0, **budget}, data)
