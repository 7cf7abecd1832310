# mypy: allow-untyped-defs, disable-error-code="assignment"
"""P(x)/Q(x) and its gradients in Triton. FORM as in :data:`slaf.kernels.rational.FORMS`; M: degree of P, K: number of b.

Beyond ``limit`` powers of x could overflow in float32 where the quotient does not: such elements are done in float64.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from slaf.kernels.dispatch import Layout

from .launch import gathered, launch, partial_sums, rows_of
from .tiles import add_sums, kernel, load_sums, load_theta, load_tile, span, store_sums, store_tile, tile, zeros

__all__ = ["rational_backward", "rational_forward"]

EVEN, PER_TERM, JOINT, SQUARE = (tl.constexpr(i) for i in range(4))
MAGNITUDES = 2  # forms whose b count by their magnitude


@triton.jit
def base_of(x, FORM: tl.constexpr):
    """What the powers in Q are of: x², |x| or x."""
    if FORM == EVEN:
        return x * x
    elif FORM == PER_TERM:
        return tl.abs(x)
    else:
        return x


@triton.jit
def outer(s, FORM: tl.constexpr):
    """Q from the sum s of its terms of degree 1 and more: 1 + s, 1 + |s| or 1 + s²."""
    if FORM == JOINT:
        return 1.0 + tl.abs(s)
    elif FORM == SQUARE:
        return 1.0 + s * s
    else:
        return 1.0 + s


@triton.jit
def quotient(x, a, b, FORM: tl.constexpr, M: tl.constexpr, K: tl.constexpr):
    """P/Q in the dtype of x."""
    z = base_of(x, FORM)
    p = a[M].to(x.dtype) + 0.0 * x
    for j in tl.static_range(M):
        p = p * x + a[M - 1 - j].to(x.dtype)
    q = 0.0 * x
    for k in tl.static_range(K):
        q = (q + b[K - 1 - k].to(x.dtype)) * z
    return p / outer(q, FORM)


@triton.jit
def gradients(x, g, a, b, FORM: tl.constexpr, M: tl.constexpr, K: tl.constexpr):
    """The gradient of x, and two numbers of which the terms of the sums are made: t·x^j for the numerator, w·z^(k + 1) for b."""
    z = base_of(x, FORM)
    p = 0.0 * x
    dp = 0.0 * x
    for j in tl.static_range(M + 1):
        dp = dp * x + p
        p = p * x + a[M - j].to(x.dtype)
    q = 0.0 * x
    dq = 0.0 * x
    for k in tl.static_range(K):
        inner = q + b[K - 1 - k].to(x.dtype)
        dq = dq * z + inner
        q = inner * z
    r = 1.0 / outer(q, FORM)
    y = p * r
    factor = 1.0 + 0.0 * x
    if FORM == JOINT:
        factor = tl.where(q < 0, -factor, factor)
    elif FORM == SQUARE:
        factor = 2.0 * q
    slope = dq * factor
    if FORM == EVEN:
        slope = slope * (2.0 * x)
    elif FORM == PER_TERM:
        slope = tl.where(x < 0, -slope, slope)
        slope = tl.where(x == 0, 0.0 * x, slope)
    t = g * r
    return t * (dp - y * slope), t, -(t * y) * factor


@triton.jit
def added(sums, mask, x, t, w, FORM: tl.constexpr, M: tl.constexpr, K: tl.constexpr):
    """The sums plus their terms where ``mask``."""
    z = base_of(x, FORM)
    out = ()
    for j in tl.static_range(M + 1):
        out = out + (sums[j] + tl.where(mask, t, 0.0).to(tl.float32),)
        t = t * x
    for k in tl.static_range(K):
        w = w * z
        out = out + (sums[M + 1 + k] + tl.where(mask, w, 0.0).to(tl.float32),)
    return out


@triton.jit
def finite(x):
    """x in float64, not a number where it is infinite: there the quotient has no value."""
    x = x.to(tl.float64)
    return x + 0.0 * x


@kernel
def forward_kernel(
    x_at, y_at, num_at, den_at, limit, n, c, s, loops,
    FORM: tl.constexpr, M: tl.constexpr, K: tl.constexpr,
    UNIFORM: tl.constexpr, WIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """y = P/Q."""
    c, group, row, first, end = span(n, c, s, loops, UNIFORM, WIDE, A, B)
    a = load_theta(num_at, group, c, s, M + 1, UNIFORM, B)
    b = load_theta(den_at, group, c, s, K, UNIFORM, B)
    for t in range(first, end):
        offset, mask = tile(t, group, n, c, s, UNIFORM, A, B)
        x = load_tile(x_at, offset, mask)
        far = tl.abs(x) > limit
        y = quotient(tl.where(far, 0.0, x), a, b, FORM, M, K)
        if tl.max(tl.max(far.to(tl.int32), 1), 0) > 0:
            y = tl.where(far, quotient(finite(x), a, b, FORM, M, K).to(tl.float32), y)
        store_tile(y_at, offset, mask, y)


@kernel
def backward_kernel(
    x_at, g_at, gx_at, sums_at, num_at, den_at, limit, n, c, s, loops,
    FORM: tl.constexpr, M: tl.constexpr, K: tl.constexpr, INPUT: tl.constexpr,
    UNIFORM: tl.constexpr, WIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """Leaves far elements out; the last sum counts them."""
    c, group, row, first, end = span(n, c, s, loops, UNIFORM, WIDE, A, B)
    a = load_theta(num_at, group, c, s, M + 1, UNIFORM, B)
    b = load_theta(den_at, group, c, s, K, UNIFORM, B)
    sums = zeros(M + 1 + K, A, B)
    far_ones = tl.zeros([A, B], tl.float32)
    for t in range(first, end):
        offset, mask = tile(t, group, n, c, s, UNIFORM, A, B)
        x = load_tile(x_at, offset, mask)
        g = load_tile(g_at, offset, mask)
        far = tl.abs(x) > limit
        x = tl.where(far, 0.0, x)
        gx, u, w = gradients(x, tl.where(far, 0.0, g), a, b, FORM, M, K)
        sums = added(sums, mask, x, u, w, FORM, M, K)
        far_ones += tl.where(far, 1.0, 0.0)
        if INPUT:
            store_tile(gx_at, offset, mask, gx)
    store_sums(sums_at, sums + (far_ones,), group, row, c, s, M + 2 + K, UNIFORM, B)


@kernel
def far_kernel(
    x_at, g_at, gx_at, sums_at, num_at, den_at, limit, n, c, s, loops,
    FORM: tl.constexpr, M: tl.constexpr, K: tl.constexpr, INPUT: tl.constexpr,
    UNIFORM: tl.constexpr, WIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """The far elements, in float64: a pass of its own, since its many registers would slow down the other. Most programs have none."""
    c, group, row, first, end = span(n, c, s, loops, UNIFORM, WIDE, A, B)
    before = load_sums(sums_at, group, row, c, s, M + 2 + K, UNIFORM, B)
    if tl.max(before[M + 1 + K], 0) > 0:
        a = load_theta(num_at, group, c, s, M + 1, UNIFORM, B)
        b = load_theta(den_at, group, c, s, K, UNIFORM, B)
        sums = zeros(M + 1 + K, A, B)
        for t in range(first, end):
            offset, mask = tile(t, group, n, c, s, UNIFORM, A, B)
            x = load_tile(x_at, offset, mask)
            far = tl.abs(x) > limit
            x = finite(tl.where(far, x, 0.0))
            gx, u, w = gradients(x, load_tile(g_at, offset, mask).to(tl.float64), a, b, FORM, M, K)
            sums = added(sums, far, x, u, w, FORM, M, K)
            if INPUT:
                store_tile(gx_at, offset, far, gx)
        add_sums(sums_at, before, sums, group, row, c, s, M + 1 + K, M + 2 + K, UNIFORM, B)


def _limit(num: Tensor, degree: int) -> float:
    return 10.0 ** (30 / max(num.shape[1] - 1, degree, 1))


def _denominator(x: Tensor, form: int, den: Tensor | None) -> tuple[Tensor, int]:
    """What the kernels read, and how many coefficients that are."""
    if den is None:
        return x, 0
    return den.abs() if form < MAGNITUDES else den, den.shape[1]


def rational_forward(x: Tensor, layout: Layout, form: int, degree: int, num: Tensor, den: Tensor | None) -> Tensor:
    """P/Q for tables num (c, m + 1) and den (c, K); ``degree`` is Q's."""
    y = torch.empty_like(x)
    b, count = _denominator(x, form, den)
    walk = rows_of(x, layout, 0)
    launch(forward_kernel, x, layout, walk, x, y, num, b, _limit(num, degree), FORM=form, M=num.shape[1] - 1, K=count)
    return y


def rational_backward(
    x: Tensor, g: Tensor, layout: Layout, form: int, degree: int, num: Tensor, den: Tensor | None, input_gradient: bool = True
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """The gradient of x, and those of both tables in float64."""
    gx = torch.empty_like(x) if input_gradient else None
    b, count = _denominator(x, form, den)
    split = (num.shape[1], count, 1)
    walk = rows_of(x, layout, sum(split))
    partial, limit = partial_sums(x, layout, walk, sum(split)), _limit(num, degree)
    for each in (backward_kernel, far_kernel):
        launch(
            each, x, layout, walk, x, g, x if gx is None else gx, partial, num, b, limit,
            FORM=form, M=num.shape[1] - 1, K=count, INPUT=input_gradient,
        )  # fmt: skip
    gnum, gden, _ = gathered(partial, layout, split)
    if den is None:
        return gx, gnum, None
    return gx, gnum, torch.where(den >= 0, gden, -gden) if form < MAGNITUDES else gden
