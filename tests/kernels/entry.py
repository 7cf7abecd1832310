"""What an entry of the table of random cases holds, and how θ lies beside x."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from random_cases import Case
from torch import Tensor, nn

UNIT = 2.0**-24
"""Float32's relative rounding."""
ELEMENTWISE = ("normal", "normal", "shifted", "large", "far", "tiny", "points")
STATISTICAL = ("normal", "normal", "normal", "shifted", "points")


class Kernel(NamedTuple):
    """An entry of the table.

    Attributes:
        specs: what ``slaf.make`` is given, without what ``arguments`` adds.
        formula: (module, x, {name of a parameter: θ (K, …)}, minus, at) → y.
        steps: roundings that one element goes through, by the module.
        values: kinds of :data:`random_cases.Case.values`.
        points: special values of x.
        needs: of the shape, see :func:`random_cases.cases`.
        theta: how the parameters are drawn: (name, like) → values.
        prepare: what else a module needs.
        reaches: (module, where x is NaN or infinite) → where y may be.
        arguments: of ``slaf.make``: more text for the spec, and the context.
        loose: whether y alone is compared where x is not finite, and NaN and infinities count alike: in the gradient of coefficients the
            definition has 0·∞ or ∞ - ∞ where the kernel adds no such term.
        one_dtype: whether θ must have the dtype of x; then its gradients by channel are rounded before a group adds them.
        make: of what ``slaf.make`` does not make, (spec, case) → the module.
        takes: (module, x) → whether the kernel runs, not silently the definition: torch's own sums vary with the number of threads.
    """

    specs: st.SearchStrategy[str]
    formula: Callable[[nn.Module, Tensor, Mapping[str, Tensor], float, Tensor], Tensor]
    steps: Callable[[Any], int]
    values: tuple[str, ...] = ELEMENTWISE
    points: tuple[float, ...] = ()
    needs: str = "nothing"
    theta: Callable[[str, Tensor], Tensor] = lambda name, like: torch.randn_like(like)  # noqa: ARG005
    prepare: Callable[[Any], None] = lambda act: None  # noqa: ARG005
    reaches: Callable[[Any, Tensor], Tensor] = lambda act, bad: bad  # noqa: ARG005
    arguments: Callable[[Case], tuple[str, dict[str, Any]]] = lambda case: (f"share={case.share}", case.sharing())
    loose: bool = False
    one_dtype: bool = False
    make: Callable[[str, Case], Any] | None = None
    takes: Callable[[Any, Tensor], bool] = lambda act, x: True  # noqa: ARG005


def rows_of(theta: Tensor, act: Any) -> Tensor:
    """θ as (count, K)."""
    if not hasattr(act, "sharing"):
        return theta[None]
    return theta if theta.dim() > 1 else theta[:, None]


def spread(theta: Tensor, act: Any, dims: int) -> Tensor:
    """θ (count, K) or (count,) as (K, …) beside x of ``dims`` dimensions: channel c has the row c // (channels / count).

    A module without channels has θ (K,) for all.
    """
    rows = rows_of(theta, act)
    if len(rows) == 1:
        return rows.T.reshape(-1, *(1,) * dims)
    channels = act.sharing.num_channels
    rows = rows[torch.arange(channels) // (channels // len(rows))]
    return rows.T.reshape(-1, *(channels if d == act.sharing.channel_dim else 1 for d in range(dims)))
