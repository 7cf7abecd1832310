"""The same polynomials over another interval: no fit at all, a change of variable."""

from __future__ import annotations

import math

import torch

from slaf.bases.polynomial import Polynomials, substitute, times_u
from slaf.core import SlafError
from slaf.kernels import Recurrence

from .piecewise import chebyshev_points

__all__ = ["refit"]


def refit(polynomials: Polynomials, interval: tuple[float, float], recurrence: Recurrence | None = None) -> tuple[Polynomials, float]:
    """The same functions as series in the variable that maps ``interval`` to [-1, 1], so that coefficients are tame there.

    Args:
        polynomials: one or several, see :class:`slaf.bases.polynomial.Polynomials`.
        interval: (low, high), where they are used from now on.
        recurrence: the family to use from now on; by default their own.

    Returns:
        The polynomials over the new variable, and the largest relative deviation that rounding caused on the interval: |new - old| over
        max(1, the largest |old| there), measured in float64 (so the rounding of both evaluations is in it).

    Raises:
        SlafError: the interval is empty or not finite.
    """
    low, high = (float(end) for end in interval)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SlafError(f"interval must be (low, high) with low < high, finite; got {interval!r}")
    center, scale = (low + high) / 2, (high - low) / 2
    degree = polynomials.degree
    # the old variable as a line in the new one: v = slope·u + shift
    slope, shift = scale * polynomials.rscale, (center - polynomials.center) * polynomials.rscale
    matrix = substitute(polynomials.recurrence, shift, slope, times_u(polynomials.recurrence, degree).to(shift.device))
    coefficients = (polynomials.coefficients[:, None, :] @ matrix)[:, 0]
    family = polynomials.recurrence
    if recurrence is not None and recurrence != family:
        to_powers, from_powers = (torch.from_numpy(r.to_monomial(degree)).to(coefficients) for r in (family, recurrence))
        coefficients = torch.linalg.solve_triangular(from_powers, coefficients @ to_powers, upper=False, left=False)
        family = recurrence
    new = Polynomials(coefficients, torch.full_like(shift, center), torch.full_like(shift, 1 / scale), family)
    x = center + scale * chebyshev_points(8 * degree + 9)
    before, after = polynomials(x), new(x)
    size = before.abs().amax(0).clamp(min=1)
    return new, float(((after - before).abs().amax(0) / size).max())
