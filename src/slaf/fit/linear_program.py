"""Linear programs: what best approximation in the maximum norm comes down to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slaf.core import SlafError

__all__ = ["linear_program"]

Array = NDArray[np.float64]


def linear_program(
    cost: Array, matrix: Array, limit: Array, bounds: Sequence[tuple[float | None, float | None]] | None = None
) -> tuple[Array, float]:
    """The z that minimises cost · z where matrix @ z <= limit, and the minimum; variables are free unless ``bounds`` says otherwise.

    Raises:
        SlafError: scipy is missing, or there is no solution.
    """
    try:
        from scipy.optimize import linprog
    except ImportError as error:
        raise SlafError('fitting in the maximum norm needs scipy; install it with: pip install "slaf[fit]"') from error
    solution = linprog(cost, A_ub=matrix, b_ub=limit, bounds=bounds or [(None, None)] * len(cost), method="highs")
    if solution.x is None:
        raise SlafError(f"the fit has no solution: {solution.message}")
    return solution.x, float(solution.fun)
