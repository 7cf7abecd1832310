"""Best rational approximation in the maximum norm where Q is linear in its coefficients b >= 0: quasi-convex, so the optimum is global."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from slaf.core import SlafError

from .linear_program import linear_program
from .rational_solve import Array, Problem

__all__ = ["differential_correction"]

_LARGEST = 1e6
"""Limit of the scaled coefficients b, which keeps the set of denominators compact."""


def differential_correction(problem: Problem, dense: Problem, start: Array, exchanges: int = 12) -> tuple[Array, Array]:
    """The a and b, in powers of x, with the least maximum error on the points of ``problem`` and, by exchange, of ``dense``.

    Source: Barrodale, Powell, Roberts (1972), The differential correction algorithm for rational l∞ approximation [from memory].
    """
    b = problem.scaled(start)
    a = problem.project(b)[0]
    for _ in range(exchanges):
        a, b, level = _correct(problem, a, b)
        error = _error(dense, a, b)
        peak = np.flatnonzero((error >= np.roll(error, 1)) & (error >= np.roll(error, -1)) & (error > level * (1 + 1e-6)))
        if not len(peak):
            break
        problem = _joined(problem, dense, peak)
    return problem.unscaled(a, b)


def _error(problem: Problem, a: Array, b: Array) -> Array:
    return np.abs(problem.columns @ a / problem.form.evaluate(problem.terms, b)[0] - problem.y)


def _joined(problem: Problem, dense: Problem, chosen: NDArray[np.intp]) -> Problem:
    def both(name: str) -> Array:
        return np.concatenate([getattr(problem, name), getattr(dense, name)[chosen]])

    return replace(problem, x=both("x"), y=both("y"), weight=both("weight"), columns=both("columns"), terms=both("terms"))


def _correct(problem: Problem, a: Array, b: Array, steps: int = 30) -> tuple[Array, Array, float]:
    """Differential correction from a feasible (a, b); every step lowers the level or is the last."""
    level = float(_error(problem, a, b).max())
    floor = 1e-14 * max(1.0, float(np.abs(problem.y).max()))
    for _ in range(steps):
        if level <= floor:
            break
        try:
            step_a, step_b = _step(problem, a, b, level)
        except SlafError as error:
            if isinstance(error.__cause__, ImportError):
                raise
            break
        trial_a, trial_b = a + step_a, np.maximum(b + step_b, 0)
        new = float(_error(problem, trial_a, trial_b).max())
        if not new < level:
            break
        settled = new > level * (1 - 1e-8)
        a, b, level = trial_a, trial_b, new
        if settled:
            break
    return a, b, level


def _step(problem: Problem, a: Array, b: Array, level: float) -> tuple[Array, Array]:
    """Minimise z where |y Q - P| - level Q <= z level Q_now, in steps divided by ``level``: all numbers are of order one."""
    q = problem.form.evaluate(problem.terms, b)[0]
    residual = (problem.y * q - problem.columns @ a) / (level * q)
    columns, terms, y = problem.columns / q[:, None], problem.terms / q[:, None], problem.y[:, None]
    m, n = columns.shape[1], terms.shape[1]
    last = -np.ones((len(q), 1))
    above = np.hstack([-columns, (y - level) * terms, last])
    below = np.hstack([columns, (-y - level) * terms, last])
    matrix, limit = np.vstack([above, below]), np.concatenate([1 - residual, 1 + residual])
    bounds = [(None, None)] * m + [(-v / level, (_LARGEST - v) / level) for v in b] + [(-1.0, 0.0)]
    solution, _ = linear_program(np.append(np.zeros(m + n), 1.0), matrix, limit, bounds)
    return level * solution[:m], level * solution[m : m + n]
