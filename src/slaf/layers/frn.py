"""Filter response normalisation with its thresholded linear unit, which needs neither the batch nor a mean."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from slaf.core import Facts, Paper, SlafError, activations

from ._layer import SampleLayer, number, wide

__all__ = ["FRN"]


class FRN(SampleLayer):
    """y = max(γ x/√(ν² + |eps|) + β, τ), ν² the mean of x² over the places of a channel in one sample; γ from 1, β and τ from 0.

    Args:
        eps: added to ν².
        learn_eps: learn eps, per channel, from the given one; for few places, as in (batch, channels), where the quotient is nearly a sign.
        affine: learn γ and β; τ is learned always.
        num_channels: size of ``channel_dim``; required.
        channel_dim: the channel dimension of the input; dimension 0 is the batch.
        inplace: refused: backward needs the input.

    Shapes: input of two dimensions or more, ``num_channels`` entries at ``channel_dim``; output of the same shape and dtype. Half types
    are computed in float32. Training and evaluation are the same, whatever the batch.

    Raises:
        SlafError: an argument that is not allowed, or an input that does not fit.

    Source: Singh, Krishnan (2020), arXiv:1911.09737 [from memory].

    Example:
        >>> slaf.make("frn", num_channels=64)
        frn(num_channels=64)
    """

    name = "frn"
    mixes = "sample"
    scale_invariant = True
    _facts = Facts(
        name=name,
        paper=Paper(
            "Filter Response Normalization Layer: Eliminating Batch Dependence in the Training of Deep Neural Networks",
            "Singh, Krishnan",
            2020,
            "arXiv:1911.09737",
        ),
        tags=("normalization", "learnable"),
        summary="x over its root mean square in a sample's channel, then max with a learned threshold.",
    )
    _defaults: ClassVar[dict[str, Any]] = {"eps": 1e-6, "learn_eps": False, "affine": True}

    def __init__(
        self,
        eps: float = 1e-6,
        learn_eps: bool = False,
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
        if not isinstance(learn_eps, bool):
            raise SlafError(f"learn_eps must be true or false; got {learn_eps!r}")
        self.start = number("eps", eps, 0.0)
        self.threshold = nn.Parameter(torch.empty(self.sharing.sites, **made))
        self.eps = nn.Parameter(torch.empty(self.sharing.sites, **made)) if learn_eps else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """γ = 1, β = τ = 0, eps as given."""
        super().reset_parameters()
        with torch.no_grad():
            self.threshold.zero_()
            if self.eps is not None:
                self.eps.fill_(self.start)

    def _given(self) -> dict[str, Any]:
        return {"eps": self.start, "learn_eps": self.eps is not None, "affine": self.weight is not None}

    def _evaluated(self, x: Tensor) -> Tensor:
        z = wide(x)
        square = z.square().mean(list(range(2, z.dim())), keepdim=True) if z.dim() > 2 else z.square()
        eps = self.start if self.eps is None else self._by_channel(self.eps, z).abs()
        y = self._affine(z * (square + eps).rsqrt(), self.weight, self.bias)
        return torch.maximum(y, self._by_channel(self.threshold, z)).to(x.dtype)


activations.register(FRN.name, FRN)
