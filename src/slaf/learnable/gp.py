"""Gaussian-process activations: a smooth curve through control points whose heights are learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from slaf.core import INF, Facts, Paper, SlafError, Spec

from .family import Family, register
from .piecewise import Grid, PiecewisePolynomial
from .spline_fit import Target, solve, target_values
from .statistics import small_dtype

__all__ = ["GP"]

_PAPER = Paper(
    "Scalable Partial Explainability in Neural Networks via Flexible Activation Functions",
    "Sun, Li, Wei, Tsourdos, Guo",
    2020,
    "arXiv:2006.06057",
)
_SUMMARY = "The posterior mean of a Gaussian process through control points, learned by their heights."
MAX_POINTS, MAX_CONDITION, SPACINGS = 48, 1e6, 1.5
REACH, MAX_SPAN = 9.0, 20.0
"""φ is taken as constant beyond 9 ℓ from the outer points, where k < 1e-17; with points within ±20 ℓ no power overflows before."""


class GP(Family):
    """φ(x) = k(x, u) (K + s² I)⁻¹ v, k(a, b) = exp(-(a - b)²/(2ℓ²)): the posterior mean of a Gaussian process given heights v at u.

    u are ``points`` uniform abscissae on [low, high], K = k(u, u), s² = ``noise``; the inverse is computed once, in float64, so φ is
    linear in v. Far from [low, high] φ returns to 0, the prior mean, and so does its gradient: keep the inputs inside. θ: ``points``
    numbers for each layer, channel, group or unit.

    How local a height is depends on ℓ. At 0.6 spacings moving one by δ changes the curve by less than 1 % of δ beyond 5 ℓ; at the
    default 1.5, which is smoother and nearer to smooth functions, by a fifth of δ three ℓ away, and by more than δ just outside the ends.

    Args:
        points: m, 2 to 48.
        low, high: the outer abscissae.
        lengthscale: ℓ, fixed; by default 1.5 spacings of u, at least a fortieth of high - low.
        noise: s², the variance of the observation noise, which keeps the inverse tame: φ(u_i) is v_i but for s² (K + s² I)⁻¹ v.
        init: an activation string or a function, fitted by least squares with equal weight on [low, high].
        share, num_channels, groups, num_features, channel_dim: see :class:`slaf.core.Sharing`.
        inplace: refused: backward needs the input.

    Shapes: input with ``num_channels`` entries at ``channel_dim``; output of the same shape and dtype. All computes in float64 (float32 on
    MPS): the α alternate and are far larger than φ. The cost grows with ``points``.

    Raises:
        SlafError: an argument that is not allowed, K + s² I with a condition number over 1e6, an input that does not fit.

    Source: Sun, Li, Wei, Tsourdos, Guo (2020), arXiv:2006.06057, whose abstract names Gaussian-process interpolation between trainable
    control points; the kernel, ℓ, s² and the uniform abscissae are a reading of it [unconfirmed].

    Example:
        >>> act = slaf.make("gp(points=12)", num_channels=64)
        >>> act.variance(torch.tensor([40.0])).item()  # far from all points nothing is known
        1.0
    """

    name = "gp"
    defaults: ClassVar[Mapping[str, Any]] = {
        "points": 10,
        "low": -4.0,
        "high": 4.0,
        "lengthscale": None,
        "noise": 1e-5,
        "init": "gelu",
    }
    inverse: Tensor

    def __init__(
        self,
        points: int = 10,
        low: float = -4.0,
        high: float = 4.0,
        lengthscale: float | None = None,
        noise: float = 1e-5,
        init: Target | Spec = "gelu",
        share: str | None = None,
        *,
        num_channels: int | None = None,
        groups: int | None = None,
        num_features: int | Sequence[int] | None = None,
        channel_dim: int = 1,
        inplace: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        init = str(init) if isinstance(init, Spec) else init
        given = {"points": points, "low": low, "high": high, "lengthscale": lengthscale, "noise": noise, "init": init}
        super().__init__(given, share, num_channels, groups, num_features, channel_dim, inplace)
        self.process, self.init = _Process.checked(points, low, high, lengthscale, noise), init
        self.heights = nn.Parameter(torch.empty(self.sharing.count, points, device=device, dtype=dtype))
        # a buffer, so that it travels with the module; not saved, because the arguments say it
        self.register_buffer("inverse", self._inverse(self.heights.device), persistent=False)
        self.reset_parameters()

    def _inverse(self, device: torch.device) -> Tensor:
        return self.process.inverse().to(device, small_dtype(device))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> GP:
        super()._apply(fn, recurse)
        self.inverse = self._inverse(self.heights.device)  # never cast; made anew after the meta device
        return self

    def reset_parameters(self) -> None:
        """Set the heights to those whose curve is nearest to ``init``."""
        start = (_cached_start if isinstance(self.init, str) else fitted_start)(self.init, self.process)
        with torch.no_grad():
            self.heights.copy_(start.expand_as(self.heights))

    @property
    def domain(self) -> tuple[float, float]:  # type: ignore[override]
        """The outer control points; beyond them the curve returns to 0."""
        return self.process.low, self.process.high

    @property
    def coefficients(self) -> Tensor:
        """The heights v, (count, points)."""
        return self.heights

    def weights(self) -> Tensor:
        """α = (K + s² I)⁻¹ v of every θ, (count, points), so that φ(x) = Σ_j α_j k(x, u_j); float64 (float32 on MPS)."""
        return (self.heights.to(self.inverse.dtype)[:, None, :] * self.inverse).sum(-1)

    def forward(self, x: Tensor) -> Tensor:
        """φ by the split exp(-(z - jd)²/2) = exp(-z²/2) exp(zd)^j exp(-(jd)²/2): three exponentials whatever the number of points."""
        process = self.process
        wide = x.to(self.inverse.dtype).clamp(process.low - REACH * process.lengthscale, process.high + REACH * process.lengthscale)
        alpha = self.per_element(self.weights(), x).unbind(0)
        middle, d = process.points // 2, process.spacing / process.lengthscale
        z = (wide - process.abscissae()[middle]) / process.lengthscale
        terms = [a * math.exp(-(((j - middle) * d) ** 2) / 2) for j, a in enumerate(alpha)]
        right = _powers(torch.exp(z * d), terms[middle + 1 :])
        left = _powers(torch.exp(-z * d), terms[:middle][::-1])
        return (torch.exp(-z * z / 2) * (right + left + terms[middle])).to(x.dtype)

    def variance(self, x: Tensor) -> Tensor:
        """The posterior variance k(x, x) - k(x, u) (K + s² I)⁻¹ k(u, x), in x's dtype: near 0 at the control points, 1 far away."""
        k = self.process.kernel(x.detach().to("cpu", torch.float64))
        return (1 - (k * (k @ self.process.inverse())).sum(-1)).clamp(min=0).to(x)

    def out_of_range(self, x: Tensor) -> Tensor:
        """The fraction of the elements of ``x`` beyond :attr:`domain`."""
        return ((x < self.process.low) | (x > self.process.high)).to(torch.float32).mean()

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """The range on each box for every θ, wider than the true one by the error of a cubic and the rounding of the function.

        φ is enclosed by its cubic Hermite interpolant on cells of ℓ/64, whose error is at most max|φ⁽⁴⁾| (ℓ/64)⁴/384: about 1e-9.

        Raises:
            SlafError: ``lower`` exceeds ``upper`` somewhere, or the shape does not fit.
        """
        if bool((lower > upper).any()):
            raise SlafError("lower must not exceed upper anywhere")
        with torch.no_grad():
            alpha = self.weights()
            a, b = lower.to(alpha.dtype), upper.to(alpha.dtype)
            rows = self.sharing.per_site(torch.arange(self.sharing.count, device=alpha.device))
            row = rows.reshape(self.sharing.shape(lower, self.sharing.sites)) if len(rows) > 1 else None
            self.sharing.shape(lower, self.sharing.sites)
            cubic, error = self.process.enclosure(alpha)
            least, most = cubic.range_on(a, b, row)
            slack = 8 * torch.finfo(lower.dtype).eps * alpha.abs().sum(-1) + error
            slack = slack if row is None else slack[row]
            return (least - slack).to(lower.dtype), (most + slack).to(lower.dtype)

    def expression(self, site: int = 0) -> Any:
        """Σ_j α_j exp(-(x - u_j)²/(2ℓ²)) of channel or unit ``site``, as a sympy expression in x."""
        import sympy

        x = sympy.Symbol("x", real=True)
        scale = sympy.Float(2 * self.process.lengthscale**2)
        pairs = zip(self.of_site(self.weights(), site), self.process.abscissae(), strict=True)
        return sum((sympy.Float(a) * sympy.exp(-((x - sympy.Float(u)) ** 2) / scale) for a, u in pairs), sympy.Integer(0))

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """What is claimed: a sum of Gaussians is C^∞."""
        return self.describe()

    @staticmethod
    def describe() -> Facts:
        """The claims about the family."""
        return Facts(name="gp", paper=_PAPER, smoothness=INF, kinks=(), tags=("learnable", "kernel"), summary=_SUMMARY)


