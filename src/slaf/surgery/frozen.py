"""What trained modules become when they are frozen: a fixed affine map per channel, a fixed polynomial per channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slaf.bases.polynomial import Polynomials
from slaf.core import INF, Activation, Facts, Sharing, SlafError
from slaf.core.elementwise import spread_over_sites
from slaf.core.sharing import broadcast
from slaf.kernels import Recurrence
from slaf.kernels.series import series, working_dtype

__all__ = ["Fixed", "FrozenBatchNorm", "FrozenPolynomial"]

FAR = 1e30
"""A centre beyond this: the input's share in the sum is below its rounding."""


class Fixed(nn.Module):
    """Fixed numbers as buffers that never get narrower than float32: half types compute inside in float32."""

    def __init__(self) -> None:
        super().__init__()
        self._initial: dict[str, Tensor] = {}

    def _keep(self, **buffers: Tensor) -> None:
        for name, value in buffers.items():
            self.register_buffer(name, value.detach().contiguous().clone())
            self._initial[name] = value.detach().clone()

    def reset_parameters(self) -> None:
        """The numbers as they were made."""
        for name, value in self._initial.items():
            getattr(self, name).copy_(value)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.dtype in (torch.float16, torch.bfloat16):
                self._buffers[name] = old.to(new.device)
        return self


