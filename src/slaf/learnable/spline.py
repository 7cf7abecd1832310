"""Splines on a uniform grid, linear beyond it, learned by their values or B-spline coefficients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from slaf.core import INF, Facts, Paper, SlafError, Spec
from slaf.kernels.compiled import ByKernel, compiled
from slaf.kernels.dispatch import dense, transformed
from slaf.kernels.pieces import Cells, piecewise

from .family import Family, register
from .own import own
from .piecewise import Grid, PiecewisePolynomial, second_moment
from .spline_fit import Target, extended, solve, target_values
from .statistics import small_dtype

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["PiecewiseLinear", "Spline"]

MAX_KNOTS = 1024
_NODE_WEIGHTS = {0: (1.0,), 1: (1.0,), 2: (1 / 2, 1 / 2), 3: (1 / 6, 4 / 6, 1 / 6)}
"""The values of the cardinal B-spline of each degree at the whole numbers."""


def bspline_pieces(theta: Tensor, grid: Grid, degree: int) -> PiecewisePolynomial:
    """The pieces of Σ_i θ_i B_i for θ (count, knots + degree - 1), extrapolated by the values and slopes at the ends.

    The j-th derivative of a uniform B-spline is one of degree d - j over the j-th differences of θ.
    """
    knots, pad = grid.knots, torch.zeros_like(theta[:, :1])
    at_knots, differences = [], theta
    for j in range(degree + 1):
        weights = _NODE_WEIGHTS[degree - j]
        n = min(knots, differences.shape[1] - len(weights) + 1)
        parts = [w / math.factorial(j) * differences[:, m : m + n] for m, w in enumerate(weights)]
        at_knots.append(torch.stack(parts).sum(0))
        differences = differences.diff(dim=1)
    value, slope, *higher = at_knots
    pieces = [torch.cat([value[:, :1] - slope[:, :1], value], 1), torch.cat([slope[:, :1], slope[:, : grid.cells], slope[:, -1:]], 1)]
    pieces += [torch.cat([pad, c[:, : grid.cells], pad], 1) for c in higher]
    return PiecewisePolynomial(grid, torch.stack(pieces))


@lru_cache(maxsize=128)
def _cells(grid: Grid, degree: int) -> Cells:
    """What the kernels need of :func:`bspline_pieces`, which is linear in θ."""
    one = torch.eye(grid.knots + degree - 1, dtype=torch.float64, device="cpu")
    pieces = bspline_pieces(one, grid, degree).coefficients
    return Cells(degree, pieces.permute(1, 2, 0).reshape(len(one), -1), grid.center, 1 / grid.step)


@lru_cache(maxsize=128)
def _cached_start(target: str, grid: Grid, degree: int) -> Tensor:
    return fitted_start(target, grid, degree)


def fitted_start(target: Target, grid: Grid, degree: int) -> Tensor:
    """θ (1, K) of the interpolant at the knots for degree 1, above it nearest to ``target`` in the mean square over the grid."""
    if degree == 1:
        return target_values(target, grid.breakpoints())[None]
    x = grid.dense(12)
    basis = bspline_pieces(torch.eye(grid.knots + degree - 1, dtype=torch.float64), grid, degree)
    return solve(basis.all_at(x), target_values(target, x)[None])


class UniformSpline(ByKernel, Family):
    """What :class:`PiecewiseLinear` and :class:`Spline` share: θ are the coefficients of uniform B-splines of ``degree``."""

    degree: int
    paper: ClassVar[Paper]
    summary: ClassVar[str]

    def __init__(
        self, knots: int, degree: int, low: float, high: float, init: Target | Spec, device: Any, dtype: torch.dtype | None, **sharing: Any
    ) -> None:
        init = str(init) if isinstance(init, Spec) else init
        super().__init__({"knots": knots, "degree": degree, "low": low, "high": high, "init": init}, **sharing)
        self.grid, self.degree, self.init = _checked_grid(low, high, knots), degree, init
        self.coefficients = nn.Parameter(torch.empty(self.sharing.count, knots + degree - 1, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the coefficients to the nearest ones to ``init``."""
        start = (_cached_start if isinstance(self.init, str) else fitted_start)(self.init, self.grid, self.degree)
        with torch.no_grad():
            self.coefficients.copy_(start.expand_as(self.coefficients))

    # -- evaluation -----------------------------------------------------------------------------------------------------------

    @property
    def domain(self) -> tuple[float, float]:  # type: ignore[override]
        """The grid's ends; beyond them the function goes on straight."""
        return self.grid.low, self.grid.high

    def pieces(self) -> PiecewisePolynomial:
        """The polynomial pieces of every θ, in float64 (float32 on MPS), differentiable."""
        return bspline_pieces(self.coefficients.to(small_dtype(self.coefficients.device)), self.grid, self.degree)

    def _row(self, x: Tensor) -> Tensor | None:
        """Which θ each element uses, broadcasting against ``x``."""
        shape = self.sharing.shape(x, self.sharing.sites)
        if self.sharing.count == 1:
            return None
        return self.sharing.per_site(torch.arange(self.sharing.count, device=x.device)).reshape(shape)

    @compiled
    def forward(self, x: Tensor) -> Tensor:
        x, sharing = dense(x), self.sharing
        shape = sharing.shape(x, sharing.sites)
        if not transformed():
            (coefficients,) = own(self, "coefficients")
            y = piecewise(x, coefficients, None, 1.0, _cells(self.grid, self.degree), shape, self._defined)
            if y is not None:
                return y
        return self._defined(x, self.coefficients)

    def _defined(self, x: Tensor, coefficients: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        pieces = bspline_pieces(coefficients.to(small_dtype(coefficients.device)), self.grid, self.degree)
        return pieces.straight_beyond(wide, self._row(x)).to(x.dtype)

    def antiderivative(self, x: Tensor) -> Tensor:
        """F(x) = ∫₀ˣ f, exactly."""
        return self.pieces().antiderivative()(x.to(small_dtype(x.device)), self._row(x)).to(x.dtype)

    def out_of_range(self, x: Tensor) -> Tensor:
        """The fraction of the elements of ``x`` beyond :attr:`domain`, where the function is extrapolated."""
        return ((x < self.grid.low) | (x > self.grid.high)).to(torch.float32).mean()

    # -- what follows from the pieces -----------------------------------------------------------------------------------------

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """The range on each box, exact but for the rounding of the function itself, by which it is widened; for every θ.

        Raises:
            SlafError: ``lower`` exceeds ``upper`` somewhere, or the shape does not fit.
        """
        if bool((lower > upper).any()):
            raise SlafError("lower must not exceed upper anywhere")
        with torch.no_grad():
            row, pieces = self._row(lower), self.pieces()
            a, b = lower.to(pieces.coefficients.dtype), upper.to(pieces.coefficients.dtype)
            least, most = pieces.range_on(a, b, row)
            finfo = torch.finfo(lower.dtype)
            slack = 8 * finfo.eps * pieces.rounding(a, b, row) + finfo.smallest_normal * finfo.eps
            return (least - slack).to(lower.dtype), (most + slack).to(lower.dtype)

    def lipschitz_constant(self) -> Tensor:
        """sup |f'| of every θ, exactly: (count,), float64."""
        return self.pieces().steepest()

    def second_order_total_variation(self) -> Tensor:
        """TV²(f) = ∫|f''| of every θ, exactly, where a kink counts by the jump of the slope: (count,), float64, differentiable.

        Source: Unser (2019), A representer theorem for deep neural networks, arXiv:1802.09210 [from memory].
        """
        return self.pieces().total_variation_of_slope()

    @torch.no_grad()
    def project_lipschitz_(self, bound: float = 1.0) -> Self:
        """Make every θ a function with |f'| ≤ ``bound``, in place; one that is so already stays as it is.

        The slopes θ_{i+1} - θ_i are clipped to ± bound · spacing and the mean of θ is kept. Of degree 1 these are the slopes of the
        function; above it f' is a mean of neighbouring ones, so that the condition is sufficient, not necessary. The clipping keeps
        clear of ``bound`` by the rounding of the stored values.

        Raises:
            SlafError: ``bound`` is not a positive finite number.

        Source: Ducotterd et al. (2022), Improving Lipschitz-constrained neural networks by learning activation functions [from memory].
        """
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not 0 < bound < INF:
            raise SlafError(f"bound must be a positive number; got {bound!r}")
        theta = self.coefficients.to(small_dtype(self.coefficients.device))
        limit = bound * self.grid.step
        mean = theta.mean(1, keepdim=True)
        steps = theta.diff(dim=1).clamp(-limit, limit)
        size = theta.abs().amax(1, keepdim=True) + steps.abs().sum(1, keepdim=True)
        room = (limit - 2 * torch.finfo(self.coefficients.dtype).eps * size).clamp(min=0)
        steps = torch.minimum(torch.maximum(steps, -room), room)
        clipped = torch.cat([torch.zeros_like(mean), steps.cumsum(1)], 1)
        clipped = clipped + (mean - clipped.mean(1, keepdim=True))
        steep = (self.lipschitz_constant() > bound)[:, None]
        self.coefficients.copy_(torch.where(steep, clipped, theta))
        return self

    @torch.no_grad()
    def refit(self, low: float, high: float, knots: int | None = None) -> tuple[Self, float]:
        """The same function on another grid, and the largest difference on both grids together, over every θ.

        Where the new grid contains the old breakpoints the function is kept exactly on the old domain (up to the rounding of the
        parameters): twice the cells, more whole cells at an end. Otherwise, and beyond the old domain, by least squares.

        Args:
            low, high: the new grid's ends.
            knots: how many; by default as many as keep the spacing nearest to the old one.

        Raises:
            SlafError: as at construction.
        """
        if knots is None:
            knots = max(2, round((high - low) / self.grid.step) + 1)
        grid = _checked_grid(low, high, knots)
        other = self._on(grid)
        old = self.pieces()
        old = old._replace(coefficients=old.coefficients.cpu())
        inside = self.grid.dense(8)
        x = torch.cat([grid.dense(8), inside[(inside >= grid.low) & (inside <= grid.high)]]).unique()
        basis = bspline_pieces(torch.eye(knots + self.degree - 1, dtype=torch.float64), grid, self.degree)
        within = (x >= self.grid.low) & (x <= self.grid.high)
        other.coefficients.copy_(extended(basis.all_at(x), old.all_at(x), within))
        everywhere = torch.cat([x, inside])
        new = other.pieces()
        new = new._replace(coefficients=new.coefficients.cpu())
        return other, float((new.all_at(everywhere) - old.all_at(everywhere)).abs().max())

    def _on(self, grid: Grid) -> Self:
        config: dict[str, Any] = self.config() | {"low": grid.low, "high": grid.high, "knots": grid.knots}
        return type(self)(**config, device=self.coefficients.device, dtype=self.coefficients.dtype).train(self.training)

    def expression(self, site: int = 0) -> Any:
        """The function of channel or unit ``site`` as a sympy ``Piecewise`` of polynomials in x."""
        rows = self.sharing.per_site(torch.arange(self.sharing.count))
        return self.pieces().expression(int(rows[site if len(rows) > 1 else 0]))

    def second_moment(self) -> float:
        """E f(z)² for z ~ N(0, 1), by quadrature with panels that end at the knots; averaged over θ."""
        return second_moment(self, self.grid.breakpoints().tolist())

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """What holds now: smoothness and kinks where they are the same for every θ, the Lipschitz constant where there is one θ."""
        if self.coefficients.is_meta:
            return self.describe()
        with torch.no_grad():
            pieces = self.pieces()
            left, right = pieces.at_knots()
            broken = ((right - left).abs() > 1e-7 * (1 + left.abs())).cpu()
            steepest = float(pieces.steepest()) if self.sharing.count == 1 else None
        of_one, alike = broken[:, 0], bool((broken == broken[:, :1]).all())
        kinks = tuple(self.grid.breakpoints()[of_one.any(0)].tolist())
        smooth = next((order for order, jumps in enumerate(of_one.any(1).tolist()) if jumps), INF)
        return Facts(
            name=self.name,
            paper=self.paper,
            smoothness=smooth if alike else None,
            kinks=kinks if alike else None,
            lipschitz=steepest,
            tags=("learnable", "spline"),
            summary=self.summary,
        )

    @classmethod
    def describe(cls) -> Facts:
        """The claims about the family at its defaults."""
        return Facts(name=cls.name, paper=cls.paper, tags=("learnable", "spline"), summary=cls.summary)


def _checked_grid(low: float, high: float, knots: int) -> Grid:
    for name, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise SlafError(f"{name} must be a finite number; got {value!r}")
    if not low < high:
        raise SlafError(f"low must be less than high; got low={low!r} and high={high!r}")
    if isinstance(knots, bool) or not isinstance(knots, int) or not 2 <= knots <= MAX_KNOTS:
        raise SlafError(f"knots must be an integer from 2 to {MAX_KNOTS}; got {knots!r}")
    return Grid(float(low), float(high), knots)


class PiecewiseLinear(UniformSpline):
    """Straight between ``knots`` uniform points, with the end slopes beyond them: continuous, learned by its values at the knots.

    f(x) = (1 - t) θ_i + t θ_{i+1} for x = low + (i + t) h, 0 ≤ t < 1, h = (high - low)/(knots - 1). One cell is looked up an element,
    so the cost does not grow with ``knots``. θ: ``knots`` numbers for each layer, channel, group or unit.

    Args:
        knots: 2 to 1024. With an odd number on a symmetric interval 0 is a knot, and ``init="relu"`` is met exactly.
        low, high: the outer knots.
        init: an activation string or a function, interpolated at the knots: so its monotonicity, convexity and Lipschitz constant
            stay, and a piecewise linear one with its kinks at knots is met exactly on [low, high].
        share, num_channels, groups, num_features, channel_dim: see :class:`slaf.core.Sharing`.
        inplace: refused: backward needs the input.

    Shapes: input with ``num_channels`` entries at ``channel_dim``; output of the same shape and dtype. Half types compute in float32.

    At a knot the gradient is that of one of its sides, a subgradient.

    Raises:
        SlafError: an argument that is not allowed, an ``init`` that cannot be computed on [low, high], an input that does not fit.

    Source: Bohra, Campos, Gupta, Aziznejad, Unser (2020).

    Example:
        >>> act = slaf.make("piecewise_linear(knots=33)", num_channels=64)
        >>> act.second_order_total_variation()[0].item()  # it starts as ReLU: one kink of size 1
        1.0
    """

    name = "piecewise_linear"
    defaults: ClassVar[Mapping[str, Any]] = {"knots": 32, "low": -4.0, "high": 4.0, "init": "relu"}
    paper = Paper(
        "Learning Activation Functions in Deep (Spline) Neural Networks", "Bohra, Campos, Gupta, Aziznejad, Unser", 2020, status="read"
    )
    summary = "Piecewise linear on a uniform grid, learned by its values at the knots."

    def __init__(
        self,
        knots: int = 32,
        low: float = -4.0,
        high: float = 4.0,
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
        sharing: dict[str, Any] = {"share": share, "num_channels": num_channels, "groups": groups, "num_features": num_features}
        super().__init__(knots, 1, low, high, init, device, dtype, **sharing, channel_dim=channel_dim, inplace=inplace)

    bounds = UniformSpline.bounds  # a rule of its own, as the contract asks


class Spline(UniformSpline):
    """A B-spline of ``degree`` on ``knots`` uniform breakpoints, C^(degree - 1) between them and straight beyond (C¹ at the ends).

    f(x) = Σ_i θ_i B((x - low)/h - i), h = (high - low)/(knots - 1), B the cardinal B-spline. One cell of degree + 1 numbers is looked
    up an element, so the cost does not grow with ``knots``. θ: ``knots + degree - 1`` numbers for each layer, channel, group or unit.

    Args:
        knots: how many breakpoints on [low, high], the ends among them; 2 to 1024.
        degree: 1 (as :class:`PiecewiseLinear`), 2 or 3.
        low, high: the outer breakpoints.
        init: an activation string or a function, fitted by least squares with equal weight on [low, high].
        share, num_channels, groups, num_features, channel_dim: see :class:`slaf.core.Sharing`.
        inplace: refused: backward needs the input.

    Shapes: input with ``num_channels`` entries at ``channel_dim``; output of the same shape and dtype. Half types compute in float32.

    Raises:
        SlafError: an argument that is not allowed, an ``init`` that cannot be computed on [low, high], an input that does not fit.

    Source: splines as activations: Scardapane, Scarpiniti, Comminiello, Uncini (2016), arXiv:1605.05509, with Catmull-Rom
    instead of B-splines [from memory].

    Example:
        >>> act = slaf.make("spline(knots=16)", num_channels=64)
        >>> finer, error = act.refit(-4.0, 4.0, knots=31)  # every cell halved: the same function
    """

    name = "spline"
    defaults: ClassVar[Mapping[str, Any]] = {"knots": 16, "degree": 3, "low": -4.0, "high": 4.0, "init": "gelu"}
    paper = Paper(
        "Learning activation functions from data using cubic spline interpolation",
        "Scardapane, Scarpiniti, Comminiello, Uncini",
        2016,
        "arXiv:1605.05509",
    )
    summary = "A B-spline on a uniform grid, straight beyond it, learned by its coefficients."

    def __init__(
        self,
        knots: int = 16,
        degree: int = 3,
        low: float = -4.0,
        high: float = 4.0,
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
        if isinstance(degree, bool) or degree not in (1, 2, 3):
            raise SlafError(f"degree must be 1, 2 or 3; got {degree!r}")
        sharing: dict[str, Any] = {"share": share, "num_channels": num_channels, "groups": groups, "num_features": num_features}
        super().__init__(knots, degree, low, high, init, device, dtype, **sharing, channel_dim=channel_dim, inplace=inplace)

    bounds = UniformSpline.bounds  # a rule of its own, as the contract asks


register(PiecewiseLinear)
register(Spline)
