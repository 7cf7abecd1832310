"""What the layers that normalise and activate have in common: their facts, the sizes of their channels, and checks of arguments."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from slaf.core import Facts, NormActivation, Sharing, SlafError, Spec, make, parse
from slaf.kernels.compiled import ByKernel, compiled
from slaf.kernels.dispatch import dense

__all__ = ["ChannelLayer", "Followed", "Layer", "SampleLayer", "number", "wide"]


def number(argument: str, value: object, above: float = -math.inf, high: float = math.inf, low: float = -math.inf) -> float:
    """``value`` as a float, if it is a finite number in (above, high] and not below ``low``."""
    fits = not isinstance(value, bool) and isinstance(value, (int, float)) and above < value <= high and low <= value and value != math.inf
    if not fits:
        least = f"from {low:g}" if low > above else f"above {above:g}"
        raise SlafError(f"{argument} must be a number {least}{'' if high == math.inf else f' and up to {high:g}'}; got {value!r}")
    return float(value)  # type: ignore[arg-type]


def wide(x: Tensor) -> Tensor:
    """In float32, or float64 as it is."""
    return x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)


class Layer(NormActivation):
    """A layer of one family: ``_facts`` has name and source, ``_defaults`` what ``config`` leaves out."""

    _facts: ClassVar[Facts]
    _defaults: ClassVar[dict[str, Any]]

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """Name and source; a module that mixes elements has no facts of a scalar function."""
        return self._facts

    @classmethod
    def describe(cls) -> Facts:
        """The facts of the family, without an instance."""
        return cls._facts

    def _given(self) -> dict[str, Any]:
        """The arguments with their values."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        return {k: v for k, v in self._given().items() if k not in self._defaults or v != self._defaults[k]}


class ChannelLayer(Layer):
    """γ and β per channel (``affine``), of ``num_channels`` channels at ``channel_dim``."""

    def __init__(self, affine: bool, num_channels: int | None, channel_dim: int, inplace: bool, made: dict[str, Any]) -> None:
        super().__init__()
        self.refuse_inplace(inplace)
        if num_channels is None:
            raise SlafError(f"{self.name} needs num_channels, the size of dimension channel_dim")
        self.sharing = Sharing("channel", num_channels, channel_dim=channel_dim)
        if not isinstance(affine, bool):
            raise SlafError(f"affine must be true or false; got {affine!r}")
        self.weight, self.bias = (nn.Parameter(torch.empty(num_channels, **made)) if affine else None for _ in range(2))

    def reset_parameters(self) -> None:
        """γ = 1, β = 0."""
        with torch.no_grad():
            if self.weight is not None and self.bias is not None:
                self.weight.fill_(1)
                self.bias.zero_()

    def config(self) -> dict[str, Any]:
        return super().config() | {k: v for k, v in self.sharing.config().items() if k != "share"}


class SampleLayer(ByKernel, ChannelLayer):
    """One whose dimension 0 is the batch, for inputs of two dimensions or more; ``_evaluated`` sees the channels at dimension 1."""

    def __init__(self, affine: bool, num_channels: int | None, channel_dim: int, inplace: bool, made: dict[str, Any]) -> None:
        super().__init__(affine, num_channels, channel_dim, inplace, made)
        if channel_dim == 0:
            raise SlafError(f"channel_dim of {self.name} cannot be 0, the batch; got 0")

    def has_kernel(self, x: Tensor) -> bool:  # noqa: ARG002
        return False

    @compiled
    def forward(self, x: Tensor) -> Tensor:
        self.sharing.shape(x, self.sharing.sites)  # raises where x does not fit
        dim = self.sharing.channel_dim % x.dim()
        if x.dim() < 2 or dim == 0:
            raise SlafError(f"{self.name} takes an input of two dimensions or more, the first one the batch; got {tuple(x.shape)}")
        return self._evaluated(dense(x).movedim(dim, 1)).movedim(1, dim)

    def _evaluated(self, x: Tensor) -> Tensor:
        """y for channels at dimension 1."""
        raise NotImplementedError

    def _affine(self, y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return y if weight is None or bias is None else y * self._by_channel(weight, y) + self._by_channel(bias, y)

    def _by_channel(self, theta: Tensor, z: Tensor) -> Tensor:
        return theta.to(z.dtype).reshape(1, -1, *(1,) * (z.dim() - 2))


class Followed(ChannelLayer):
    """A normalisation that any activation follows: the first argument of its string."""

    activation: nn.Module

    def _follow(self, activation: str | Spec, channel_dim: int, made: dict[str, Any]) -> None:
        inner = activation if isinstance(activation, Spec) else parse(activation)
        self.activation = make(inner, num_channels=self.sharing.sites, channel_dim=channel_dim, **made)
        self._inner: str | Spec = inner if inner.args or inner.kwargs else inner.name

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if callable(getattr(self.activation, "reset_parameters", None)):
            self.activation.reset_parameters()  # type: ignore[operator]

    def config(self) -> dict[str, Any]:
        return {"activation": self._inner, **super().config()}

    def spec(self) -> Spec:
        config = self.config()
        return Spec(self.name, (config.pop("activation"),), config)
