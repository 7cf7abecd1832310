"""Where a rational function, its slope and the terms that round can be largest: the real parts of all roots that matter, exact algebra."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.polynomial import polynomial as poly
from numpy.typing import NDArray

from slaf.core import SlafError
from slaf.fit.rational_forms import denominator_form

__all__ = ["pieces", "pole_distance", "slope_points", "stationary_points"]

Array = NDArray[np.float64]


def pieces(b: Array, form: str, degree: int) -> list[Array]:
    """The polynomials (ascending) that Q is made of: one, or one for either sign of x or of the sum inside."""
    exponents = denominator_form(form).exponents(degree)
    if not exponents:
        return [np.ones(1, dtype=np.float64)]
    inner = np.zeros(max(exponents) + 1, dtype=np.float64)
    inner[list(exponents)] = np.abs(b) if form in ("even", "per_term") else b
    if form == "square":
        return [_one_plus(poly.polymul(inner, inner).astype(np.float64))]
    if form == "even":
        return [_one_plus(inner)]
    flipped = inner * (-1.0) ** np.arange(len(inner)) if form == "per_term" else -inner
    return [_one_plus(inner), _one_plus(flipped)]


def _one_plus(p: Array) -> Array:
    """1 + p for a p without constant term."""
    return np.concatenate([[1.0], p[1:]])


def _roots(p: Array) -> Array:
    """The real parts of the roots, each polished by Newton's method where that converges."""
    p = np.trim_zeros(p, "b")
    if len(p) < 2:
        return np.zeros(0)
    x = np.roots(p[::-1] / np.abs(p).max()).real
    slope = poly.polyder(p)
    for _ in range(2):
        with np.errstate(all="ignore"):
            step = poly.polyval(x, p) / poly.polyval(x, slope)
        x = np.where(np.isfinite(step) & (np.abs(step) < 1e-6 * np.abs(x)), x - step, x)
    return x[np.isfinite(x)].astype(np.float64)


def _cross(p: Array, q: Array, power: int = 1) -> Array:
    """p'q - power·p q': the numerator of (p/q^power)' up to a factor q^k."""
    return poly.polysub(poly.polymul(poly.polyder(p), q), power * poly.polymul(p, poly.polyder(q))).astype(np.float64)


def _seams(b: Array, form: str) -> Array:
    """Where the pieces of Q meet."""
    if form != "joint" or not len(b):
        return np.zeros(1)
    return np.append(_roots(np.concatenate([[0.0], b])), 0.0)


def _check(*rows: Array) -> None:
    if not all(np.isfinite(row).all() for row in rows):
        raise SlafError("rational has coefficients that are not finite, so its bounds are not known")


def stationary_points(a: Array, b: Array, form: str, degree: int) -> Array:
    """Candidates for the extremes of P/Q, and of Σ|a_k||x|^k/Q, by which its rounding is bounded."""
    _check(a, b)
    signs = (-1.0) ** np.arange(len(a))
    tops = [a, np.abs(a), np.abs(a) * signs]
    found = [_roots(_cross(p, q)) for p, q in product(tops, pieces(b, form, degree))]
    return np.unique(np.concatenate([*found, _seams(b, form)]))


def slope_points(a: Array, b: Array, form: str, degree: int) -> Array:
    """Candidates for the extremes of (P/Q)'."""
    _check(a, b)
    found = [_roots(_cross(_cross(a, q), q, 2)) for q in pieces(b, form, degree)]
    return np.unique(np.concatenate([*found, _seams(b, form)]))


def pole_distance(b: Array, form: str, degree: int, low: float, high: float) -> float:
    """The distance of [low, high] from the nearest complex zero of Q; infinite if Q has none."""
    _check(b)
    least = np.inf
    for sign, q in zip((1, -1), pieces(b, form, degree), strict=False):
        q = np.trim_zeros(q, "b")
        roots = np.roots(q[::-1]) if len(q) > 1 else np.zeros(0)
        left, right = low, high
        if form == "per_term":  # this piece holds for this sign of x
            left, right = (max(low, 0.0), high) if sign > 0 else (low, min(high, 0.0))
        if left > right:
            continue
        for root in roots:
            if form == "joint" and root.imag == 0:  # Q is 1 + |S|: a real zero of the other sign's piece is none of Q
                continue
            least = min(least, float(np.hypot(root.real - min(max(root.real, left), right), root.imag)))
    return least
