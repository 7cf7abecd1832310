"""What all Kolmogorov–Arnold layers share: the basis on every input's interval, the base activation, and the expansion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slaf.bases import Basis, PiecewiseBasis
from slaf.core import SlafError, Spec, make, wrap
from slaf.layers._statistics import FullStatistics

from .grid import Refit, data_interval, refined_terms, refit
from .named import as_basis
from .regularize import edge_sizes, entropy, roughness
from .terms import number_of_terms, terms_of

__all__ = ["Base", "Interval", "KANLayer"]

Base = str | Spec | Callable[[Tensor], Tensor] | None
Interval = tuple[float, float]


def checked_interval(interval: object) -> Interval:
    """Two finite numbers, the lower one first; raises otherwise."""
    ends = interval if isinstance(interval, (tuple, list)) and len(interval) == 2 else (0, 0)
    numbers = all(isinstance(e, (int, float)) and not isinstance(e, bool) and math.isfinite(e) for e in ends)
    if not numbers or not ends[0] < ends[1]:
        raise SlafError(f"interval must be two finite numbers, the lower one first; got {interval!r}")
    return float(ends[0]), float(ends[1])


def checked_size(argument: str, value: object) -> int:
    """A positive integer; raises otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SlafError(f"{argument} must be a positive integer; got {value!r}")
    return value


def activation_of(given: str | Spec | Callable[[Tensor], Tensor], made: dict[str, Any]) -> nn.Module:
    """The module of an activation; one that is named has its parameters where and in which precision ``made`` says."""
    if isinstance(given, (str, Spec)):
        return make(given, **made)
    return make(given) if isinstance(given, nn.Module) else wrap(given)


