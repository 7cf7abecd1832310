"""AFKANLinear: products and sums of shifted activations, reduced to one number for each input, then a linear map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slaf.core import SlafError, Spec, one_of

from .layer import activation_of, checked_size

__all__ = ["COMBINATIONS", "AFKANLinear"]

COMBINATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "quad1": lambda u, v: (u * v).square(),
    "quad2": lambda u, v: u * v + u.square() + v.square(),
    "sum": lambda u, v: u + v,
    "prod": lambda u, v: u * v,
    "sum_prod": lambda u, v: u + v + u * v,
    "cubic1": lambda u, v: (u + v) * (u.square() + v.square()),
    "cubic2": lambda u, v: (u * v) ** 3,
}
"""A from u = ρ(x - s) and v = ρ(e - x)."""
REDUCTIONS = ("global_attention", "spatial_attention", "linear")
SCALINGS = ("batch", "sample")


class AFKANLinear(nn.Module):
    """h = W·ρ(norm(z)), z_d made of the features A_dj = combine(ρ(x_d - s_j), ρ(e_j - x_d)), j = 1 … grid + order, scaled to [0, 1].

    s_j and e_j are learned and shared by all inputs; they start at s_j = j/grid, j = -order … grid - 1, and e_j = s_j + (order + 1)/grid.

    Args:
        in_features, out_features: sizes of the last dimension of input and output.
        grid, order: how many features: grid + order.
        activation: ρ, any elementwise activation.
        combine: one of :data:`COMBINATIONS`.
        reduce: how z_d is made of A_dj. ``"global_attention"``: w_d Σ_j A_dj, w the softmax over the inputs of a linear map of A_d;
            ``"spatial_attention"``: Σ_j w_dj A_dj, w the softmax over j of a depthwise convolution over the inputs; ``"linear"``: a
            linear map of A_d. A softmax has a learned temperature, 1 at least, √in_features at the start.
        norm: ``"layer"`` or ``"batch"`` before the second ρ, or ``None``.
        scale_over: the features are moved to [0, 1] by their least and greatest over the whole ``"batch"``, as published: then what comes
            out for a sample depends on the others, in evaluation too; or over each ``"sample"``. (The division by a norm before it, which
            the authors' code has, cancels.) Where all are equal they become 0.

    Shapes: (…, in_features) → (…, out_features), the dtype of both must be one; with ``norm="batch"`` (batch, in_features).

    Raises:
        SlafError: an argument that is not allowed, or an input that does not fit.

    Source: Ta and Tran (2025), arXiv:2503.06112, and the authors' code for the reductions and the absence of a bias; the numbers in its
    tables are [unconfirmed], which parts matter is [secondary]. Their models use global attention whatever reduction is asked for.

    Example:
        >>> slaf.layers.AFKANLinear(64, 10)(torch.randn(32, 64)).shape
        torch.Size([32, 10])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        grid: int = 3,
        order: int = 3,
        activation: str | Spec | Callable[[Tensor], Tensor] = "silu",
        combine: str = "quad1",
        reduce: str = "global_attention",
        norm: str | None = "layer",
        scale_over: str = "batch",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = {"device": device, "dtype": dtype}
        self.in_features, self.out_features = checked_size("in_features", in_features), checked_size("out_features", out_features)
        self.grid, self.order = checked_size("grid", grid), checked_size("order", order)
        self.activation = activation_of(activation, made)
        self.combine, self.reduce = one_of("combine", combine, COMBINATIONS), one_of("reduce", reduce, REDUCTIONS)
        self.scale_over = one_of("scale_over", scale_over, SCALINGS)
        count = grid + order
        self.start = nn.Parameter(torch.empty(count, **made))
        self.end = nn.Parameter(torch.empty(count, **made))
        attention = self.reduce != "linear"
        self.temperature = nn.Parameter(torch.empty((), **made)) if attention else None
        spatial = reduce == "spatial_attention"
        self.score = nn.Conv1d(count, count, 3, padding=1, groups=count, **made) if spatial else nn.Linear(count, 1, **made)
        norms: dict[str, Callable[[], nn.Module]] = {
            "layer": lambda: nn.LayerNorm(in_features, **made),
            "batch": lambda: nn.BatchNorm1d(in_features, **made),
        }
        self.norm = nn.Identity() if norm is None else norms[one_of("norm", norm, norms)]()
        self.weight = nn.Parameter(torch.empty(out_features, in_features, **made))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The grid, √in_features as temperature, and Kaiming's uniform weights with a = √5."""
        with torch.no_grad():
            self.start.copy_(torch.arange(-self.order, self.grid) / self.grid)
            self.end.copy_(self.start + (self.order + 1) / self.grid)
            if self.temperature is not None:
                self.temperature.fill_(self.in_features**0.5)
            nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        for part in (self.score, self.norm, self.activation):
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()  # type: ignore[operator]

    def features(self, x: Tensor) -> Tensor:
        """A, scaled to [0, 1]: (…, in_features) → (…, in_features, grid + order); of half types in float32 if ρ learns nothing."""
        plain = x.dtype == torch.float64 or any(True for _ in self.activation.parameters())
        wide = (x if plain else x.float())[..., None]
        start, end = self.start.to(wide.dtype), self.end.to(wide.dtype)
        a = COMBINATIONS[self.combine](self.activation(wide - start), self.activation(end - wide))
        dims = tuple(range(a.dim())) if self.scale_over == "batch" else (-2, -1)
        low, high = a.amin(dims, keepdim=True), a.amax(dims, keepdim=True)
        size = high - low
        return ((a - low) / torch.where(size > 0, size, torch.ones_like(size))).to(x.dtype)

    def attention(self, a: Tensor) -> Tensor:
        """w for the features ``a`` (…, in_features, grid + order): (…, in_features, 1), sums over the inputs are 1; or as ``a``, over j."""
        assert self.temperature is not None
        if self.reduce == "global_attention":
            return F.softmax(self.score(a) / self.temperature.clamp(min=1), -2)
        flat = a.reshape(-1, *a.shape[-2:])
        return F.softmax(self.score(flat.mT).mT.reshape(a.shape) / self.temperature.clamp(min=1), -1)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 1 or x.shape[-1] != self.in_features:
            raise SlafError(f"AFKANLinear takes an input of (…, {self.in_features}); got shape {tuple(x.shape)}")
        if not x.numel():
            return F.linear(x, self.weight)  # there is no least and no greatest
        a = self.features(x)
        z = self.score(a)[..., 0] if self.reduce == "linear" else (a * self.attention(a)).sum(-1)
        return F.linear(self.activation(self.norm(z)), self.weight)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, grid={self.grid}, order={self.order}, "
            f"combine={self.combine!r}, reduce={self.reduce!r}, scale_over={self.scale_over!r}"
        )
