"""Claims of f(x) = h(scale · x)/scale, where h is u times a gate that opens from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._numeric import largest_slope, roots

__all__ = ["gate_claims"]

INF = float("inf")


def gate_claims(value: Callable[..., Any], slope: Callable[..., Any], shape: str, scale: str) -> dict[str, Any]:
    """Range, monotonicity, Lipschitz constant and critical points as functions of the parameters ``shape`` and ``scale``.

    Args:
        value: h(u, shape) for shape > 0, an array in u; h is odd in ``shape``.
        slope: h'(u, shape).
    """

    def known(p: dict[str, float]) -> bool:
        return p[shape] != 0 and p[scale] != 0

    def turns(p: dict[str, float]) -> tuple[float, ...]:
        return roots(lambda u: slope(u, abs(p[shape])), -60, 60, 12001)

    def critical_points(**p: float) -> tuple[float, ...] | None:
        return tuple(u / p[scale] for u in turns(p)) if known(p) else None

    def range(**p: float) -> tuple[float, float] | None:
        if not known(p):
            return None
        size = float(np.sign(p[shape])) / p[scale]
        lowest = min(float(value(np.array([u]), abs(p[shape]))[0]) for u in (*turns(p), 0.0)) * size
        return (lowest, INF) if size > 0 else (-INF, lowest)

    def lipschitz(**p: float) -> float | None:
        return largest_slope(lambda u: slope(u, abs(p[shape])), -60, 60, 1.0) if known(p) else None

    return {
        "range": range,
        "monotone": lambda **p: "neither" if known(p) else None,
        "parity": lambda **p: "neither" if known(p) else None,
        "lipschitz": lipschitz,
        "critical_points": critical_points,
        "smoothness": INF,
        "kinks": (),
    }
