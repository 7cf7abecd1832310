"""``approximate``: any function by any linear family, in either norm, under constraints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slaf.core import SlafError, one_of

from .constraints import Constraint, Terms, as_constraint, equalities, excess, slope_range, slope_rows, solve_equalities
from .density import Density, Normal, Uniform
from .minimax import Rows, _new_peaks, _result, dense_grid, minimax
from .piecewise import PiecewiseTerms
from .quadratic_program import constrained_least_squares
from .target import Function, Target, as_function, kinks_of

__all__ = ["Fit", "approximate"]


@dataclass(frozen=True)
class Fit:
    """What :func:`approximate` found.

    Attributes:
        coefficients: (K,), float64.
        max_error: the largest |target - fit| on the interval: found on a dense grid, refined at its peaks.
        where: the x of it.
        weighted_error: the root of the mean squared error under the density.
        interval: where ``max_error`` and the constraints hold.
        lower_bound: no coefficients have a smaller ``max_error`` (0 for least squares, which does not know).
        slope_excess: by how much slopes may leave the range that constraints allow, at most: 0, unless a slope is fixed at the very
            end of that range, so that no room is left for the gaps of the grid; then 1e-6 or less.
        certain: whether ``slope_excess`` is proven (piecewise polynomial terms) or estimated from a grid; ``None`` without
            slope constraints.
    """

    coefficients: Tensor
    max_error: float
    where: float
    weighted_error: float
    interval: tuple[float, float]
    lower_bound: float = 0.0
    slope_excess: float = 0.0
    certain: bool | None = None


def approximate(
    target: Target,
    terms: Terms,
    density: Density | None = None,
    interval: tuple[float, float] | None = None,
    norm: str = "least_squares",
    constraints: Sequence[str | Constraint] = (),
    site: int | None = None,
) -> Fit:
    """The coefficients with which Σ_k w_k terms_k is nearest to ``target``.

    Args:
        target: an activation string, a module, or a function (n,) → (n,).
        terms: maps (n,) to (n, K), float64, such as :func:`slaf.fit.bspline_terms`; differentiable where slopes are constrained.
        density: the weight of least squares: ``Normal``, ``Uniform``, ``Measured``; by default uniform on the interval, or N(0, 1)
            where no interval is known.
        interval: where the maximum norm and the constraints apply; by default that of the terms, else the density's.
        norm: ``"least_squares"`` or ``"minimax"``.
        constraints: any of ``"nondecreasing"``, ``"nonincreasing"``, ``"lipschitz(L)"``, ``"odd"``, ``"even"``,
            :class:`slaf.fit.Fixed`; slopes are kept on the whole interval, not only at points.
        site: the channel or unit, where a module has several functions.

    Raises:
        SlafError: an unknown word, constraints that cannot be kept, a target that is not finite, scipy missing where a solver is
            needed (minimax, slopes).

    Example:
        >>> fit = slaf.fit.approximate("tanh", slaf.fit.polynomial_terms(9, -3, 3), constraints=["odd", "lipschitz(1.0)"])
    """
    one_of("norm", norm, ("least_squares", "minimax"))
    chosen = [as_constraint(c) for c in constraints]
    if density is None:
        within = interval or getattr(terms, "interval", None)
        density = Normal() if within is None else Uniform(*within)
    x, weight = density.nodes()
    interval = interval or getattr(terms, "interval", None) or (float(x[0]), float(x[-1]))
    problem = _Problem(as_function(target, site), terms, interval, kinks_of(target), (x, weight), chosen)
    weights, lower = problem.least_squares() if norm == "least_squares" else problem.minimax()
    found = _result(problem.target, terms, weights, problem.grid, lower)
    error = ((problem.target(x) - terms(x) @ weights) ** 2 * weight).sum().sqrt()
    certain = isinstance(terms, PiecewiseTerms) if problem.has_slopes else None
    return Fit(weights, found.max_error, found.where, float(error), interval, lower, problem.slope_excess, certain)


class _Problem:
    """A fit with its equalities solved: w = particular + free @ v, so that only inequalities are left for v."""

    def __init__(
        self, target: Function, terms: Terms, interval: tuple[float, float], kinks: Sequence[float], nodes: tuple[Tensor, Tensor],
        constraints: Sequence[Constraint],
    ) -> None:  # fmt: skip
        self.target, self.terms, self.interval, self.nodes = target, terms, interval, nodes
        breaks = getattr(terms, "breaks", torch.zeros(0)).tolist()
        self.marks = [*kinks, *breaks]
        self.grid = dense_grid(interval, terms, kinks)
        count = terms(nodes[0][:1]).shape[1]
        self.particular, self.free = solve_equalities(*equalities(terms, constraints, interval, count))
        self.slope_excess = 0.0
        self.allowed = slope_range(constraints)
        self.has_slopes = self.allowed != (-torch.inf, torch.inf)
        if self.has_slopes and self.allowed[0] > self.allowed[1]:
            raise SlafError("the constraints contradict each other: no slope obeys all of them")

    def _kept(self, solve: Callable[[float], Tensor]) -> Tensor:
        """Solve with the slopes' range tightened until it is kept between the grid's points too."""
        weights = solve(0.0)
        margin, over = 0.0, excess(self.terms, weights, self.allowed, self.grid) if self.has_slopes else 0.0
        for _ in range(12):
            if over <= 0:
                return weights
            margin += 1.5 * over + 1e-12
            try:
                tighter = solve(margin)
            except SlafError:  # a slope is fixed at the end of its range
                break
            weights, over = tighter, excess(self.terms, tighter, self.allowed, self.grid)
        if over > 1e-6:
            raise SlafError(f"the constraints cannot be kept between grid points: slopes leave their range by {over:.2g}")
        self.slope_excess = max(over, 0.0)
        return weights

    def least_squares(self) -> tuple[Tensor, float]:
        x, weight = self.nodes
        y, root = self.target(x), weight.sqrt()
        if not bool(torch.isfinite(y).all()):
            raise SlafError(f"the function to fit is not finite on [{float(x[0]):g}, {float(x[-1]):g}]")
        all_terms = self.terms(x)
        design, rest = all_terms @ self.free * root[:, None], (y - all_terms @ self.particular) * root

        def solve(margin: float) -> Tensor:
            if not self.has_slopes:
                v = torch.linalg.lstsq(design, rest[:, None], driver="gelsd").solution[:, 0]
            else:
                v = self._cut(design, rest, slope_rows(self.terms, self.allowed, margin))
            return self.particular + self.free @ v

        return self._kept(solve), 0.0

    def _cut(self, design: Tensor, rest: Tensor, rows: list[Rows]) -> Tensor:
        """Cutting planes: the inequalities at the worst points of the grid, until none is broken on it."""
        matrices = [r.matrix(self.grid) for r in rows]
        matrix = torch.cat([m @ self.free for m in matrices])
        limit = torch.cat([r.limit(self.grid) - m @ self.particular for r, m in zip(rows, matrices, strict=True)])
        scale = matrix.abs().amax(1).clamp(min=1e-300)
        matrix, limit = matrix / scale[:, None], limit / scale
        n = len(self.grid)
        working = set(range(0, len(matrix), max(1, n // 64)))
        for _ in range(60):
            at = sorted(working)
            v = constrained_least_squares(design, rest, matrix[at], limit[at])
            over = matrix @ v - limit
            new: set[int] = set()
            for start in range(0, len(matrix), n):
                new |= {i + start for i in _new_peaks(over[start : start + n], 1e-10, set())}
            if new <= working:
                break
            working |= new
        return v

    def minimax(self) -> tuple[Tensor, float]:
        lower = 0.0

        def solve(margin: float) -> Tensor:
            nonlocal lower
            rows = [
                Rows(lambda x, r=r: r.matrix(x) @ self.free, lambda x, r=r: r.limit(x) - r.matrix(x) @ self.particular)  # type: ignore[misc]
                for r in (slope_rows(self.terms, self.allowed, margin) if self.has_slopes else [])
            ]
            found = minimax(
                lambda x: self.target(x) - self.terms(x) @ self.particular, lambda x: self.terms(x) @ self.free, self.interval, self.marks,
                rows=rows,
            )  # fmt: skip
            if margin == 0:
                lower = found.lower_bound  # a tightened problem bounds nothing but itself
            return self.particular + self.free @ found.coefficients

        return self._kept(solve), lower
