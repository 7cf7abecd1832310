"""P(x)/Q(x) in plain torch operations, without overflow where the quotient itself fits."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["denominator", "magnitude", "quotient", "reach"]

_DECADES = {torch.float32: 30.0, torch.float16: 30.0, torch.bfloat16: 30.0}


def magnitude(b: Tensor) -> Tensor:
    """|b| whose gradient at 0 is +1, not 0: otherwise a denominator that starts at 1 would stay there."""
    return torch.where(b >= 0, b, -b)


def reach(dtype: torch.dtype, degree: int) -> float | None:
    """Up to which |x| powers of ``degree`` are computed as they are; None where no finite input is met that leads out of range.

    No finite float16 does at degree 7 and below; infinity gives NaN everywhere, as for the other dtypes.
    """
    if dtype == torch.float64 or degree == 0:
        return None
    return float(10 ** (_DECADES[dtype] / degree))


def quotient(x: Tensor, a: Tensor, b: Tensor | None, form: str, degree: int, limit: float | None) -> Tensor:
    """P/Q at ``x`` for coefficients a (m + 1, …) and b (K, …) that broadcast against it, by Horner's rule.

    Beyond ``limit`` numerator and denominator are multiplied by powers of r = limit/|x|. Their quotient does not depend on r, so r
    counts as a constant in derivatives, which stay exact.
    """
    top = len(a) - 1
    y, powers = _scaled(x, max(top, degree), limit)
    p = a[top]
    for j in range(1, top + 1):
        p = torch.addcmul(_times(a[top - j], powers, j), p, y)
    if b is None:
        return p if powers is None else p / powers[top]
    q = _denominator(y, b, form, degree, powers)
    if powers is None or top == degree:
        return p / q
    return p / (q * powers[top - degree]) if top > degree else p * powers[degree - top] / q


def denominator(x: Tensor, b: Tensor | None, form: str, degree: int) -> Tensor:
    """Q at ``x``; infinite where it leaves the range of the dtype."""
    return torch.ones_like(x) if b is None else _denominator(x, b, form, degree, None)


def _scaled(x: Tensor, highest: int, limit: float | None) -> tuple[Tensor, list[Tensor] | None]:
    """x·r, and r⁰ … r^highest."""
    if limit is None:
        return x, None
    r = (limit / x.detach().abs()).clamp(max=1)
    powers = [torch.ones_like(r), r]
    while len(powers) <= highest:
        powers.append(powers[-1] * r)
    return x * r, powers


def _times(coefficient: Tensor, powers: list[Tensor] | None, exponent: int) -> Tensor:
    return coefficient if powers is None or exponent == 0 else coefficient * powers[exponent]


def _denominator(y: Tensor, b: Tensor, form: str, degree: int, powers: list[Tensor] | None) -> Tensor:
    """Q·r^degree."""
    one = torch.ones_like(y) if powers is None else powers[degree]
    if form == "even":
        return _sum(y * y, magnitude(b), range(2, degree + 1, 2), degree, powers) + one
    if form == "per_term":
        return _sum(y.abs(), magnitude(b), range(1, degree + 1), degree, powers) + one
    if form == "joint":
        return magnitude(_sum(y, b, range(1, degree + 1), degree, powers)) + one
    return _sum(y, b, range(1, degree // 2 + 1), degree // 2, powers).square() + one


def _sum(v: Tensor, b: Tensor, exponents: range, total: int, powers: list[Tensor] | None) -> Tensor:
    """Σ_k b_k v^k r^(total - exponent of k), k from 1 on."""
    s = _times(b[len(b) - 1], powers, total - exponents[-1])
    for k, exponent in reversed(list(enumerate(exponents[:-1]))):
        s = torch.addcmul(_times(b[k], powers, total - exponent), s, v)
    return s * v
