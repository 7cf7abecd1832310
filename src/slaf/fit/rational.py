"""Fits by rational functions without real poles: least squares with numpy alone, the maximum norm with linear programs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from slaf.core import SlafError, one_of

from .density import Uniform
from .rational_forms import Array, DenominatorForm, check_orders, denominator_form
from .rational_solve import Problem, least_squares_fit, smooth_minimax
from .target import Function, Target, as_function

__all__ = ["RationalFit", "fit_rational"]


@dataclass(frozen=True)
class RationalFit:
    """P/Q with P = Σ_k numerator[k] x^k and Q as ``form`` makes it of ``denominator``, and how near it comes to the target.

    Attributes:
        numerator: (m + 1,), from a_0 on.
        denominator: the b of the form; not negative where the form takes absolute values.
        form: the name of the denominator's form, see :data:`slaf.fit.rational_forms.FORMS`.
        interval: where it was fitted.
        max_error: the largest |P/Q - f| on 20,001 points of the interval.
        rms_error: the root of the mean of (P/Q - f)² over the interval.
    """

    numerator: tuple[float, ...]
    denominator: tuple[float, ...]
    form: str
    interval: tuple[float, float]
    max_error: float
    rms_error: float

    def __call__(self, x: Array) -> Array:
        """P(x)/Q(x) in float64."""
        form = denominator_form(self.form)
        degree = max(form.exponents(20)[: len(self.denominator)], default=0) * (2 if form.halved else 1)
        q, _ = form.evaluate(form.terms(np.asarray(x, dtype=np.float64), degree), np.array(self.denominator))
        return np.polyval(self.numerator[::-1], x) / q


def fit_rational(
    target: Target,
    numerator_degree: int = 5,
    denominator_degree: int = 4,
    interval: tuple[float, float] = (-4.0, 4.0),
    denominator: str = "even",
    norm: str = "least_squares",
) -> RationalFit:
    """The pole-free rational function of these degrees that is nearest to ``target`` on ``interval``.

    Args:
        target: an activation string, a module, or a function of a float64 tensor (n,).
        numerator_degree, denominator_degree: m and n, 0 to 10.
        interval: two finite numbers, the lower one first.
        denominator: ``"even"``, ``"per_term"``, ``"joint"`` or ``"square"``, see :data:`slaf.fit.rational_forms.FORMS`.
        norm: ``"least_squares"``: the mean square over the interval, by iterated linear least squares (Sanathanan, Koerner) and
            Gauss–Newton steps on the variable projection; numpy alone. ``"max"``: the largest error. For ``"even"`` and
            ``"per_term"`` it is the global optimum on a dense grid (differential correction, needs scipy); for the others, whose
            problem is not quasi-convex, a local one (Lawson's weights).

    Returns:
        The coefficients and both errors.

    Raises:
        SlafError: an argument that is not allowed, or a target that is none or not finite on the interval; scipy is missing for ``"max"``.

    Example:
        >>> fit_rational("gelu", 5, 4, norm="max").max_error
    """
    form = denominator_form(denominator)
    m, n = check_orders(numerator_degree, denominator_degree, form)
    one_of("norm", norm, ("least_squares", "max"))
    low, high = _interval(interval)
    function = as_function(target)
    nodes, weight = Uniform(low, high).nodes()
    x = nodes.numpy()
    problem = Problem.of(x, _values(function, x), weight.numpy(), m, n, form)
    a, b = least_squares_fit(problem)
    if norm == "max":
        a, b = _minimax(function, (low, high), m, n, form, b)
    fit = RationalFit(tuple(a.tolist()), tuple(b.tolist()), form.name, (low, high), 0.0, 0.0)
    dense = np.linspace(low, high, 20001)
    worst = float(np.abs(fit(dense) - _values(function, dense)).max())
    mean = float(((fit(x) - problem.y) ** 2 @ problem.weight) ** 0.5)
    return RationalFit(fit.numerator, fit.denominator, fit.form, fit.interval, worst, mean)


def _minimax(function: Function, interval: tuple[float, float], m: int, n: int, form: DenominatorForm, start: Array) -> tuple[Array, Array]:
    low, high = interval
    grid = np.unique(np.concatenate([_chebyshev_points(low, high, 601), np.linspace(low, high, 601), [0.0] if low < 0 < high else []]))
    problem = Problem.of(grid, _values(function, grid), np.full(len(grid), 1 / len(grid)), m, n, form)
    if not form.nonnegative:
        return smooth_minimax(problem, start)
    from .rational_minimax import differential_correction

    dense = np.linspace(low, high, 8001)
    return differential_correction(problem, Problem.of(dense, _values(function, dense), dense, m, n, form), start)


def _chebyshev_points(low: float, high: float, count: int) -> Array:
    return (low + high) / 2 + (high - low) / 2 * np.cos(np.linspace(np.pi, 0, count))


def _interval(interval: object) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in interval)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        low = high = 0.0
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise SlafError(f"interval must be two finite numbers, the lower one first; got {interval!r}")
    return low, high


def _values(function: Function, x: Array) -> Array:
    try:
        y = function(torch.from_numpy(x)).cpu().numpy()
    except (TypeError, RuntimeError, AttributeError) as problem:
        raise SlafError(f"target must be an activation or a function of one tensor; it failed with: {problem}") from None
    if not np.isfinite(y).all():
        raise SlafError(f"target is not finite on [{x[0]:g}, {x[-1]:g}]")
    return y
