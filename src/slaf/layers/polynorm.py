"""PolyNorm: a learned combination of normalised powers of the hidden vector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import Facts, NormActivation, Paper, SlafError, activations

__all__ = ["PolyNorm"]

_FACTS = Facts(
    name="polynorm",
    paper=Paper(
        "Polynomial Composition Activations: Unleashing the Dynamics of Large Language Models",
        "Zhuo et al.",
        2024,
        "arXiv:2411.03884",
        status="read",
    ),
    tags=("normalization", "learnable"),
    summary="A learned combination of the hidden vector's powers, each divided by its root mean square.",
)
MAX_ORDER = 8


class PolyNorm(NormActivation):
    """y = a_0 + Σ_i a_i N(x^i), i = 1 … order, N(u) = u/√(mean_j u_j² + eps) over dimension ``normalized_dim``.

    All a_i start at 1/order and a_0 at 0; they are single numbers for the whole layer. x and c·x, c > 0, give the same up to eps.

    Args:
        order: r, 1 to 8.
        eps: added to the mean square of each power.
        normalized_dim: the hidden dimension; -1 for tokens, 1 for images.
        inplace: refused: backward needs the input.

    ``weight[i - 1]`` is a_i; in the authors' code ``weight[0]`` is the coefficient of the highest power, so ``weight.flip(0)`` converts.
    The whole hidden dimension must be on one device: over shards of it the mean would be another one.

    Shapes: any input that has ``normalized_dim``; output of the same shape and dtype. Half types compute inside in float32; powers are
    taken of the vector divided by its largest entry if that exceeds 1, so no power overflows.

    Raises:
        SlafError: an argument that is not allowed, or an input without ``normalized_dim``.

    Source: Zhuo et al. (2024), arXiv:2411.03884; the norm (root mean square, eps 1e-6) from the authors' code.

    Example:
        >>> slaf.make("polynorm")(torch.randn(2, 10, 64)).shape
        torch.Size([2, 10, 64])
    """

    name = "polynorm"
    scale_invariant = True

    def __init__(
        self,
        order: int = 3,
        eps: float = 1e-6,
        normalized_dim: int = -1,
        *,
        inplace: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.refuse_inplace(inplace)
        if isinstance(order, bool) or not isinstance(order, int) or not 1 <= order <= MAX_ORDER:
            raise SlafError(f"order must be an integer from 1 to {MAX_ORDER}; got {order!r}")
        if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 < eps < float("inf"):
            raise SlafError(f"eps must be a positive number; got {eps!r}")
        if isinstance(normalized_dim, bool) or not isinstance(normalized_dim, int):
            raise SlafError(f"normalized_dim must be an integer; got {normalized_dim!r}")
        self.order, self.eps, self.normalized_dim = order, float(eps), normalized_dim
        self.weight = nn.Parameter(torch.empty(order, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(1, device=device, dtype=dtype))
        self.reset_parameters()

    @property
    def mixes(self) -> str:  # type: ignore[override]
        """``"token"`` for the last dimension, ``"batch"`` for the first, ``"sample"`` otherwise."""
        return {-1: "token", 0: "batch"}.get(self.normalized_dim, "sample")

    def reset_parameters(self) -> None:
        """a_i = 1/order, a_0 = 0."""
        with torch.no_grad():
            self.weight.fill_(1 / self.order)
            self.bias.zero_()

    def config(self) -> dict[str, Any]:
        given = {"order": self.order, "eps": self.eps, "normalized_dim": self.normalized_dim}
        defaults = {"order": 3, "eps": 1e-6, "normalized_dim": -1}
        return {k: v for k, v in given.items() if v != defaults[k]}

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """Name and source; a module that mixes elements has no facts of a scalar function."""
        return _FACTS

    @staticmethod
    def describe() -> Facts:
        """The facts of the family, without an instance."""
        return _FACTS

    def forward(self, x: Tensor) -> Tensor:
        dim = self.normalized_dim
        if not -x.dim() <= dim < x.dim():
            raise SlafError(f"input of shape {tuple(x.shape)} has no normalized_dim={dim}")
        wide = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
        # N(x^i) does not change when x is divided by a number and eps by its power, so the divisor is a constant in derivatives
        size = (wide.detach().abs().amax(dim, keepdim=True) if x.shape[dim] else wide.detach().new_ones(())).clamp(min=1)
        u, shrunk = wide / size, size.square().reciprocal()
        y, power, eps = self.bias.to(wide.dtype), u, self.eps * shrunk
        for i in range(self.order):
            y = y + self.weight[i].to(wide.dtype) * power * (power.square().mean(dim, keepdim=True) + eps).rsqrt()
            power, eps = power * u, eps * shrunk
        return y.to(x.dtype)


activations.register(PolyNorm.name, PolyNorm)