class _Process:
    """The Gaussian process without its heights: abscissae, kernel and the inverse of the kernel matrix."""

    def __init__(self, points: int, low: float, high: float, lengthscale: float, noise: float) -> None:
        self.key = (points, low, high, lengthscale, noise)
        self.points, self.low, self.high, self.lengthscale, self.noise = self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Process) and self.key == other.key

    @classmethod
    def checked(cls, points: object, low: object, high: object, lengthscale: object, noise: object) -> _Process:
        if isinstance(points, bool) or not isinstance(points, int) or not 2 <= points <= MAX_POINTS:
            raise SlafError(f"points must be an integer from 2 to {MAX_POINTS}; got {points!r}")
        a, b = _number("low", low), _number("high", high)
        if not a < b:
            raise SlafError(f"low must be less than high; got low={low!r} and high={high!r}")
        spacing = (b - a) / (points - 1)
        scale = SPACINGS * spacing if lengthscale is None else _number("lengthscale", lengthscale)
        if scale * 2 * MAX_SPAN < b - a:
            raise SlafError(f"lengthscale must be at least (high - low)/{2 * MAX_SPAN:g} = {(b - a) / 2 / MAX_SPAN:g}; got {lengthscale!r}")
        if _number("noise", noise) < 0:
            raise SlafError(f"noise must be a non-negative number; got {noise!r}")
        process = cls(points, a, b, scale, _number("noise", noise))
        condition = float(torch.linalg.cond(process.matrix()))
        if not condition <= MAX_CONDITION:
            raise SlafError(
                f"lengthscale={scale:g} is {scale / spacing:.3g} spacings of the {points} points; with noise={process.noise:g} the kernel "
                f"matrix has condition number {condition:.2g}, over {MAX_CONDITION:g}: take a shorter one (default {SPACINGS:g} spacings, "
                f"{SPACINGS * spacing:.4g}), or more noise"
            )
        return process

    @property
    def spacing(self) -> float:
        return (self.high - self.low) / (self.points - 1)

    def abscissae(self) -> list[float]:
        """u."""
        return [self.low + (self.high - self.low) * i / (self.points - 1) for i in range(self.points)]

    def kernel(self, x: Tensor) -> Tensor:
        """k(x, u), (…, points), for float64 x on the CPU."""
        z = (x[..., None] - torch.tensor(self.abscissae(), dtype=x.dtype)) / self.lengthscale
        return torch.exp(-0.5 * z * z)

    def matrix(self) -> Tensor:
        """K + s² I."""
        return self.kernel(torch.tensor(self.abscissae(), dtype=torch.float64)) + self.noise * torch.eye(self.points, dtype=torch.float64)

    def inverse(self) -> Tensor:
        """(K + s² I)⁻¹, symmetric, float64."""
        return torch.cholesky_inverse(torch.linalg.cholesky(self.matrix()))

    def enclosure(self, alpha: Tensor) -> tuple[PiecewisePolynomial, Tensor]:
        """The cubic Hermite interpolant of Σ_j α_j k(x, u_j) on cells of ℓ/64, 9 ℓ beyond the points, and its largest error (count,)."""
        reach = REACH * self.lengthscale
        cells = math.ceil((self.high - self.low + 2 * reach) / self.lengthscale * 64)
        grid = Grid(self.low - reach, self.high + reach, cells + 1)

        def combined(x: Tensor, factor: Callable[[Tensor], Tensor]) -> Tensor:
            z = (x[:, None] - torch.tensor(self.abscissae(), dtype=x.dtype)) / self.lengthscale
            return (alpha[:, None, :] * (factor(z) * self.kernel(x)).to(alpha)).sum(-1)

        knots, d = grid.breakpoints(), grid.step / self.lengthscale
        f, slope = combined(knots, torch.ones_like), combined(knots, lambda z: -d * z)
        f0, f1, s0, s1 = f[:, :-1], f[:, 1:], slope[:, :-1], slope[:, 1:]
        inner = torch.stack([f0, s0, 3 * (f1 - f0) - 2 * s0 - s1, 2 * (f0 - f1) + s0 + s1])
        zero = torch.zeros_like(inner[:, :, :1])
        last = torch.cat([f[None, :, -1:], zero[1:]])
        # |φ⁽⁴⁾| in the middle of a cell, and by how much it can grow to its ends: the fifth derivative of exp(-z²/2) is below 6
        fourth = combined(knots[:-1] + grid.step / 2, lambda z: z**4 - 6 * z**2 + 3).abs().amax(-1) + 3 * d * alpha.abs().sum(-1)
        return PiecewisePolynomial(grid, torch.cat([zero, inner, last], -1)), fourth * d**4 / 384


def _number(argument: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SlafError(f"{argument} must be a finite number; got {value!r}")
    return float(value)


def _powers(base: Tensor, terms: list[Tensor]) -> Tensor:
    """Σ_{j ≥ 1} terms[j - 1] base^j."""
    total = torch.zeros_like(base)
    for term in reversed(terms):
        total = base * (total + term)
    return total


def fitted_start(target: Target, process: _Process) -> Tensor:
    """Heights (1, points) whose curve is nearest to ``target`` in the mean square on [low, high]."""
    x = Grid(process.low, process.high, process.points).dense(32)
    return solve((process.kernel(x) @ process.inverse()).T, target_values(target, x)[None])


_cached_start = lru_cache(maxsize=128)(fitted_start)
register(GP)
