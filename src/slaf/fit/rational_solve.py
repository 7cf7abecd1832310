"""Rational least squares: linear in the numerator, so only the denominator is searched for (variable projection)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .rational_forms import FORMS, Array, DenominatorForm

__all__ = ["Problem", "least_squares_fit", "smooth_minimax"]


@dataclass(frozen=True)
class Problem:
    """y ≈ (V a)/Q(b) at points x, in the variable t = x/radius, where |t| <= 1: V holds Chebyshev polynomials in t.

    ``weight`` sums to 1 in least squares.
    """

    x: Array
    y: Array
    weight: Array
    columns: Array
    terms: Array
    radius: float
    degree: int
    form: DenominatorForm

    @staticmethod
    def of(x: Array, y: Array, weight: Array, m: int, n: int, form: DenominatorForm) -> Problem:
        """The problem for degrees m and n."""
        radius = float(np.abs(x[[0, -1]]).max())
        t = x / radius
        return Problem(x, y, weight, np.polynomial.chebyshev.chebvander(t, m).astype(np.float64), form.terms(t, n), radius, n, form)

    def scaled(self, b: Array) -> Array:
        """The denominator's coefficients in t of those in x."""
        return b * self.radius ** np.array(self.form.exponents(self.degree), dtype=np.float64)

    def unscaled(self, a: Array, b: Array) -> tuple[Array, Array]:
        """The coefficients in powers of x of those in t."""
        powers = np.polynomial.chebyshev.cheb2poly(a)
        powers = np.concatenate([powers, np.zeros(self.columns.shape[1] - len(powers))])
        exponents = np.array(self.form.exponents(self.degree), dtype=np.float64)
        return powers / self.radius ** np.arange(len(powers)), b / self.radius**exponents

    def project(self, b: Array) -> tuple[Array, Array, Array, Array]:
        """For this denominator: the best numerator, the weighted residual, its Jacobian in b (Kaufman's) and the bare error."""
        q, dq = self.form.evaluate(self.terms, b)
        root = np.sqrt(self.weight)
        orthonormal, triangle = np.linalg.qr(self.columns * (root / q)[:, None])
        wanted = root * self.y
        a = np.linalg.solve(triangle, orthonormal.T @ wanted)
        value = self.columns @ a / q
        slope = -(root * value / q)[:, None] * dq
        jacobian = slope - orthonormal @ (orthonormal.T @ slope)
        return a, root * (value - self.y), jacobian, value - self.y


def nonnegative_least_squares(matrix: Array, wanted: Array) -> Array:
    """The z >= 0 nearest to matrix @ z = wanted, by Lawson and Hanson's active sets."""
    count = matrix.shape[1]
    z, free = np.zeros(count), np.zeros(count, dtype=bool)
    for _ in range(3 * count + 3):
        gradient = matrix.T @ (wanted - matrix @ z)
        gradient[free] = -np.inf
        if not count or gradient.max() <= 1e-13 * np.abs(matrix.T @ wanted).max():
            break
        free[int(gradient.argmax())] = True
        while True:
            trial = np.zeros(count)
            trial[free] = np.linalg.lstsq(matrix[:, free], wanted, rcond=None)[0]
            if (trial[free] > 0).all():
                z = trial
                break
            blocking = free & (trial <= 0)
            step = (z[blocking] / (z[blocking] - trial[blocking] + 1e-300)).min()
            z = z + step * (trial - z)
            free &= z > 1e-300
            z[~free] = 0
            if not free.any():
                break
    return z


def _sanathanan_koerner(problem: Problem, rounds: int = 15) -> Array:
    """b >= 0 by linear least squares on y Q - P, divided by the Q of the round before; the best round's."""
    b = best = np.zeros(problem.terms.shape[1])
    least = np.inf
    for _ in range(rounds):
        q, _ = problem.form.evaluate(problem.terms, b)
        root = np.sqrt(problem.weight) / q
        orthonormal, _ = np.linalg.qr(problem.columns * root[:, None])
        matrix, wanted = -(root * problem.y)[:, None] * problem.terms, root * problem.y
        matrix, wanted = (part - orthonormal @ (orthonormal.T @ part) for part in (matrix, wanted))
        b = nonnegative_least_squares(matrix, wanted)
        error = float(np.sum(problem.project(b)[1] ** 2))
        if error < least:
            least, best = error, b
    return best


