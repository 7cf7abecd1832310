"""PolyReLU: a learned polynomial of the rectified input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from slaf.core import Facts, Paper, SlafError

from .family import Family, register

__all__ = ["PolyReLU"]

_PAPER = Paper(
    "Polynomial Composition Activations: Unleashing the Dynamics of Large Language Models",
    "Zhuo et al.",
    2024,
    "arXiv:2411.03884",
    status="read",
)
_SUMMARY = "A learned polynomial of max(0, x)."
MAX_ORDER = 8


class PolyReLU(Family):
    """f(x) = a_0 + Σ_i a_i max(0, x)^i, i = 1 … order; all a_i start at 1/order, a_0 at 0.

    With a = (1, 0, 0) it is ReLU, with (0, 1, 0) squared ReLU.

    Args:
        order: r, 1 to 8; powers over 3 cost range and gain little.
        share, num_channels, groups, num_features, channel_dim: see :class:`slaf.core.Sharing`; the paper shares by layer.
        inplace: refused: backward needs the input.

    ``weight[..., i - 1]`` is a_i; in the authors' code ``weight[0]`` is the coefficient of the highest power.

    Shapes: any input, or one with ``num_channels`` entries at ``channel_dim``; output of the same shape and dtype. Half types compute
    inside in float32.

    Raises:
        SlafError: an argument that is not allowed, or an input that does not fit.

    Source: Zhuo et al. (2024), arXiv:2411.03884.
    """

    name = "polyrelu"
    defaults: ClassVar[Mapping[str, Any]] = {"order": 3}

    def __init__(
        self,
        order: int = 3,
        share: str | None = None,
        *,
        num_channels: int | None = None,
        groups: int | None = None,
        num_features: int | tuple[int, ...] | None = None,
        channel_dim: int = 1,
        inplace: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__({"order": order}, share, num_channels, groups, num_features, channel_dim, inplace)
        if isinstance(order, bool) or not isinstance(order, int) or not 1 <= order <= MAX_ORDER:
            raise SlafError(f"order must be an integer from 1 to {MAX_ORDER}; got {order!r}")
        self.order = order
        self.weight = nn.Parameter(torch.empty(self.sharing.count, order, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(self.sharing.count, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """a_i = 1/order, a_0 = 0."""
        with torch.no_grad():
            self.weight.fill_(1 / self.order)
            self.bias.zero_()

    @property
    def coefficients(self) -> Tensor:
        """a_1 … a_r, (θ, r)."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        a = self.per_element(torch.cat([self.bias[:, None], self.weight], 1).to(dtype), x)
        return _value(torch.relu(x.to(dtype)), a).to(x.dtype)

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """The range on each box: the values at its ends and at the stationary points of the polynomial, widened by the rounding.

        Raises:
            SlafError: ``lower`` exceeds ``upper`` somewhere.
        """
        if bool((lower > upper).any()):
            raise SlafError("lower must not exceed upper anywhere")
        dtype = lower.dtype
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        with torch.no_grad():
            a = self.per_element(torch.cat([self.bias[:, None], self.weight], 1).to(wide), lower)
            ends = [torch.relu(t.to(wide)) for t in (lower, upper)]
            inside = [torch.minimum(torch.maximum(p, ends[0]), ends[1]) for p in self.per_element(self._stationary().to(ends[0]), lower)]
            values = torch.stack([_value(u, a) for u in (*ends, *inside)])
            eps = (4 * self.order + 8) * torch.finfo(wide).eps + (2 * torch.finfo(dtype).eps if dtype != wide else 0)
            slack = eps * _value(ends[1], a.abs()) + torch.finfo(dtype).tiny
            return (values.amin(0) - slack).to(dtype), (values.amax(0) + slack).to(dtype)

    def _stationary(self) -> Tensor:
        """The real parts of the roots of Σ i a_i u^(i - 1) for every θ, (θ, order - 1 or 1)."""
        slopes = self.weight.detach().double().cpu().numpy() * np.arange(1, self.order + 1)
        if not np.isfinite(slopes).all():
            raise SlafError("polyrelu has coefficients that are not finite, so its bounds are not known")
        out = torch.zeros(len(slopes), max(self.order - 1, 1), dtype=torch.float64)
        for i, row in enumerate(slopes):
            roots = np.ascontiguousarray(np.roots(row[::-1]).real)
            out[i, : len(roots)] = torch.from_numpy(roots)
        return out

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """What is claimed: a kink at 0 unless the linear coefficient is 0; nondecreasing where no coefficient is negative."""
        first, rising = (self.weight[:, 0] != 0).all(), (self.weight >= 0).all()
        return self._claims(bool(first), bool(rising))

    @staticmethod
    def _claims(kinked: bool, rising: bool) -> Facts:
        return Facts(
            name="polyrelu",
            paper=_PAPER,
            smoothness=0 if kinked else None,
            kinks=(0.0,) if kinked else None,
            monotone="nondecreasing" if rising else None,
            tags=("learnable", "polynomial"),
            summary=_SUMMARY,
        )

    @staticmethod
    def describe() -> Facts:
        """The claims about the family at its defaults."""
        return PolyReLU._claims(True, True)

    def expression(self, site: int = 0) -> Any:
        """f of channel ``site`` as a sympy expression with float coefficients."""
        import sympy

        u = sympy.Max(sympy.Symbol("x", real=True), 0)
        a = self.of_site(self.weight, site)
        terms = (sympy.Float(c) * u**i for i, c in enumerate(a, 1))
        return sum(terms, sympy.Float(self.of_site(self.bias[:, None], site)[0]))


def _value(u: Tensor, a: Tensor) -> Tensor:
    """Σ_i a[i] u^i by Horner's rule."""
    y = a[len(a) - 1]
    for i in range(len(a) - 2, -1, -1):
        y = torch.addcmul(a[i], y, u)
    return y


register(PolyReLU)
