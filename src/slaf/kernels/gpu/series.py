# mypy: allow-untyped-defs, disable-error-code="assignment"
"""Σ_j c_j φ_j(u), u = (x - center)·rscale, its gradients and the moments of φ_j(u), in Triton."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from slaf.kernels.dispatch import Layout

from .launch import gathered, launch, partial_sums, rows_of
from .tiles import kernel, load_theta, load_tile, span, store_sums, store_tile, tile, zeros

__all__ = ["moments", "series_backward", "series_forward", "series_input"]

POWER, CHEBYSHEV, SECOND = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)  # the last: Chebyshev's of the second kind, U_j


@triton.jit
def standardised(x, mask, mid, scale, MAPPED: tl.constexpr):
    """u = (x - center)·rscale, zero beyond the tensor's end; x itself without a map."""
    if MAPPED:
        return tl.where(mask, (x - mid[0]) * scale[0], 0.0)
    else:
        return x


@triton.jit
def evaluated(c, u, FAMILY: tl.constexpr, D: tl.constexpr):
    """Horner's rule, or Clenshaw's."""
    y = c[D] + tl.zeros_like(u)  # a constant is finite where u is not
    if FAMILY == POWER:
        for j in tl.static_range(D):
            y = y * u + c[D - 1 - j]
    else:
        later = tl.zeros_like(u)
        for j in tl.static_range(D):
            factor = u
            if j < D - 1 or FAMILY == SECOND:
                factor = 2.0 * u
            following = y * factor + (c[D - 1 - j] - later)
            later = y
            y = following
    return y


@triton.jit
def slope_of(c, D: tl.constexpr):
    """The coefficients of p': over the powers again, over U_j for Chebyshev's polynomials, since T_j' = j U_{j-1}."""
    out = ()
    for j in tl.static_range(D):
        out = out + ((j + 1.0) * c[j + 1],)
    return out


@triton.jit
def projected(sums, g, u, FAMILY: tl.constexpr, FIRST: tl.constexpr, D: tl.constexpr):
    """The sums plus g φ_j(u), j = FIRST … D."""
    out = ()
    if FIRST == 0:
        out = (sums[0] + g,)
    before = g
    term = g * u
    for j in tl.static_range(1, D + 1):
        out = out + (sums[j - FIRST] + term,)
        following = term * u
        if FAMILY == CHEBYSHEV:
            following = 2.0 * following - before
        before = term
        term = following
    return out


