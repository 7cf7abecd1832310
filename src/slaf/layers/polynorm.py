"""PolyNorm: a learned combination of normalised powers of the hidden vector."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slaf.core import Facts, Paper, SlafError, activations
from slaf.kernels import Recurrence
from slaf.kernels.normalized import measure, normalized
from slaf.kernels.power_norm import power_norm

from ._layer import Layer, number

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
LEAST = 32
"""Hidden sizes from which on the kernels' rows are worth it."""

Array = NDArray[np.float64]
_POWER = Recurrence((1.0,), (0.0,))


class PolyNorm(Layer):
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
    _facts = _FACTS
    _defaults: ClassVar[dict[str, Any]] = {"order": 3, "eps": 1e-6, "normalized_dim": -1}

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
        if isinstance(normalized_dim, bool) or not isinstance(normalized_dim, int):
            raise SlafError(f"normalized_dim must be an integer; got {normalized_dim!r}")
        self.order, self.eps, self.normalized_dim = order, number("eps", eps, 0.0), normalized_dim
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

    def _given(self) -> dict[str, Any]:
        return {"order": self.order, "eps": self.eps, "normalized_dim": self.normalized_dim}

    def forward(self, x: Tensor) -> Tensor:
        dim = self.normalized_dim
        if not -x.dim() <= dim < x.dim():
            raise SlafError(f"input of shape {tuple(x.shape)} has no normalized_dim={dim}")
        y = self._fused(x.movedim(dim, -1))
        return self._defined(x, self.weight, self.bias, dim) if y is None else y.movedim(-1, dim)

    def _fused(self, x: Tensor) -> Tensor | None:
        """y by the native kernels for the hidden dimension at the end; ``None`` where the definition must run."""
        if torch.compiler.is_compiling() or x.dim() < 2 or x.shape[-1] < LEAST or not x.is_contiguous():
            return None
        rows = x.reshape(-1, x.shape[-1])
        y = power_norm(rows, self.weight, self.bias, self.eps, self._defined)
        if y is not None:
            return y.reshape(x.shape)
        zero, one = (rows.new_full((len(rows),), v, dtype=torch.float64) for v in (0.0, 1.0))
        measured = measure(rows, 2 * self.order, (len(rows), 1), zero, one, _POWER, self.order)
        if measured is None or not bool(torch.isfinite(measured.t).all()):  # a power overflows
            return None
        return normalized(rows, measured, _Fold(self.order, self.eps), self.weight, self.bias).reshape(x.shape)

    def _defined(self, x: Tensor, weight: Tensor, bias: Tensor, dim: int = -1) -> Tensor:
        wide = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
        # N(x^i) does not change when x is divided by a number and eps by its power, so the divisor is a constant in derivatives
        size = (wide.detach().abs().amax(dim, keepdim=True) if x.shape[dim] else wide.detach().new_ones(())).clamp(min=1)
        u, shrunk = wide / size, size.square().reciprocal()
        y, power, eps = bias.to(wide.dtype), u, self.eps * shrunk
        for i in range(self.order):
            y = y + weight[i].to(wide.dtype) * power * (power.square().mean(dim, keepdim=True) + eps).rsqrt()
            power, eps = power * u, eps * shrunk
        return y.to(x.dtype)


class _Fold:
    """From the means t_j of x^j to the coefficients a_i/√(t_2i + eps) of a token's polynomial, see :mod:`slaf.kernels.normalized`."""

    def __init__(self, order: int, eps: float) -> None:
        self.at, self.eps = slice(1, 2 * order, 2), eps

    def __call__(self, t: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, None, None]:
        rms = (t[:, self.at] + self.eps).rsqrt()
        return torch.cat([bias.to(t.dtype).expand(len(t), 1), weight.to(t.dtype) * rms], 1), None, None

    def values(self, t: Array, weight: Array, bias: Array) -> tuple[Array, None, None]:
        self.t, self.weight, self.rms = t, weight, (t[:, self.at] + self.eps) ** -0.5
        return np.concatenate([np.broadcast_to(bias, (len(t), 1)), weight * self.rms], 1), None, None

    def adjoint(self, gc: Array, gcenter: Array | None, grscale: Array | None) -> tuple[Array, Array, Array]:  # noqa: ARG002
        gt = np.zeros_like(self.t)
        gt[:, self.at] = -0.5 * self.rms**3 * self.weight * gc[:, 1:]
        return gt, (gc[:, 1:] * self.rms).sum(0), gc[:, :1].sum(0)


activations.register(PolyNorm.name, PolyNorm)