class FrozenBatchNorm(Fixed):
    """y = scale·x + shift per channel: what a batch norm computes in evaluation, with nothing learned and nothing tracked.

    Shapes: any input with ``len(scale)`` entries at ``channel_dim``; output of the same shape and dtype.

    Attributes:
        reason: why it was not folded into a layer beside it.
    """

    scale: Tensor
    shift: Tensor
    reason = "no example was given to see what lies beside it"

    def __init__(self, scale: Tensor, shift: Tensor, channel_dim: int = 1) -> None:
        super().__init__()
        self.sharing = Sharing("channel", len(scale), channel_dim=channel_dim)
        self._keep(scale=scale, shift=shift)

    @classmethod
    def of(cls, norm: Any, channel_dim: int = 1) -> FrozenBatchNorm:
        """From a module with ``running_mean``, ``running_var``, ``eps`` and perhaps ``weight`` and ``bias``."""
        mean, var = wide(norm.running_mean), wide(norm.running_var)
        scale = (var + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * wide(norm.weight)
        shift = -mean * scale if norm.bias is None else wide(norm.bias) - mean * scale
        kept = torch.float64 if norm.running_mean.dtype == torch.float64 else torch.float32
        return cls(scale.to(kept), shift.to(kept), channel_dim)

    def forward(self, x: Tensor) -> Tensor:
        shape, work = self.sharing.shape(x, self.sharing.sites), working_dtype(x.dtype)
        return (x.to(work) * self.scale.to(work).reshape(shape) + self.shift.to(work).reshape(shape)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{len(self.scale)}, channel_dim={self.sharing.channel_dim}, reason={self.reason!r}"


def wide(tensor: Tensor) -> Tensor:
    """Detached, in float64 wherever the device has it."""
    return tensor.detach().to(torch.float32 if tensor.device.type == "mps" else torch.float64)


class FrozenPolynomial(Fixed, Activation):
    """y = Σ_j c_j φ_j((x - center)·rscale) with fixed numbers per channel or unit: a ``slaf`` in evaluation, perhaps with a batch
    norm before it.

    Args:
        polynomials: one for every site of ``sharing``, or one for all.
        sharing: which elements have the same polynomial.
        dtype: of the buffers.

    Shapes: as ``sharing`` says; output of the input's shape and dtype. Half types are computed in float32.

    Buffers: ``coefficients`` (sites or 1, degree + 1), ``center`` and ``rscale`` (sites or 1,).
    """

    name = "frozen_polynomial"
    coefficients: Tensor
    center: Tensor
    rscale: Tensor

    def __init__(self, polynomials: Polynomials, sharing: Sharing, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.recurrence: Recurrence = polynomials.recurrence
        self.sharing = sharing
        rows = torch.cat([polynomials.coefficients, polynomials.center[:, None], polynomials.rscale[:, None]], 1).detach()
        if bool((rows == rows[:1]).all()):
            rows = rows[:1]
        rows = rows.to(dtype)
        self._keep(coefficients=rows[:, :-2], center=rows[:, -2], rscale=rows[:, -1])

    @classmethod
    def of(cls, act: Any) -> FrozenPolynomial:
        """From a :class:`slaf.SLAF` in evaluation mode.

        Raises:
            SlafError: it is not a polynomial.
        """
        p, basis = act.polynomial(), act.basis
        if basis.evaluated_in is not None:
            matrix = torch.as_tensor(basis.mixing(p.degree), dtype=p.coefficients.dtype, device=p.coefficients.device)
            constant = nn.functional.pad(p.coefficients[:, :1], (0, p.degree))
            p = Polynomials(constant + p.coefficients[:, 1:] @ matrix, p.center, p.rscale / basis.half_width, basis.evaluated_in)
        return cls(p, act.sharing, working_dtype(act.weight.dtype))

    def after(self, norm: FrozenBatchNorm) -> FrozenPolynomial:
        """The polynomial of what ``norm`` gives; a channel that ``norm`` makes constant gets a constant polynomial."""
        sharing = self.sharing if self.sharing.num_channels is not None else norm.sharing
        p, each = self.polynomial(), sharing.sites // len(norm.scale)
        c, center, rscale = (t.expand(sharing.sites, *t.shape[1:]) for t in (p.coefficients, p.center, p.rscale))
        scale, shift = (wide(t).repeat_interleave(each) for t in (norm.scale, norm.shift))
        moved = (center - shift) / scale
        constant = ~(moved.abs() < FAR)
        at = Polynomials(c, torch.zeros_like(center), torch.ones_like(center), p.recurrence)(((shift - center) * rscale)[None])[0]
        flat = nn.functional.pad(at[:, None], (0, p.degree))
        moved, slope = moved.masked_fill(constant, 0.0), (rscale * scale).masked_fill(constant, 0.0)
        return FrozenPolynomial(
            Polynomials(torch.where(constant[:, None], flat, c), moved, slope, p.recurrence), sharing, self.center.dtype
        )

    def alone(self, site: int) -> FrozenPolynomial:
        """The polynomial of one channel or unit, for any input."""
        p, row = self.polynomial(), slice(site, site + 1) if self._several() else slice(1)
        one = Polynomials(p.coefficients[row], p.center[row], p.rscale[row], p.recurrence)
        return FrozenPolynomial(one, Sharing("layer"), self.center.dtype)

    @property
    def degree(self) -> int:
        """The formal degree."""
        return self.coefficients.shape[1] - 1

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """Smooth everywhere."""
        return Facts(
            name=self.name, smoothness=INF, kinks=(), tags=("polynomial", "folded"), summary="A polynomial with fixed coefficients."
        )

    def config(self) -> dict[str, Any]:
        return {"degree": self.degree} | self.sharing.config()

    def forward(self, x: Tensor) -> Tensor:
        shape = self.sharing.shape(x, self.sharing.sites)
        layout = shape if len(self.coefficients) > 1 else (1,) * x.dim()
        center, rscale = self.center.reshape(layout), self.rscale.reshape(layout)
        return series(x, broadcast(self.coefficients, layout), center, rscale, self.recurrence)

    def polynomial(self) -> Polynomials:
        """The polynomial of every channel or unit, float64; one row if all are the same."""
        return Polynomials(wide(self.coefficients), wide(self.center), wide(self.rscale), self.recurrence)

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """The range on each box: the values at its ends and at the stationary points inside, widened by the rounding of the series."""
        if bool((lower > upper).any()):
            raise SlafError("lower must not exceed upper anywhere")
        with torch.no_grad():
            p, dtype = self.polynomial(), torch.float64
            shape = self.sharing.shape(lower, self.sharing.sites)
            layout = shape if len(p.coefficients) > 1 else (1,) * lower.dim()
            ends = [(t.to(dtype) - p.center.reshape(layout)) * p.rscale.reshape(layout) for t in (lower, upper)]
            low, high = torch.minimum(*ends), torch.maximum(*ends)  # a batch norm's scale may be negative
            own = Polynomials(p.coefficients, 0 * p.center, 0 * p.center + 1, p.recurrence)
            turns = own.stationary_points().to(low.device)
            points = [low, high, *(torch.minimum(torch.maximum(t.reshape(layout), low), high) for t in turns.T)]
            c = broadcast(p.coefficients, layout)
            values = torch.stack([series(u, c, None, None, p.recurrence) for u in points])
            reach, powers = torch.maximum(low.abs(), high.abs()).clamp(min=1), broadcast(own.powers().abs(), layout)
            size = sum((power * reach**j for j, power in enumerate(powers)), torch.zeros_like(reach))
            slack = 8 * (self.degree + 1) * torch.finfo(lower.dtype).eps * size
            return (values.amin(0) - slack).to(lower.dtype), (values.amax(0) + slack).to(lower.dtype)

    def expression(self, site: int = 0) -> Any:
        """The polynomial of channel or unit ``site`` in powers of x, with float coefficients."""
        import sympy

        x = sympy.Symbol("x", real=True)
        p = self.polynomial()
        row = p.monomial()[site if len(p.center) > 1 else 0].cpu().tolist()
        return sum((sympy.Float(c) * x**j for j, c in enumerate(row)), sympy.Integer(0))

    def _several(self) -> bool:
        return len(self.coefficients) > 1

    def _spread(self, z: Tensor) -> Tensor:
        return z if self.sharing.num_channels is None else spread_over_sites(z, self.sharing)