def _descend(problem: Problem, b: Array, steps: int = 200) -> tuple[Array, float]:
    """Levenberg–Marquardt on the projected residual; where the form asks for b >= 0, steps end there."""
    damping = 1e-3
    _, residual, jacobian, _ = problem.project(b)
    loss = float(residual @ residual)
    for _ in range(steps):
        gradient = jacobian.T @ residual
        free = (b > 0) | (gradient < 0) if problem.form.nonnegative else np.ones(len(b), dtype=bool)
        if not free.any():
            break
        normal = (jacobian.T @ jacobian)[np.ix_(free, free)]
        scale = np.diag(normal) + 1e-14 * np.diag(normal).max() + 1e-300
        step = np.zeros(len(b))
        step[free] = -np.linalg.lstsq(normal + damping * np.diag(scale), gradient[free], rcond=None)[0]
        trial = np.maximum(b + step, 0) if problem.form.nonnegative else b + step
        _, new_residual, new_jacobian, _ = problem.project(trial)
        new_loss = float(new_residual @ new_residual)
        if np.isfinite(new_loss) and new_loss < loss:
            settled = new_loss > loss * (1 - 1e-10)
            b, residual, jacobian, loss, damping = trial, new_residual, new_jacobian, new_loss, max(damping / 5, 1e-12)
            if settled:
                break
        else:
            damping *= 4
            if damping > 1e12:
                break
    return b, loss


def _starts(problem: Problem) -> list[Array]:
    """Where the search for b begins: linearised fits, and a few fixed random ones, because the loss has several valleys."""
    form, count = problem.form, problem.terms.shape[1]
    rng = np.random.default_rng(0)
    scattered = [np.array(rng.normal(size=count) * scale) for scale in (0.3, 1.0, 3.0, 10.0) for _ in range(2)]
    if form.nonnegative:
        return [_sanathanan_koerner(problem), *(np.abs(b) for b in scattered[::2])]
    even = FORMS["even"]
    relative = replace(problem, form=even, terms=even.terms(problem.x / problem.radius, problem.degree))
    c = _sanathanan_koerner(relative)
    start = np.zeros(count)
    if form.halved:
        start[len(c) // 2 - 1 if len(c) % 2 == 0 else 0] = float(np.sqrt(c.sum()))
    else:
        start[1::2] = c[: len(start[1::2])]
    return [start, *scattered]


def least_squares_fit(problem: Problem, starts: int | None = None) -> tuple[Array, Array]:
    """The a and b, in powers of x, of the best descent from all starts, or from the first ones: that of the linearised fit is the first."""
    if not problem.terms.shape[1]:
        return problem.unscaled(problem.project(np.zeros(0))[0], np.zeros(0))
    found = [_descend(problem, start) for start in _starts(problem)[:starts]]
    b = min(found, key=lambda pair: pair[1])[0]
    return problem.unscaled(problem.project(b)[0], b)


def smooth_minimax(problem: Problem, b: Array, rounds: int = 60) -> tuple[Array, Array]:
    """Lawson's weights: each round multiplies the weights by the errors, so the mean square of the last one is nearly the maximum."""
    b = problem.scaled(b)
    weight, best = problem.weight, (np.inf, np.zeros(0), b)
    for _ in range(rounds):
        current = replace(problem, weight=weight)
        if len(b):
            b, _ = _descend(current, b, steps=10)
        a, _, _, error = current.project(b)
        if np.abs(error).max() < best[0]:
            best = (float(np.abs(error).max()), a, b)
        weight = weight * (np.abs(error) / np.abs(error).max() + 1e-3)
        weight = weight / weight.sum()
    return problem.unscaled(best[1], best[2])
