"""RBFNetwork: radial units in the space of the features, each with its own centre and widths, then a linear map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import SlafError, one_of

from .kan.layer import checked_size

__all__ = ["RADIAL_FUNCTIONS", "RBFNetwork"]

NEAR = 1e-12
"""Below this r² counts as 0 where a root is taken: its slope there is infinite."""
LOG_OFFSET = 1e-9
WENDLAND = 7


def _root(s: Tensor) -> Tensor:
    return s.clamp(min=NEAR).sqrt()


def _wendland(s: Tensor) -> Tensor:
    r = _root(s)
    return (1 - r).clamp(min=0) ** (WENDLAND + 2) * ((WENDLAND + 2) * r + 1)


RADIAL_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian": lambda s: torch.exp(-0.5 * s),
    "multiquadric": lambda s: torch.sqrt(s + 1),
    "inverse_multiquadric": lambda s: torch.rsqrt(s + 1),
    "cubic": lambda s: s * _root(s),
    "thin_plate": lambda s: 0.5 * s * torch.log(s + LOG_OFFSET),
    "wendland": _wendland,
}
"""h of s = r²: exp(-s/2), √(s + 1), 1/√(s + 1), r³, r² ln r, (1 - r)₊⁹ (9r + 1)."""


class RBFNetwork(nn.Module):
    """y = W h + b, h_j = k(r_j), r_j² = Σ_d exp(β_jd)(x_d - c_jd)²: units with learned centres c and log-precisions β in each direction.

    One layer of them reads a learned grid of features about as well as several dense layers with ReLU (``benchmarks/neural_field.py``).

    Args:
        in_features, units, out_features: sizes of the last dimension of the input, of h and of the output.
        kernel: k, one of :data:`RADIAL_FUNCTIONS`.
        bias: whether b is there.

    The centres start within 1e-4 of the origin with precision 1, as published, so that the units hardly differ at first: fine for small
    features that learn too, such as a grid's. For data as it comes call :meth:`place` first.

    Shapes: (…, in_features) → (…, out_features). Half types and autocast compute r and h in float32. As a difference of squares, r² is
    right to about 1e-7 of the largest squared distance, in widths, between a centre or an input and the mean of the centres.

    Raises:
        SlafError: an argument that is not allowed, or an input that does not fit.

    Source: Bouzidi, Laga, Wannous, arXiv:2503.06762, and the authors' code for the start and the kernels (Wendland's exponent, the
    offset 1e-9 in the logarithm; whether that is added to r or r² is [unconfirmed]). Its tables are [unconfirmed] and not repeated here.

    Example:
        >>> slaf.layers.RBFNetwork(16, 64, 3)(torch.randn(32, 16)).shape
        torch.Size([32, 3])
    """

    def __init__(
        self,
        in_features: int,
        units: int,
        out_features: int,
        *,
        kernel: str = "gaussian",
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        made = {"device": device, "dtype": dtype}
        self.in_features, self.units = checked_size("in_features", in_features), checked_size("units", units)
        self.kernel = one_of("kernel", kernel, RADIAL_FUNCTIONS)
        self.center = nn.Parameter(torch.empty(units, in_features, **made))
        self.log_precision = nn.Parameter(torch.empty(units, in_features, **made))
        self.linear = nn.Linear(units, checked_size("out_features", out_features), bias=bias, **made)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Centres within 1e-4 of the origin, precision 1, and the linear map as torch starts it."""
        with torch.no_grad():
            self.center.uniform_(-1e-4, 1e-4)
            self.log_precision.zero_()
        self.linear.reset_parameters()

    def place(self, x: Tensor) -> RBFNetwork:
        """Centres on samples of ``x`` (…, in_features), drawn by torch's generator, as wide as so many units need to cover them; self.

        The width in each direction is four standard deviations of x there over units^(1/in_features), as if the units stood in a grid.

        Raises:
            SlafError: there are fewer samples than units, or x does not fit or is not finite.
        """
        x = self._checked(x.detach()).reshape(-1, self.in_features)
        if len(x) < self.units or not bool(torch.isfinite(x).all()):
            raise SlafError(f"x must hold at least {self.units} finite samples, one for each unit; got {len(x)} or not all finite")
        with torch.no_grad():
            self.center.copy_(x[torch.randperm(len(x), device=x.device)[: self.units]])
            width = 4 * x.float().std(0, correction=0) / self.units ** (1 / self.in_features)
            self.log_precision.copy_(-2 * width.clamp(min=1e-6).log().expand_as(self.log_precision))
        return self

    def squared_distances(self, x: Tensor) -> Tensor:
        """r² (…, units), 0 or more, in float32 or float64: by products of matrices, without a tensor of (…, units, in_features)."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        x, center, precision = x.to(dtype), self.center.to(dtype), self.log_precision.to(dtype).exp()
        origin = center.detach().mean(0)  # r does not depend on it, what the squares cancel does
        x, center = x - origin, center - origin
        pulled = precision * center
        return (x.square() @ precision.mT - 2 * (x @ pulled.mT) + (pulled * center).sum(-1)).clamp(min=0)

    def hidden(self, x: Tensor) -> Tensor:
        """h, (…, units), in the dtype of r."""
        x = self._checked(x)
        if not torch.is_autocast_enabled(x.device.type):
            return RADIAL_FUNCTIONS[self.kernel](self.squared_distances(x))
        with torch.autocast(x.device.type, enabled=False):  # squares of half precision leave nothing of a small distance
            return RADIAL_FUNCTIONS[self.kernel](self.squared_distances(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.hidden(x).to(x.dtype))

    def _checked(self, x: Tensor) -> Tensor:
        if x.dim() < 1 or x.shape[-1] != self.in_features:
            raise SlafError(f"RBFNetwork takes an input of (…, {self.in_features}); got shape {tuple(x.shape)}")
        return x

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, units={self.units}, kernel={self.kernel!r}"