class KANLayer(FullStatistics, nn.Module):
    """Expands inputs x_i into φ_1(u_i) … φ_K(u_i) and base(x_i), u_i = x_i mapped from [low_i, high_i] to the domain of the basis.

    The constant is no term: those of all edges are one bias per output. Beyond the interval every term goes on as a straight line.

    Attributes:
        basis, num_terms: φ and K.
        base: the base activation, a module; ``None`` without.
        columns: K + 1 with a base activation, K without: how many numbers every input becomes; the base is the last.
        low, high: buffers (in_features,), the interval of every input; float32 at least.
        seen_low, seen_high: buffers, the least and greatest inputs seen in training, with ``track_range``; otherwise ``None``.
    """

    low: Tensor
    high: Tensor
    seen_low: Tensor | None
    seen_high: Tensor | None
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        basis: str | Spec | Basis | Sequence[str | Spec],
        grid: int | None,
        terms: int | None,
        degree: int | None,
        interval: Interval,
        base: Base,
        track_range: bool,
        made: dict[str, Any],
    ) -> None:
        super().__init__()
        self.basis = as_basis(basis)
        self.terms = terms_of(self.basis, number_of_terms(self.basis, grid, terms, degree), made["device"])
        self.interval = checked_interval(interval)
        self.base_name = None if base is None else str(base) if isinstance(base, (str, Spec)) else getattr(base, "__name__", "custom")
        self.base = None if base is None else activation_of(base, made)
        wide = {"device": made["device"], "dtype": torch.float64 if made["dtype"] == torch.float64 else torch.float32}
        for name in ("low", "high"):
            self.register_buffer(name, torch.empty(in_features, **wide))
        if not isinstance(track_range, bool):
            raise SlafError(f"track_range must be true or false; got {track_range!r}")
        for name in ("seen_low", "seen_high"):
            self.register_buffer(name, torch.empty(in_features, **wide) if track_range else None)

    @property
    def num_terms(self) -> int:
        """K."""
        return self.terms.count

    @property
    def columns(self) -> int:
        """How many numbers every input becomes."""
        return self.num_terms + (self.base is not None)

    @property
    def grid(self) -> int | None:
        """The number of intervals of a piecewise basis; ``None`` for another."""
        return self.basis.cells(self.num_terms) if isinstance(self.basis, PiecewiseBasis) else None

    def reset_inputs(self) -> None:
        """The intervals that the constructor got, no range seen, and the base activation as at its start."""
        if self.base is not None and hasattr(self.base, "reset_parameters"):
            self.base.reset_parameters()  # type: ignore[operator]
        with torch.no_grad():
            self.low.fill_(self.interval[0])
            self.high.fill_(self.interval[1])
            if self.seen_low is not None and self.seen_high is not None:
                self.seen_low.fill_(math.inf)
                self.seen_high.fill_(-math.inf)

    def maps(self) -> tuple[Tensor, Tensor]:
        """center and rscale, (in_features,), of u = (x - center)·rscale."""
        return (self.low + self.high) / 2, 2 * self.basis.half_width / (self.high - self.low)

    def expand(self, x: Tensor) -> Tensor:
        """The columns of every input, (…, in_features) → (…, columns, in_features): the terms in order, the base activation last."""
        terms = self.expand_terms(x)
        return terms if self.base is None else torch.cat([terms, self.base(x)[..., None, :]], -2)

    def expand_terms(self, x: Tensor) -> Tensor:
        """The terms of every input alone, (…, in_features) → (…, num_terms, in_features)."""
        wide = x if x.dtype == torch.float64 else x.float()
        center, rscale = self.maps()
        return self.terms((wide - center.to(wide.dtype)) * rscale.to(wide.dtype)).movedim(-1, -2).to(x.dtype)

    # -- the layout of input and weights, which every kind of layer has its own of ------------------------------------------------

    def as_features(self, x: Tensor) -> Tensor:
        """An input of this layer with its features in the last dimension, where ``low`` and ``high`` are theirs."""
        return x

    def to_edges(self, weight: Tensor) -> Tensor:
        """``weight`` as (columns, in_features, edges of an input)."""
        raise NotImplementedError

    def from_edges(self, edges: Tensor) -> Tensor:
        """The inverse of :meth:`to_edges`."""
        raise NotImplementedError

    def summed(self, constants: Tensor) -> Tensor:
        """A constant for every edge, (in_features, edges of an input), as what it adds to the outputs: like ``bias``."""
        raise NotImplementedError

    # -- the grid -----------------------------------------------------------------------------------------------------------------

    def outside(self, x: Tensor) -> Tensor:
        """The fraction of the inputs ``x`` that are outside their interval: a number from 0 to 1."""
        x = self.as_features(x)
        return ((x < self.low) | (x > self.high)).to(self.low.dtype).mean()

    def refit(self, x: Tensor | None = None, margin: float = 0.0) -> Refit:
        """Move every input's interval to the range of ``x``, or without x to that seen in training, and keep the functions.

        The new coefficients are the nearest to the old functions in the mean square over the new intervals; the constants go to the bias.

        Args:
            x: inputs of this layer.
            margin: added at both ends, as a part of the range.

        Raises:
            SlafError: no x and no range seen, or x is empty or not finite.
        """
        return refit(self, *data_interval(self, x, margin), self.num_terms)

    def refine(self, grid: int | None = None, *, terms: int | None = None, degree: int | None = None) -> Refit:
        """Give the layer another number of terms and keep the functions: up to rounding where the new space contains the old one.

        For splines that is where ``grid`` is a multiple of the old one. ``weight`` becomes a new parameter: make optimizers after this.

        Raises:
            SlafError: the size is not given or not one of this basis.
        """
        return refit(self, self.low.clone(), self.high.clone(), refined_terms(self.basis, grid, terms, degree))

    # -- penalties ----------------------------------------------------------------------------------------------------------------

    def edge_sizes(self, x: Tensor | None = None) -> Tensor:
        """The mean of |f| of every edge over ``x``, or without x over its interval: (in_features, edges of an input)."""
        return edge_sizes(self, x)

    def regularization(self, x: Tensor | None = None, *, l1: float = 1.0, entropy_: float = 1.0, smoothness: float = 0.0) -> Tensor:
        """l1·Σ s + entropy_·(-Σ p log p) + smoothness·(mean of f''²): s the sizes of the edges, p = s/Σ s.

        Source: the first two from Liu et al. (2024), arXiv:2404.19756, section 2.5 [from memory], where s is over the batch x.
        """
        total = self.weight.new_zeros(())
        if l1 or entropy_:
            sizes = edge_sizes(self, x)
            total = total + l1 * sizes.sum() + entropy_ * entropy(sizes)
        return total + smoothness * roughness(self) if smoothness else total

    def _see(self, x: Tensor) -> None:
        """Widen the range seen in training by x of (…, in_features)."""
        if self.training and self.seen_low is not None and self.seen_high is not None and x.numel():
            with torch.no_grad():
                low, high = torch.aminmax(x.reshape(-1, x.shape[-1]), dim=0)
                self.seen_low.copy_(torch.minimum(self.seen_low, low))
                self.seen_high.copy_(torch.maximum(self.seen_high, high))

    def _described(self) -> str:
        size = {"grid": self.grid} if self.grid is not None else {"terms": self.num_terms}
        parts = {"basis": self.basis, **size, "interval": self.interval, "base": self.base_name, "bias": self.bias is not None}
        return ", ".join(f"{k}={v}" for k, v in parts.items())
