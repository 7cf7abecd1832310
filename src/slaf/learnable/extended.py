"""An activation on an interval, continued by straight lines outside it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from slaf.core import Activation, Facts, Sharing, SlafError, Spec, activations, make, parse
from slaf.core.quadrature import standard_normal_nodes

from .mixture import _expression as expression_at

__all__ = ["Extended"]

_SUMMARY = "Another activation on an interval, continued by straight lines outside it."


class Extended(Activation):
    """f(x) = g(min(max(x, low), high)) + left_slope·min(x - low, 0) + right_slope·max(x - high, 0) for an activation g.

    So a function that was fitted on [low, high], such as a rational or a polynomial, stays tame on inputs that nobody has seen. The slopes
    are fixed numbers; 0 holds the value at the end. f is continuous whatever g learns, and is g itself on the interval.

    Args:
        of: g, any elementwise activation: ``extended(rational(5, 4), low=-4.0, high=4.0)``. It is given the sizes below; a module is
            taken as it is.
        low, high: the interval's ends.
        left_slope, right_slope: of the lines; by default those of ReLU, GELU and their like.
        share, num_channels, groups, num_features, channel_dim: given on to g, see :class:`slaf.core.Sharing`.
        inplace: refused: backward needs the input.

    Shapes: those of g; output of the input's shape and dtype. Half types compute inside in float32.

    Raises:
        SlafError: an argument that is not allowed, or a g that is not elementwise.

    Example:
        >>> slaf.make("extended(slaf(degree=9, interval=(-4.0, 4.0)), low=-4.0, high=4.0)", num_channels=64)
    """

    name = "extended"

    def __init__(
        self,
        of: str | Spec | Activation = "rational",
        low: float = -6.0,
        high: float = 6.0,
        left_slope: float = 0.0,
        right_slope: float = 1.0,
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
        super().__init__()
        self.refuse_inplace(inplace)
        numbers = {"low": low, "high": high, "left_slope": left_slope, "right_slope": right_slope}
        for argument, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise SlafError(f"{argument} must be a finite number; got {value!r}")
        if not low < high:
            raise SlafError(f"low must be less than high; got low={low!r} and high={high!r}")
        self.low, self.high, self.left_slope, self.right_slope = (float(v) for v in numbers.values())
        if isinstance(of, Activation):
            self.inner: Activation = of
            return
        sizes = {"share": share, "num_channels": num_channels, "groups": groups, "num_features": num_features, "channel_dim": channel_dim}
        context = sizes | {"device": device, "dtype": dtype}
        spec = of if isinstance(of, Spec) else parse(of)
        inner = make(spec, **{k: v for k, v in context.items() if v is not None})
        if not isinstance(inner, Activation):
            raise SlafError(f"extended takes an elementwise activation; {spec} is none")
        self.inner = inner

    def config(self) -> dict[str, Any]:
        slopes = {"left_slope": self.left_slope} if self.left_slope else {}
        if self.right_slope != 1:
            slopes["right_slope"] = self.right_slope
        return {"of": str(self.inner.spec()), "low": self.low, "high": self.high} | slopes

    def spec(self) -> Spec:
        """The activation string, g by position."""
        config = self.config()
        of = parse(config.pop("of"))
        return Spec(self.name, (of if of.args or of.kwargs else of.name,), config)

    def reset_parameters(self) -> None:
        """Those of g."""
        self.inner.reset_parameters()

    @property
    def sharing(self) -> Sharing | None:
        """As g's."""
        return getattr(self.inner, "sharing", None)

    @property
    def normalizes(self) -> bool:  # type: ignore[override]
        """Whether g standardises its input."""
        return self.inner.normalizes

    @property
    def domain(self) -> tuple[float, float]:  # type: ignore[override]
        """(low, high)."""
        return self.low, self.high

    def forward(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.to(torch.float32)
        inside = wide.clamp(self.low, self.high)
        return self._lines(self.inner(inside), wide - inside).to(x.dtype)

    def _lines(self, y: Tensor, beyond: Tensor) -> Tensor:
        """The lines added; one of slope 0 is left out, because 0·∞ is no number."""
        if self.left_slope:
            y = y + self.left_slope * beyond.clamp(max=0)
        if self.right_slope:
            y = y + self.right_slope * beyond.clamp(min=0)
        return y

    # -- what is derived ----------------------------------------------------------------------------------------------------

    def polynomial(self) -> Any:
        """Refused: g may be a polynomial, on the interval.

        Raises:
            SlafError: always.
        """
        raise SlafError(f"extended is a polynomial on [{self.low:g}, {self.high:g}] at most; its inside is .inner, outside it is straight")

    def antiderivative(self, x: Tensor) -> Tensor:
        """F(x) = ∫₀ˣ f, by that of g inside."""
        self._require_scalar("antiderivative")
        wide = x.to(torch.float64)
        zero = wide.new_zeros(()).expand_as(wide)
        return (self._area(wide) - self._area(zero)).to(x.dtype)

    def _area(self, x: Tensor) -> Tensor:
        inside = x.clamp(self.low, self.high)
        beyond = x - inside
        lines = self.left_slope * beyond.clamp(max=0).square() + self.right_slope * beyond.clamp(min=0).square()
        return self.inner.antiderivative(inside) + self.inner(inside) * beyond + lines / 2

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """The range on each box: that of g on the part inside, and the values at the box's ends, widened by the rounding.

        Raises:
            SlafError: ``lower`` exceeds ``upper`` somewhere, or g does not know its bounds.
        """
        self._require_scalar("bounds")
        if bool((lower > upper).any()):
            raise SlafError("lower must not exceed upper anywhere")
        with torch.no_grad():
            wide = torch.float64 if lower.dtype == torch.float64 else torch.float32
            a, b = lower.to(wide), upper.to(wide)
            meets = (a <= self.high) & (b >= self.low)
            low, high = self.inner.bounds(a.clamp(self.low, self.high), b.clamp(self.low, self.high))
            ends = torch.stack([self(a), self(b)])
            finfo = torch.finfo(lower.dtype)
            steepest = max(abs(self.left_slope), abs(self.right_slope))
            reach = torch.maximum(a.abs(), b.abs()) * steepest
            low = torch.where(meets, torch.minimum(low, ends.amin(0)), ends.amin(0))
            high = torch.where(meets, torch.maximum(high, ends.amax(0)), ends.amax(0))
            # what g's own bounds allow for its rounding holds at the ends outside too
            slack = 4 * finfo.eps * (torch.maximum(low.abs(), high.abs()) + reach) + self._rounding(a, b) + finfo.tiny
            return (low - slack).to(lower.dtype), (high + slack).to(lower.dtype)

    def _rounding(self, a: Tensor, b: Tensor) -> Tensor:
        """By how much g's bounds of the ends, moved into the interval, exceed its values there."""
        out = torch.zeros_like(a)
        for end in (a, b):
            inside = end.clamp(self.low, self.high)
            low, high = self.inner.bounds(inside, inside)
            out = torch.maximum(out, high - low)
        return out

    def lipschitz(self, lower: Tensor, upper: Tensor) -> Tensor:
        """The largest of g's on the part inside and of the slopes of the lines that the box meets.

        Raises:
            SlafError: g does not know its own.
        """
        self._require_scalar("lipschitz")
        inside = self.inner.lipschitz(lower.clamp(self.low, self.high), upper.clamp(self.low, self.high))
        steep = torch.where((lower <= self.high) & (upper >= self.low), inside, torch.zeros_like(inside))
        for slope, met in ((self.left_slope, lower < self.low), (self.right_slope, upper > self.high)):
            steep = torch.where(met, steep.clamp(min=abs(slope) * (1 + 4 * torch.finfo(lower.dtype).eps)), steep)
        return steep

    def second_moment(self) -> float:
        kinks = {k for k in self.inner.facts.kinks or () if self.low < k < self.high} | {self.low, self.high}
        z, w = standard_normal_nodes(kinks)
        tensor = next(self.parameters(), None)
        y = self.curves(z if tensor is None else z.to(tensor.device, tensor.dtype)).to("cpu", torch.float64)
        return float((y.square() * w[:, None]).sum(0).mean())

    def expression(self, site: int = 0) -> Any:
        """f of channel or unit ``site`` as a sympy expression, g's parameters put in."""
        import sympy

        x = sympy.Symbol("x", real=True)
        inside = expression_at(self.inner, site)
        low, high = sympy.Float(self.low), sympy.Float(self.high)
        left = inside.subs(x, low) + sympy.Float(self.left_slope) * (x - low)
        right = inside.subs(x, high) + sympy.Float(self.right_slope) * (x - high)
        return sympy.Piecewise((left, x < low), (right, x > high), (inside, True))

    def _require_scalar(self, what: str) -> None:
        self.inner._require_scalar(what)

    def _spread(self, z: Tensor) -> Tensor:
        return self.inner._spread(z)

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """What is claimed: kinks at the ends where g does not go over into the lines smoothly, beside those of g inside."""
        inner, kinks = self.inner.facts.kinks, None
        if inner is not None and not any(t.is_meta for t in (*self.parameters(), *self.buffers())):
            kinks = tuple(sorted({k for k in inner if self.low < k < self.high} | self._joints()))
        return Facts(name=self.name, kinks=kinks, tags=("extended",), summary=_SUMMARY)

    def _joints(self) -> set[float]:
        """The ends at which one of three derivatives visibly jumps."""
        if self.training and self.normalizes:
            return {self.low, self.high}
        tensor = next(self.parameters(), None)
        ends = torch.tensor([self.low, self.high], dtype=torch.float64 if tensor is None else tensor.dtype)
        x = self._spread(ends if tensor is None else ends.to(tensor.device))
        slope = torch.stack([self.inner.derivative(x, order).detach().reshape(2, -1) for order in (1, 2, 3)])
        slope[0] -= torch.tensor([[self.left_slope], [self.right_slope]], dtype=slope.dtype, device=slope.device)
        jumps = (slope.abs() > 1e-7).any(0).any(1).tolist()
        return {end for end, jump in zip((self.low, self.high), jumps, strict=True) if jump}

    @staticmethod
    def describe() -> Facts:
        """The claims about the family."""
        return Facts(name="extended", tags=("learnable", "extended"), summary=_SUMMARY)


activations.register(Extended.name, Extended)
