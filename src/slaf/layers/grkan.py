"""GR-KAN, the Kolmogorov–Arnold layer of KAT: rationals shared by groups of inputs, then a linear map."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import SlafError, make, one_of
from slaf.learnable.rational_presets import PRESETS

__all__ = ["GRKANMLP", "GRKANLinear"]

STARTS = tuple(name.removeprefix("kat_") for name in PRESETS)
NUMERATORS = ("layer", "group")
WEIGHTS = ("variance", "released")


class GRKANLinear(nn.Module):
    """y = W F(x) + b: the activation first, F_g(x) = P(x)/Q_g(x) of degrees (5, 4) for the g-th run of inputs.

    Q_g = 1 + Σ_k |b_gk||x|^k. As released, the numerator P is one for the layer and the denominators are one for each group.

    Args:
        in_features, out_features: sizes of the last dimension of input and output.
        groups: of equally many inputs that follow each other, each with a denominator of its own; a divisor of in_features.
        start: what F is at first, KAT's coefficients: ``"identity"``, ``"swish"``, ``"gelu"``, ``"gelu_old"``, ``"tanh"``, ``"relu"`` or
            ``"sigmoid"``. The authors' own "gelu" is wrong under their own kernel (fitted with one absolute value around the whole
            denominator; F(3) = 1.53), so here it is refitted; their "gelu_old" is right, to 0.0041 on [-3, 3].
        numerator: ``"layer"``: one P, as released; ``"group"``: one for each group.
        weight_init: ``"variance"``: W ~ N(0, 1/(in_features·E[F(z)²])), z ~ N(0, 1), so that outputs have the variance of inputs, as in the
            paper; ``"released"``: a normal distribution of standard deviation 0.02 cut off at ±2, which the authors' code has in its place.
        bias: learn b.

    :func:`slaf.train.param_groups` keeps weight decay away from F, which it would pull towards 0.

    Shapes: (…, in_features) → (…, out_features), dtype kept.

    Raises:
        SlafError: an argument that is not allowed, or an input that does not fit.

    Source: Yang, Wang (2024), Kolmogorov–Arnold Transformer, arXiv:2409.10594; constants and sharing as in the authors' code.

    Example:
        >>> slaf.layers.GRKANLinear(64, 32)(torch.randn(2, 10, 64)).shape
        torch.Size([2, 10, 32])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        groups: int = 8,
        start: str = "swish",
        numerator: str = "layer",
        weight_init: str = "variance",
        bias: bool = True,
        *,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise SlafError(f"{name} must be a positive integer; got {size!r}")
        if not isinstance(groups, int) or groups < 1 or in_features % groups:
            raise SlafError(f"groups must be a positive integer that divides in_features={in_features}; got {groups!r}")
        one_of("start", start, STARTS)
        shared = "" if one_of("numerator", numerator, NUMERATORS) == "group" else ", numerator_share=layer"
        self.weight_init = one_of("weight_init", weight_init, WEIGHTS)
        made = {"device": device, "dtype": dtype}
        self.activation: Any = make(
            f"rational(preset=kat_{start}, share=group, groups={groups}{shared})", num_channels=in_features, channel_dim=-1, **made
        )
        self.linear = nn.Linear(in_features, out_features, bias, **made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """F and W as at the start; b = 0."""
        self.activation.reset_parameters()
        if self.weight_init == "released":
            nn.init.trunc_normal_(self.linear.weight, std=0.02)
        elif not self.linear.weight.is_meta:
            nn.init.normal_(self.linear.weight, std=self.gain() / math.sqrt(self.linear.in_features))
        if self.linear.bias is not None:
            nn.init.zeros_(self.linear.bias)

    def gain(self) -> float:
        """√(1/E[F(z)²]), z ~ N(0, 1), of F as it is now; the mean over the inputs' functions."""
        return 1 / math.sqrt(self.activation.second_moment())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(self.activation(x))
        return y


class GRKANMLP(nn.Module):
    """Two GR-KAN layers in the place of a transformer's MLP: F_1 starts as the identity, F_2 as ``start``; no other nonlinearity.

    Args:
        features, hidden: sizes of the input and output, and in between.
        groups, start, numerator, weight_init: as in :class:`GRKANLinear`, ``start`` of the second layer.
        dropout: after each F.

    Shapes: (…, features) → (…, features).

    Source: as :class:`GRKANLinear`.

    Example:
        >>> slaf.layers.GRKANMLP(64, 128)(torch.randn(2, 10, 64)).shape
        torch.Size([2, 10, 64])
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        groups: int = 8,
        start: str = "swish",
        numerator: str = "layer",
        weight_init: str = "variance",
        dropout: float = 0.0,
        *,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = {"device": device, "dtype": dtype}
        self.first = GRKANLinear(features, hidden, groups, "identity", numerator, weight_init, **made)
        self.second = GRKANLinear(hidden, features, groups, start, numerator, weight_init, **made)
        self.dropout = nn.Dropout(dropout)

    def reset_parameters(self) -> None:
        """Both layers as at the start."""
        self.first.reset_parameters()
        self.second.reset_parameters()

    @classmethod
    @torch.no_grad()
    def from_mlp(cls, first: nn.Linear, second: nn.Linear, start: str = "gelu", groups: int = 8, numerator: str = "layer") -> GRKANMLP:
        """Of a trained MLP ``second(f(first(x)))``, f what ``start`` fits: it computes the same, up to that fit on [-3, 3]."""
        out = cls(first.in_features, first.out_features, groups, start, numerator, device=first.weight.device, dtype=first.weight.dtype)
        if second.in_features != first.out_features or second.out_features != first.in_features:
            sizes = f"{first.in_features} → {first.out_features} and {second.in_features} → {second.out_features}"
            raise SlafError(f"first and second must be the two layers of an MLP that ends with its input's size; got {sizes}")
        for layer, linear in ((out.first, first), (out.second, second)):
            layer.linear.weight.copy_(linear.weight)
            if linear.bias is None:
                nn.init.zeros_(layer.linear.bias)
            else:
                layer.linear.bias.copy_(linear.bias)
        return out

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, self.second):
            x = layer.linear(self.dropout(layer.activation(x)))
        return x
