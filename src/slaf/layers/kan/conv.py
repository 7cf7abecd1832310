"""Convolutions whose kernels are learned functions: the channels are expanded, then convolved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slaf.bases import Basis
from slaf.core import SlafError, Spec, one_of

from .initialization import INITS, start
from .layer import Base, Interval, KANLayer, checked_size

__all__ = ["KANConv1d", "KANConv2d", "KANConv3d"]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _KANConv(KANLayer):
    """y_o = Σ_id f_oid(x_i at offset d) + b_o: every entry of the kernel is a learned function, as in :class:`KANLinear`.

    The same as unfolding x into patches and a :class:`KANLinear` on them. Padding pads x, so that what is padded is an input like any
    other: f(0), which is not 0, with zeros.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode: as in torch's convolutions; padding also
            ``"same"`` and ``"valid"``.
        basis, grid, degree, terms, interval, base, bias, init, track_range: as in :class:`KANLinear`; one interval per channel.

    Attributes:
        weight: (out_channels, columns, in_channels/groups, *kernel_size), the base activation last among the columns.
        bias: (out_channels,) or ``None``.

    Shapes: (batch, in_channels, {sizes}) → (batch, out_channels, {sizes}), or both without batch; every size becomes
    ⌊(size + 2·padding - dilation·(kernel_size - 1) - 1)/stride⌋ + 1.

    Raises:
        SlafError: an argument that is not allowed, or an input that does not fit.

    Source: as :class:`KANLinear`.

    Example:
        >>> slaf.layers.KANConv{dims}d(3, 8, kernel_size=3, padding=1)(torch.randn(2, 3, {given})).shape
        torch.Size([2, 8, {given}])
    """

    dims: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        basis: str | Spec | Basis | Sequence[str | Spec] = "bspline",
        grid: int | None = None,
        terms: int | None = None,
        degree: int | None = None,
        interval: Interval = (-1.0, 1.0),
        base: Base = "silu",
        init: str = "variance",
        track_range: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        made = {"device": device, "dtype": dtype}
        super().__init__(checked_size("in_channels", in_channels), basis, grid, terms, degree, interval, base, track_range, made)
        self.in_channels, self.out_channels = in_channels, checked_size("out_channels", out_channels)
        self.groups = checked_size("groups", groups)
        if in_channels % groups or out_channels % groups:
            raise SlafError(f"groups must divide in_channels={in_channels} and out_channels={out_channels}; got {groups}")
        self.kernel_size, self.stride = self._sizes("kernel_size", kernel_size, 1), self._sizes("stride", stride, 1)
        self.dilation = self._sizes("dilation", dilation, 1)
        self.padding = self._padding(padding)
        self.padding_mode = one_of("padding_mode", padding_mode, PADDING_MODES)
        self.init = one_of("init", init, INITS)
        self.weight = nn.Parameter(torch.empty(out_channels, self.columns, in_channels // groups, *self.kernel_size, **made))
        self.bias = nn.Parameter(torch.empty(out_channels, **made)) if bias else None
        self.reset_parameters()

    def _sizes(self, argument: str, value: int | Sequence[int], least: int) -> tuple[int, ...]:
        sizes = (value,) * self.dims if isinstance(value, int) else tuple(value)
        if len(sizes) != self.dims or any(isinstance(s, bool) or not isinstance(s, int) or s < least for s in sizes):
            raise SlafError(f"{argument} must be an integer from {least} on, or {self.dims} of them; got {value!r}")
        return sizes

    def _padding(self, padding: int | str | Sequence[int]) -> tuple[tuple[int, int], ...]:
        """What is added before and after every dimension."""
        if padding == "valid":
            return ((0, 0),) * self.dims
        if padding == "same":
            if any(s != 1 for s in self.stride):
                raise SlafError(f"padding='same' needs stride=1; got {self.stride}")
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return tuple((t // 2, t - t // 2) for t in total)
        if isinstance(padding, str):
            raise SlafError(f"padding must be integers, 'same' or 'valid'; got {padding!r}")
        return tuple((p, p) for p in self._sizes("padding", padding, 0))

    def reset_parameters(self) -> None:
        """Start as ``init`` says, on the intervals of the constructor."""
        self.reset_inputs()
        places = math.prod(self.kernel_size)
        fan = (self.in_channels // self.groups * places, self.out_channels // self.groups * places)
        start(self.coefficients.movedim(1, 0), self.base_weight, fan, self.init, self.basis, self.base, self.interval)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def coefficients(self) -> Tensor:
        """c, a view of ``weight``: (out_channels, num_terms, in_channels/groups, *kernel_size)."""
        return self.weight[:, : self.num_terms]

    @property
    def base_weight(self) -> Tensor | None:
        """w, a view of ``weight``: (out_channels, in_channels/groups, *kernel_size); ``None`` without a base activation."""
        return None if self.base is None else self.weight[:, self.num_terms]

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() not in (self.dims + 1, self.dims + 2) or x.shape[-self.dims - 1] != self.in_channels:
            wanted = f"(batch, {self.in_channels}, …) or ({self.in_channels}, …) with {self.dims} dimensions behind the channels"
            raise SlafError(f"{type(self).__name__} takes an input of {wanted}; got shape {tuple(x.shape)}")
        if not x.is_floating_point():
            raise SlafError(f"{type(self).__name__} takes an input of floating point; got {x.dtype}")
        batched = x if x.dim() == self.dims + 2 else x[None]
        self._see(self.as_features(batched))
        if any(sum(p) for p in self.padding):
            flat = [n for pair in reversed(self.padding) for n in pair]
            batched = F.pad(batched, flat, mode="constant" if self.padding_mode == "zeros" else self.padding_mode)
        y = self._defined(batched, self.weight, self.bias)
        return y if x.dim() == self.dims + 2 else y[0]

    def as_features(self, x: Tensor) -> Tensor:
        return x.movedim(-self.dims - 1, -1)

    def to_edges(self, weight: Tensor) -> Tensor:
        by_group = weight.flatten(3).unflatten(0, (self.groups, -1))  # (groups, outputs of a group, columns, inputs of a group, places)
        return by_group.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)

    def from_edges(self, edges: Tensor) -> Tensor:
        by_group = edges.unflatten(2, (self.out_channels // self.groups, -1)).unflatten(1, (self.groups, -1))
        return by_group.permute(1, 3, 0, 2, 4).flatten(0, 1).unflatten(3, self.kernel_size)

    def summed(self, constants: Tensor) -> Tensor:
        return self.from_edges(constants[None]).flatten(1).sum(1)

    def _defined(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        n, places = x.shape[0], x.shape[2:]
        wide = self.expand(x.movedim(1, -1))  # (n, …, columns, channels)
        by_group = wide.unflatten(-1, (self.groups, -1)).movedim(-2, -3).flatten(-3)  # group by group, their columns, their channels
        convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[self.dims]
        operand = by_group.movedim(-1, 1).reshape(n, self.columns * self.in_channels, *places)
        return convolve(operand, weight.flatten(1, 2), bias, self.stride, 0, self.dilation, self.groups)

    def extra_repr(self) -> str:
        sizes = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        sizes += f", padding={self.padding}, dilation={self.dilation}, groups={self.groups}, padding_mode={self.padding_mode}"
        return f"{sizes}, {self._described()}"


def _documented(dims: int, sizes: str, given: str) -> str:
    """What all say, with the shapes of one."""
    return (_KANConv.__doc__ or "").format(dims=dims, sizes=sizes, given=given)


class KANConv1d(_KANConv):
    __doc__ = _documented(1, "length", "16")
    dims = 1


class KANConv2d(_KANConv):
    __doc__ = _documented(2, "height, width", "16, 16")
    dims = 2


class KANConv3d(_KANConv):
    __doc__ = _documented(3, "depth, height, width", "8, 16, 16")
    dims = 3
