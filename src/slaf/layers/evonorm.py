"""The EvoNorm layers: normalisation and activation as one expression, found by evolution."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from slaf.core import Facts, Paper, SlafError, activations
from slaf.kernels.norm_act import gate_norm, quotient_norm

from ._layer import SampleLayer, number, wide
from ._statistics import RunningStatistics

LEAST = 256
"""Elements of a channel of a sample from which on a kernel beats a compiler."""

__all__ = ["EvoNorm", "EvoNormB0", "EvoNormB1", "EvoNormB2", "EvoNormS0", "EvoNormS1", "EvoNormS2"]

_PAPER = Paper("Evolving Normalization-Activation Layers", "Liu, Brock, Simonyan, Le", 2020, "arXiv:2004.02967")


def _described(name: str, summary: str) -> Facts:
    return Facts(name=name, paper=_PAPER, tags=("normalization", "learnable"), summary=summary)


class EvoNorm(SampleLayer):
    """What the six have in common: γ and β per channel, v per channel in two of them, float32 inside for half types.

    Arguments that all take:
        eps: added to variances and second moments before the root.
        affine: learn γ (from 1) and β (from 0).
        num_channels: size of ``channel_dim``; required.
        channel_dim: the channel dimension of the input; dimension 0 is the batch.
        inplace: refused: backward needs the input.

    No activation follows an EvoNorm, and the input is not centred.

    Shapes: input of two dimensions or more, ``num_channels`` entries at ``channel_dim``; output of the same shape and dtype.

    Raises:
        SlafError: an argument that is not allowed, or an input that does not fit.

    Source: Liu, Brock, Simonyan, Le (2020), arXiv:2004.02967 [from memory]; equations and constants as in the authors' code.
    """

    learns_v = False
    _defaults: ClassVar[dict[str, Any]] = {"eps": 1e-5, "affine": True, "groups": 32, "momentum": 0.1}

    def __init__(self, eps: float, affine: bool, num_channels: int | None, channel_dim: int, inplace: bool, made: dict[str, Any]) -> None:
        super().__init__(affine, num_channels, channel_dim, inplace, made)
        self.eps = number("eps", eps, 0.0)
        self.v = nn.Parameter(torch.empty(self.sharing.sites, **made)) if self.learns_v else None

    def has_kernel(self, x: Tensor) -> bool:
        """For channels of enough elements: the kernels work on each of them by itself."""
        return math.prod(x.shape[2:]) >= LEAST

    def reset_parameters(self) -> None:
        """γ = 1, β = 0, v = 1."""
        super().reset_parameters()
        with torch.no_grad():
            if self.v is not None:
                self.v.fill_(1)

    def _given(self) -> dict[str, Any]:
        return {"eps": self.eps, "affine": self.weight is not None}

    def _of_sample(self, z: Tensor, groups: int, raw: bool) -> Tensor:
        """√(s² + eps), or √(m² + eps) if ``raw``, of every sample's groups of channels: (batch, channels, 1, …)."""
        channels, places = z.shape[1], math.prod(z.shape[2:])
        parts = z.reshape(z.shape[0], groups, channels // groups * places)
        if not raw:
            parts = parts - parts.mean(2, keepdim=True)
        root = (parts.square().mean(2, keepdim=True) + self.eps).sqrt()
        return root.expand(-1, -1, channels // groups).reshape(-1, channels, *(1,) * (z.dim() - 2))


class _Sample(EvoNorm):
    """γ·x·σ(v x)/√(s² + eps) + β, s² of a group of channels of one sample; the same in training and evaluation, whatever the batch.

    Args:
        groups: of channels; lowered to the next divisor of ``num_channels``, as the authors' code does.

    One channel a group and one place, as in (batch, channels), have variance 0 and give x·σ(v x)/√eps: take fewer groups there.
    """

    mixes = "sample"
    scale_invariant = False
    raw = False

    def __init__(
        self,
        groups: int = 32,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        num_channels: int | None = None,
        channel_dim: int = 1,
        inplace: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(eps, affine, num_channels, channel_dim, inplace, {"device": device, "dtype": dtype})
        if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
            raise SlafError(f"groups must be a positive integer; got {groups!r}")
        self.groups = groups
        self.reset_parameters()

    def _given(self) -> dict[str, Any]:
        return super()._given() | {"groups": self.groups}

    @property
    def groups_used(self) -> int:
        """The largest divisor of ``num_channels`` up to ``groups``."""
        channels = self.sharing.sites
        return next(g for g in range(min(self.groups, channels), 0, -1) if channels % g == 0)

    def _evaluated(self, x: Tensor) -> Tensor:
        given = self.weight, self.v, self.bias
        y = gate_norm(x, *given, self.groups_used, self.raw, self.eps, self._defined)
        return self._defined(x, *given) if y is None else y

    def _defined(self, x: Tensor, weight: Tensor | None, v: Tensor | None, bias: Tensor | None) -> Tensor:
        z = wide(x)
        gate = z if v is None else z * self._by_channel(v, z)
        return self._affine(z * torch.sigmoid(gate) / self._of_sample(z, self.groups_used, self.raw), weight, bias).to(x.dtype)


class _Batch(RunningStatistics, EvoNorm):
    """γ·x/max(√(s²_batch + eps), r(x)) + β: s² of a channel over the batch in training, its running mean in evaluation.

    Args:
        momentum: the weight of the newest batch in the running variance; ``None``: all batches count alike, as in nn.BatchNorm2d.

    Variances are biased, also the running one, as in the authors' code. They stay float32 under ``.half()``, and are those of all
    ranks after :func:`slaf.train.synchronize`; a sample's own are its own.
    """

    mixes = "batch"

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        *,
        num_channels: int | None = None,
        channel_dim: int = 1,
        inplace: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(eps, affine, num_channels, channel_dim, inplace, {"device": device, "dtype": dtype})
        self.momentum = None if momentum is None else number("momentum", momentum, 0.0, 1.0)
        self._keep("running_var", "num_batches_tracked", size=self.sharing.sites, device=device, dtype=dtype)
        self.reset_parameters()

    running_var: Tensor
    num_batches_tracked: Tensor

    def _given(self) -> dict[str, Any]:
        return super()._given() | {"momentum": self.momentum}

    def _evaluated(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == 0:
            raise SlafError(f"an empty batch of shape {tuple(x.shape)} has no statistics to train {self.name} with")
        given, kept = (self.weight, self.v, self.bias), None if self.training else self.running_var
        found = None
        if self.ranks is None or not self.training:
            found = quotient_norm(x, *given, self.name[-2:], self.eps, kept, self._defined)
        if found is None:
            z = wide(x)  # once: the gradients of two casts would be rounded before they are added
            var = self._batch_variance(z) if kept is None else kept
            y = self._defined(z, *given, var).to(x.dtype)
        else:
            y, var = found
        if self.training:
            self._count(var)
        return y

    def _defined(self, x: Tensor, weight: Tensor | None, v: Tensor | None, bias: Tensor | None, var: Tensor | None) -> Tensor:
        """y from s²; ``None``: the batch's own."""
        z = wide(x)
        left = (self._by_channel(self._batch_variance(z) if var is None else var, z) + self.eps).sqrt()
        return self._affine(z / torch.maximum(left, self._own(z, v)), weight, bias).to(x.dtype)

    def _own(self, z: Tensor, v: Tensor | None) -> Tensor:
        """r(x), of the sample alone."""
        raise NotImplementedError

    def _batch_variance(self, z: Tensor) -> Tensor:
        """Of each channel over the batch, (channels,), differentiable."""
        dims = [d for d in range(z.dim()) if d != 1]
        mean = z.mean(dims, keepdim=True)
        var = (z - mean).square().mean(dims)
        if self.ranks is not None:
            _, _, var = self.ranks.mean_and_var(z.numel() // z.shape[1], mean.reshape(-1), var)
        return var

    def _count(self, var: Tensor) -> None:
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            kept = self.running_var
            weight = (1 / self.num_batches_tracked).to(kept.dtype) if self.momentum is None else self.momentum
            kept.lerp_(var.to(kept.dtype), weight)


class EvoNormS0(_Sample):
    """y = γ·x·σ(v x)/√(s² + eps) + β, v from 1; s²: see :class:`_Sample`, which has the arguments.

    Example:
        >>> slaf.make("evonorm_s0(groups=8)", num_channels=64)
        evonorm_s0(groups=8, num_channels=64)
    """

    name = "evonorm_s0"
    learns_v = True
    _facts = _described(name, "x·σ(v x) over the standard deviation of the sample's group of channels, v learned.")


class EvoNormS1(_Sample):
    """y = γ·x·σ(x)/√(s² + eps) + β, as :class:`EvoNormS0` with v = 1."""

    name = "evonorm_s1"
    _facts = _described(name, "SiLU over the standard deviation of the sample's group of channels.")


class EvoNormS2(_Sample):
    """y = γ·x·σ(x)/√(m² + eps) + β, as :class:`EvoNormS1` with the mean of squares in place of the variance."""

    name = "evonorm_s2"
    raw = True
    _facts = _described(name, "SiLU over the root mean square of the sample's group of channels.")


class EvoNormB0(_Batch):
    """r(x) = v x + √(s²_sample + eps), v from 1, in :class:`_Batch`, which has the arguments."""

    name = "evonorm_b0"
    scale_invariant = True
    learns_v = True
    _facts = _described(name, "x/max(σ_batch, v x + σ_sample), v learned.")

    def _own(self, z: Tensor, v: Tensor | None) -> Tensor:
        assert v is not None
        return self._by_channel(v, z) * z + self._of_sample(z, z.shape[1], raw=False)


class EvoNormB1(_Batch):
    """r(x) = (x + 1)·√(m²_sample + eps) in :class:`_Batch`, which has the arguments."""

    name = "evonorm_b1"
    scale_invariant = False
    _facts = _described(name, "x/max(σ_batch, (x + 1)·rms_sample).")

    def _own(self, z: Tensor, v: Tensor | None) -> Tensor:  # noqa: ARG002 - of b0
        return (z + 1) * self._of_sample(z, z.shape[1], raw=True)


class EvoNormB2(_Batch):
    """r(x) = √(m²_sample + eps) - x in :class:`_Batch`, which has the arguments."""

    name = "evonorm_b2"
    scale_invariant = True
    _facts = _described(name, "x/max(σ_batch, rms_sample - x).")

    def _own(self, z: Tensor, v: Tensor | None) -> Tensor:  # noqa: ARG002 - of b0
        return self._of_sample(z, z.shape[1], raw=True) - z


for _layer in (EvoNormB0, EvoNormB1, EvoNormB2, EvoNormS0, EvoNormS1, EvoNormS2):
    activations.register(_layer.name, _layer)