@kernel
def forward_kernel(
    x_at, y_at, coef_at, center_at, rscale_at, n, c, s, loops,
    FAMILY: tl.constexpr, D: tl.constexpr, MAPPED: tl.constexpr,
    UNIFORM: tl.constexpr, WIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """y = Σ_j c_j φ_j(u)."""
    c, group, row, first, end = span(n, c, s, loops, UNIFORM, WIDE, A, B)
    coef = load_theta(coef_at, group, c, s, D + 1, UNIFORM, B)
    mid = load_theta(center_at, group, c, s, MAPPED, UNIFORM, B)
    scale = load_theta(rscale_at, group, c, s, MAPPED, UNIFORM, B)
    for t in range(first, end):
        offset, mask = tile(t, group, n, c, s, UNIFORM, A, B)
        u = standardised(load_tile(x_at, offset, mask), mask, mid, scale, MAPPED)
        store_tile(y_at, offset, mask, evaluated(coef, u, FAMILY, D))


@kernel
def backward_kernel(
    x_at, g_at, gx_at, sums_at, coef_at, center_at, rscale_at, n, c, s, loops,
    FAMILY: tl.constexpr, D: tl.constexpr, MAPPED: tl.constexpr, INPUT: tl.constexpr, SUMS: tl.constexpr, MAP_SUMS: tl.constexpr,
    UNIFORM: tl.constexpr, WIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """The gradient of x, and a program's share of Σ g φ_j(u), Σ g p'(u) and Σ g p'(u) u."""
    c, group, row, first, end = span(n, c, s, loops, UNIFORM, WIDE, A, B)
    slope = slope_of(load_theta(coef_at, group, c, s, D + 1, UNIFORM, B), D)
    mid = load_theta(center_at, group, c, s, MAPPED, UNIFORM, B)
    scale = load_theta(rscale_at, group, c, s, MAPPED, UNIFORM, B)
    sums = zeros(SUMS * (D + 1), A, B)
    map_sums = zeros(MAP_SUMS * 2, A, B)
    for t in range(first, end):
        offset, mask = tile(t, group, n, c, s, UNIFORM, A, B)
        u = standardised(load_tile(x_at, offset, mask), mask, mid, scale, MAPPED)
        g = load_tile(g_at, offset, mask)
        if INPUT or MAP_SUMS:
            gu = g * evaluated(slope, u, 2 * FAMILY, D - 1)
            if MAP_SUMS:
                map_sums = (map_sums[0] + gu, map_sums[1] + gu * u)
            if INPUT:
                if MAPPED:
                    gu = gu * scale[0]
                store_tile(gx_at, offset, mask, gu)
        if SUMS:
            sums = projected(sums, g, u, FAMILY, 0, D)
    store_sums(sums_at, sums + map_sums, group, row, c, s, SUMS * (D + 1) + MAP_SUMS * 2, UNIFORM, B)


@kernel
def input_kernel(
    x_at, g_at, gx_at, coef_at, q_at, center_at, rscale_at, n, c, s, loops,
    FAMILY: tl.constexpr, D: tl.constexpr, Q: tl.constexpr, MAPPED: tl.constexpr,
    UNIFORM: tl.constexpr, WIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """gx = g·rscale·p'(u) + q(u)."""
    c, group, row, first, end = span(n, c, s, loops, UNIFORM, WIDE, A, B)
    slope = slope_of(load_theta(coef_at, group, c, s, D + 1, UNIFORM, B), D)
    q = load_theta(q_at, group, c, s, Q + 1, UNIFORM, B)
    mid = load_theta(center_at, group, c, s, MAPPED, UNIFORM, B)
    scale = load_theta(rscale_at, group, c, s, MAPPED, UNIFORM, B)
    for t in range(first, end):
        offset, mask = tile(t, group, n, c, s, UNIFORM, A, B)
        u = standardised(load_tile(x_at, offset, mask), mask, mid, scale, MAPPED)
        gu = load_tile(g_at, offset, mask) * evaluated(slope, u, 2 * FAMILY, D - 1)
        if MAPPED:
            gu = gu * scale[0]
        store_tile(gx_at, offset, mask, gu + evaluated(q, u, FAMILY, Q))


@kernel
def moments_kernel(
    x_at, sums_at, center_at, rscale_at, n, c, s, loops,
    FAMILY: tl.constexpr, COUNT: tl.constexpr, MAPPED: tl.constexpr,
    UNIFORM: tl.constexpr, WIDE: tl.constexpr, A: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """A program's share of Σ φ_j(u), j = 1 … COUNT."""
    c, group, row, first, end = span(n, c, s, loops, UNIFORM, WIDE, A, B)
    mid = load_theta(center_at, group, c, s, MAPPED, UNIFORM, B)
    scale = load_theta(rscale_at, group, c, s, MAPPED, UNIFORM, B)
    sums = zeros(COUNT, A, B)
    for t in range(first, end):
        offset, mask = tile(t, group, n, c, s, UNIFORM, A, B)
        u = standardised(load_tile(x_at, offset, mask), mask, mid, scale, MAPPED)
        sums = projected(sums, tl.where(mask, 1.0, 0.0), u, FAMILY, 1, COUNT)
    store_sums(sums_at, sums, group, row, c, s, COUNT, UNIFORM, B)


def _mapped(x: Tensor, center: Tensor | None, rscale: Tensor | None, channels: int) -> tuple[Tensor, Tensor, int]:
    """Both or none: a missing one is 0 or 1; where both are missing the pointers are not read."""
    if center is None and rscale is None:
        return x, x, 0
    center = torch.zeros(channels, device=x.device) if center is None else center
    return center, torch.ones(channels, device=x.device) if rscale is None else rscale, 1


def series_forward(x: Tensor, layout: Layout, family: int, coef: Tensor, center: Tensor | None, rscale: Tensor | None) -> Tensor:
    """As :func:`slaf.kernels.raw.series_forward`."""
    y = torch.empty_like(x)
    *where, mapped = _mapped(x, center, rscale, layout.c)
    walk = rows_of(x, layout, 0)
    launch(forward_kernel, x, layout, walk, x, y, coef, *where, FAMILY=family, D=coef.shape[1] - 1, MAPPED=mapped)
    return y


def series_backward(
    x: Tensor,
    g: Tensor,
    layout: Layout,
    family: int,
    coef: Tensor,
    center: Tensor | None,
    rscale: Tensor | None,
    input_gradient: bool = True,
    sums: bool = True,
    map_sums: bool = False,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """As :func:`slaf.kernels.raw.series_backward`."""
    gx = torch.empty_like(x) if input_gradient else None
    *where, mapped = _mapped(x, center, rscale, layout.c)
    split = (sums * coef.shape[1], map_sums * 2)
    walk = rows_of(x, layout, sum(split))
    partial = partial_sums(x, layout, walk, sum(split))
    launch(
        backward_kernel, x, layout, walk, x, g, x if gx is None else gx, partial, coef, *where, FAMILY=family, D=coef.shape[1] - 1,
        MAPPED=mapped, INPUT=input_gradient, SUMS=int(sums), MAP_SUMS=int(map_sums),
    )  # fmt: skip
    by_coef, by_map = gathered(partial, layout, split)
    return gx, by_coef if sums else None, by_map.T if map_sums else None


def series_input(
    x: Tensor, g: Tensor, layout: Layout, family: int, coef: Tensor, q: Tensor, center: Tensor | None, rscale: Tensor | None
) -> Tensor:
    """As :func:`slaf.kernels.raw.series_input`."""
    gx = torch.empty_like(x)
    *where, mapped = _mapped(x, center, rscale, layout.c)
    degrees = {"D": coef.shape[1] - 1, "Q": q.shape[1] - 1}
    launch(input_kernel, x, layout, rows_of(x, layout, 0), x, g, gx, coef, q, *where, FAMILY=family, MAPPED=mapped, **degrees)
    return gx


def moments(x: Tensor, layout: Layout, family: int, count: int, center: Tensor | None, rscale: Tensor | None) -> Tensor:
    """As :func:`slaf.kernels.raw.moments`."""
    *where, mapped = _mapped(x, center, rscale, layout.c)
    walk = rows_of(x, layout, count)
    partial = partial_sums(x, layout, walk, count)
    launch(moments_kernel, x, layout, walk, x, partial, *where, FAMILY=family, COUNT=count, MAPPED=mapped)
    return gathered(partial, layout, (count,))[0] / (layout.n * layout.s)
