"""Root mean square normalisation over the channels followed by any activation, as one object."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from slaf.core import Facts, Paper, Spec, activations

from ._layer import Followed, SampleLayer, number, wide

__all__ = ["RMSNormActivation"]


class RMSNormActivation(Followed, SampleLayer):
    """f(γ x/√(mean of x² over the channels + eps) + β), of every place of every sample; γ from 1, β from 0.

    Args:
        activation: f, any activation string; learnable ones get ``num_channels``.
        eps: added to the mean square.
        affine: learn γ and β.
        num_channels: size of ``channel_dim``; required.
        channel_dim: the channel dimension of the input, -1 for tokens; dimension 0 is the batch.
        inplace: refused: backward needs the input.

    Shapes: input of two dimensions or more, ``num_channels`` entries at ``channel_dim``; output of the same shape and dtype. Half types
    are computed in float32.

    Raises:
        SlafError: an argument that is not allowed, or an input that does not fit.

    Source: the norm is Zhang, Sennrich (2019), arXiv:1910.07467 [from memory], which has no β.

    Example:
        >>> slaf.make("rms_norm(gelu)", num_channels=64)
        rms_norm(gelu, num_channels=64)
    """

    name = "rms_norm"
    scale_invariant = True
    _facts = Facts(
        name=name,
        paper=Paper("Root Mean Square Layer Normalization", "Zhang, Sennrich", 2019, "arXiv:1910.07467"),
        tags=("normalization", "learnable"),
        summary="x over the root mean square of its channels, then any activation.",
    )
    _defaults: ClassVar[dict[str, Any]] = {"eps": 1e-6, "affine": True}

    def __init__(
        self,
        activation: str | Spec = "silu",
        eps: float = 1e-6,
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
        self.eps = number("eps", eps, 0.0)
        self._follow(activation, 1, made)  # which sees the channels at dimension 1
        self.reset_parameters()

    @property
    def mixes(self) -> str:  # type: ignore[override]
        """``"token"`` for the last dimension, ``"sample"`` otherwise."""
        return "token" if self.sharing.channel_dim == -1 else "sample"

    def _given(self) -> dict[str, Any]:
        return {"eps": self.eps, "affine": self.weight is not None}

    def _evaluated(self, x: Tensor) -> Tensor:
        z = wide(x)
        y = z * (z.square().mean(1, keepdim=True) + self.eps).rsqrt()
        return self.activation(self._affine(y, self.weight, self.bias).to(x.dtype))


activations.register(RMSNormActivation.name, RMSNormActivation)
