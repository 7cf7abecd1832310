"""Batch normalisation followed by any activation, as one object, so that a study can compare "batch norm + ReLU" with others."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from slaf.core import Facts, Paper, Ranks, SlafError, Spec, activations

from ._layer import Followed, number
from ._statistics import RunningStatistics

__all__ = ["BatchNormActivation"]

_FACTS = Facts(
    name="batch_norm",
    paper=Paper(
        "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
        "Ioffe, Szegedy",
        2015,
        "arXiv:1502.03167",
    ),
    tags=("normalization", "learnable"),
    summary="Batch normalisation over the channels, then any activation.",
)


class BatchNormActivation(RunningStatistics, Followed):
    """f(γ (x - mean) / √(var + eps) + β): batch statistics in training, running ones in evaluation.

    Args:
        activation: f, any activation string; learnable ones get ``num_channels``.
        eps: added to the variance.
        momentum: the weight of the newest batch in the running statistics.
        affine: learn γ and β, per channel.
        num_channels: size of ``channel_dim``; required.
        channel_dim: the channel dimension of the input.
        inplace: refused: backward needs the input.

    Shapes: input of any rank with ``num_channels`` entries at ``channel_dim``; output of the same shape and dtype. Half types are
    computed in float32, and the running statistics stay float32 under ``.half()``.

    Raises:
        SlafError: a size that does not fit, or fewer than two values per channel in training (of which every rank has one, see
            :func:`slaf.train.synchronize`).

    Source: Ioffe, Szegedy (2015), arXiv:1502.03167 [from memory].

    Example:
        >>> slaf.make("batch_norm(relu)", num_channels=64)
        batch_norm(relu, num_channels=64)
    """

    name = "batch_norm"
    scale_invariant = True
    _facts = _FACTS
    _defaults: ClassVar[dict[str, Any]] = {"eps": 1e-5, "momentum": 0.1, "affine": True}

    def __init__(
        self,
        activation: str | Spec = "relu",
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        *,
        num_channels: int | None = None,
        channel_dim: int = 1,
        inplace: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        made = {"device": device, "dtype": dtype}
        super().__init__(affine, num_channels, channel_dim, inplace, made)
        channels = self.sharing.sites
        self.eps, self.momentum = number("eps", eps, low=0.0), number("momentum", momentum, low=0.0, high=1.0)
        self._follow(activation, channel_dim, made)
        self._keep("running_mean", "running_var", size=channels, **made)
        self.reset_parameters()

    running_mean: Tensor
    running_var: Tensor

    def take_over(self, norm: Any) -> None:
        super().take_over(norm)
        with torch.no_grad():
            for own, other in ((self.weight, norm.weight), (self.bias, norm.bias)):  # they scale what goes into f, as the norm's do
                if own is not None and other is not None:
                    own.copy_(other)

    def _given(self) -> dict[str, Any]:
        return {"eps": self.eps, "momentum": self.momentum, "affine": self.weight is not None}

    def forward(self, x: Tensor) -> Tensor:
        self.sharing.shape(x, self.sharing.sites)  # raises where x does not fit
        least = "two values" if self.ranks is None else "one value on every rank"
        if self.training and x.numel() < (2 if self.ranks is None else 1) * self.sharing.sites:
            raise SlafError(f"batch_norm needs {least} or more per channel in training; got an input of shape {tuple(x.shape)}")
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        z = x.movedim(self.sharing.channel_dim, 1) if x.dim() > 1 else x[None]
        weight, bias = (None if p is None else p.to(dtype) for p in (self.weight, self.bias))
        mean, var = self.running_mean.to(dtype), self.running_var.to(dtype)
        if self.training and self.ranks is not None:
            z = self._by_all_ranks(self.ranks, z.to(dtype), mean, var, weight, bias).to(x.dtype)
        else:
            z = F.batch_norm(z.to(dtype), mean, var, weight, bias, self.training, self.momentum, self.eps).to(x.dtype)
        if self.training and mean is not self.running_mean:  # the update went to a copy of another precision
            self.running_mean.copy_(mean)
            self.running_var.copy_(var)
        return self.activation(z.movedim(1, self.sharing.channel_dim) if x.dim() > 1 else z[0])

    def _by_all_ranks(
        self, ranks: Ranks, z: Tensor, running_mean: Tensor, running_var: Tensor, weight: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        """What F.batch_norm does in training, by the statistics of all ranks; as there, the running variance is the unbiased one."""
        shape = (1, -1) + (1,) * (z.dim() - 2)
        var, mean = torch.var_mean(z, [d for d in range(z.dim()) if d != 1], correction=0)
        count, mean, var = ranks.mean_and_var(z.numel() // len(mean), mean, var)
        with torch.no_grad():
            running_mean.lerp_(mean, self.momentum)
            running_var.lerp_((var * (count / (count - 1))).to(var.dtype), self.momentum)
        scale = (var + self.eps).rsqrt()
        out = (z - mean.reshape(shape)) * (scale if weight is None else weight * scale).reshape(shape)
        return out if bias is None else out + bias.reshape(shape)


activations.register(BatchNormActivation.name, BatchNormActivation)
