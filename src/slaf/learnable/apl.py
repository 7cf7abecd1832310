"""Adaptive piecewise linear units: a ReLU plus hinges whose slopes and places are learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from slaf.core import Facts, Paper, SlafError, Spec
from slaf.fit import Normal
from slaf.kernels.compiled import ByKernel, compiled
from slaf.kernels.dispatch import dense, transformed
from slaf.kernels.hinges import hinged, hinged_by_site

from .family import Family, register
from .own import own
from .piecewise import second_moment
from .spline_fit import Target, solve, target_values
from .statistics import small_dtype

__all__ = ["APL"]

_PAPER = Paper(
    "Learning Activation Functions to Improve Deep Neural Networks", "Agostinelli, Hoffman, Sadowski, Baldi", 2014, "arXiv:1412.6830"
)
_SUMMARY = "ReLU plus learned hinges: slopes and places are trained."
MAX_HINGES, WORST_START = 64, 0.1


class APL(ByKernel, Family):
    """f(x) = max(0, x) + Σ_s a_s max(0, b_s - x), s = 1 … hinges: an adaptive piecewise linear unit.

    Right of 0 and of every b_s it is x itself. θ: 2 · ``hinges`` numbers for each layer, channel, group or unit: slopes a, places b.

    Args:
        hinges: S, 1 to 64.
        init: an activation string or a function: b_s uniformly spaced, as far out as fits best, and a_s fitted by least squares over
            N(0, 1); ``"relu"`` is met exactly, with a = 0. Or ``"paper"``: a_s uniform in ±1/S, b_s ~ N(0, 0.5²), as in the
            authors' code for S = 5.
        share, num_channels, groups, num_features, channel_dim: see :class:`slaf.core.Sharing`.
        inplace: refused: backward needs the input.

    Shapes: input with ``num_channels`` entries at ``channel_dim``; output of the same shape and dtype. Half types compute in float32.

    The authors add an L2 penalty of 1e-3 on a and b: ``slaf.train.L2``.

    Raises:
        SlafError: an argument that is not allowed, an ``init`` that no such unit comes near, an input that does not fit.

    Source: Agostinelli, Hoffman, Sadowski, Baldi (2014), arXiv:1412.6830 [from memory]; initial values from the authors' code.
    """

    name = "apl"
    defaults: ClassVar[Mapping[str, Any]] = {"hinges": 5, "init": "relu"}

    def __init__(
        self,
        hinges: int = 5,
        init: Target | Spec = "relu",
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
        super().__init__({"hinges": hinges, "init": init}, share, num_channels, groups, num_features, channel_dim, inplace)
        if isinstance(hinges, bool) or not isinstance(hinges, int) or not 1 <= hinges <= MAX_HINGES:
            raise SlafError(f"hinges must be an integer from 1 to {MAX_HINGES}; got {hinges!r}")
        self.hinges, self.init = hinges, init
        self.slopes = nn.Parameter(torch.empty(self.sharing.count, hinges, device=device, dtype=dtype))
        self.places = nn.Parameter(torch.empty(self.sharing.count, hinges, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw slopes and places as the authors do, or fit them, as ``init`` says."""
        with torch.no_grad():
            if self.init == "paper":
                self.slopes.uniform_(-1 / self.hinges, 1 / self.hinges)
                self.places.normal_(0, 0.5)
                return
            a, b = _fitted_start(self.init, self.hinges)
            self.slopes.copy_(a.expand_as(self.slopes))
            self.places.copy_(b.expand_as(self.places))

    @property
    def coefficients(self) -> Tensor:
        """The slopes a, (count, hinges)."""
        return self.slopes

    @compiled
    def forward(self, x: Tensor) -> Tensor:
        x = dense(x)
        y = None if transformed() else self._by_site(x)
        if y is not None:
            return y
        # of float32, so that the gradients of channels that share θ are added before they are rounded to a half type
        slopes, places = (p if p.dtype == torch.float64 else p.float() for p in (self.slopes, self.places))
        parameters = {"slopes": self.per_element(slopes, x), "places": self.per_element(places, x)}
        y = None if transformed() else hinged(x, _defined, **parameters)
        return _defined(x, **parameters) if y is None else y

    def _by_site(self, x: Tensor) -> Tensor | None:
        """y, where a kernel takes the parameters as they are."""

        def definition(x: Tensor, **parameters: Tensor) -> Tensor:
            return _defined(x, **{name: self.per_element(p, x) for name, p in parameters.items()})

        slopes, places = own(self, "slopes", "places")
        return hinged_by_site(x, self.sharing.shape(x, self.sharing.sites), definition, slopes=slopes, places=places)

    def antiderivative(self, x: Tensor) -> Tensor:
        """F(x) = ∫₀ˣ f = max(0, x)²/2 + Σ_s a_s (max(0, b_s)² - max(0, b_s - x)²)/2."""
        wide = x.to(small_dtype(x.device))
        at_zero = self._sum(torch.zeros_like(wide), _half_square)
        # ∫₀ˣ max(0, b - s) ds falls with max(0, b - x)²: the hinges change their sign
        return (2 * _half_square(wide) + at_zero - self._sum(wide, _half_square)).to(x.dtype)

    def _sum(self, x: Tensor, part: Callable[[Tensor], Tensor]) -> Tensor:
        return _summed(x, part, *(self.per_element(p, x) for p in (self.slopes, self.places)))

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """The range on each box for every θ: the values at its ends, at 0 and at the hinges inside, widened by the rounding.

        Raises:
            SlafError: ``lower`` exceeds ``upper`` somewhere, or the shape does not fit.
        """
        if bool((lower > upper).any()):
            raise SlafError("lower must not exceed upper anywhere")
        with torch.no_grad():
            low, high = (t.to(small_dtype(t.device)) for t in (lower, upper))
            a, b = (self.per_element(p.to(low.dtype), low) for p in (self.slopes, self.places))
            # a corner outside the box is moved to its end, which is a point of the box
            corners = [torch.minimum(torch.maximum(place, low), high) for place in (torch.zeros_like(low), *b.unbind(0))]
            values = torch.stack([self._sum(x, torch.relu) for x in (low, high, *corners)])
            reach = torch.maximum(low.abs(), high.abs())
            size = reach + sum((slope.abs() * (place.abs() + reach) for slope, place in zip(a, b, strict=True)), torch.zeros_like(low))
            finfo = torch.finfo(lower.dtype)
            slack = 8 * finfo.eps * size + finfo.smallest_normal * finfo.eps
            return (values.amin(0) - slack).to(lower.dtype), (values.amax(0) + slack).to(lower.dtype)

    def lipschitz_constant(self) -> Tensor:
        """sup |f'| of every θ, exactly: (count,), float64."""
        a, b = (p.to(small_dtype(p.device)) for p in (self.slopes, self.places))
        corners = torch.cat([b, torch.zeros_like(b[:, :1])], 1).sort(1).values
        edges = torch.cat([corners[:, :1] - 1, corners, corners[:, -1:] + 1], 1)
        middle, empty = (edges[:, 1:] + edges[:, :-1]) / 2, edges.diff(dim=1) == 0
        slope = (middle > 0).to(a.dtype) - (a[:, None, :] * (middle[:, :, None] < b[:, None, :])).sum(-1)
        return torch.where(empty, torch.zeros_like(slope), slope.abs()).amax(1)

    def second_order_total_variation(self) -> Tensor:
        """TV²(f) = 1 + Σ_s |a_s| of every θ, the jumps of the slope summed: (count,), float64, differentiable.

        Corners in one place count apart, so there it is an upper bound.
        """
        return 1 + self.slopes.to(small_dtype(self.slopes.device)).abs().sum(1)

    def expression(self, site: int = 0) -> Any:
        """The function of channel or unit ``site`` as a sympy expression in x."""
        import sympy

        x = sympy.Symbol("x", real=True)
        pairs = zip(self.of_site(self.slopes, site), self.of_site(self.places, site), strict=True)
        return sympy.Max(0, x) + sum((sympy.Float(a) * sympy.Max(0, sympy.Float(b) - x) for a, b in pairs), sympy.Integer(0))

    def second_moment(self) -> float:
        """E f(z)² for z ~ N(0, 1), by quadrature with panels that end at 0 and the hinges; averaged over θ."""
        return second_moment(self, [0.0, *self.places.detach().flatten().tolist()])

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """What holds now: with one θ its kinks and its Lipschitz constant."""
        if self.slopes.is_meta or self.sharing.count > 1:
            return self.describe()
        jumps: dict[float, float] = {0.0: 1.0}
        for a, b in zip(self.of_site(self.slopes, 0), self.of_site(self.places, 0), strict=True):
            jumps[b] = jumps.get(b, 0.0) + a
        kinks = tuple(sorted(k for k, jump in jumps.items() if abs(jump) > 1e-6))
        with torch.no_grad():
            steepest = float(self.lipschitz_constant())
        return Facts(
            name="apl",
            paper=_PAPER,
            smoothness=0 if kinks else None,
            kinks=kinks,
            lipschitz=steepest,
            tags=("learnable", "piecewise linear"),
            summary=_SUMMARY,
        )

    @staticmethod
    def describe() -> Facts:
        """The claims about the family."""
        return Facts(name="apl", paper=_PAPER, tags=("learnable", "piecewise linear"), summary=_SUMMARY)


def _summed(x: Tensor, part: Callable[[Tensor], Tensor], slopes: Tensor, places: Tensor) -> Tensor:
    total = part(x)
    for slope, place in zip(slopes.to(x.dtype).unbind(0), places.to(x.dtype).unbind(0), strict=True):
        total = total + part(place - x) * slope
    return total


def _defined(x: Tensor, slopes: Tensor, places: Tensor) -> Tensor:
    wide = x if x.dtype == torch.float64 else x.float()
    return _summed(wide, torch.relu, slopes, places).to(x.dtype)


def _half_square(x: Tensor) -> Tensor:
    return torch.relu(x).square() / 2


def _fitted_start(target: Target, hinges: int) -> tuple[Tensor, Tensor]:
    """Slopes and places, (hinges,), float64."""
    x, weight = Normal().nodes()
    gap = target_values(target, x) - torch.relu(x)

    def fit(places: Tensor) -> tuple[float, Tensor, Tensor]:
        design = torch.relu(places[:, None] - x)
        slopes = solve(design * weight.sqrt(), (gap * weight.sqrt())[None])
        return float(((slopes @ design - gap).square() * weight).sum().sqrt()), slopes[0], places

    error, slopes, places = min((fit(p) for p in _candidates(hinges)), key=lambda found: round(found[0], 9))
    if error > WORST_START:
        raise SlafError(
            f"init {target!r} is not near x for large x, as every apl is: the best start misses it by {error:.2g} (root mean square over "
            f"N(0, 1), at most {WORST_START:g}); choose a function such as 'relu' or 'gelu', or 'paper'"
        )
    return slopes, places


def _candidates(hinges: int) -> list[Tensor]:
    """Places that are uniformly spaced and include 0, where most functions turn."""
    if hinges == 1:
        return [torch.full((1,), r, dtype=torch.float64) for r in (0.0, 0.5, 1.0, 1.5, 2.0)]
    odd = hinges | 1
    return [torch.linspace(-r, r, odd, dtype=torch.float64)[-hinges:] for r in (2.0, 1.0, 1.5, 2.5, 3.0)]


register(APL)
