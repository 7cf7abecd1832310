"""Two primitives: ``series``, Σⱼ cⱼ φⱼ(u), and ``moments``, the means of φⱼ(u), with u = (x - center)·rscale.

Each is defined in plain torch. In eager mode an autograd function keeps only x for backward, whatever the degree, and runs the native
kernels where they take the input. Its backward under ``create_graph=True`` is written with the same primitives, so it can be
differentiated again. Inside functorch transforms, forward-mode differentiation, compilation and export the plain definition runs, where
a custom function would have no correct jvp or vmap. Half types are computed in float32.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from . import raw
from .dispatch import MAX_DEGREE, Layout, place, transformed
from .recurrence import Recurrence
from .tables import gradient_like, spread, table

__all__ = ["moments", "series"]


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, float32 for everything narrower."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def standardize(x: Tensor, center: Tensor | None, rscale: Tensor | None) -> Tensor:
    """u = (x - center)·rscale in the working dtype."""
    u = x.to(working_dtype(x.dtype))
    if center is not None:
        u = u - center
    return u if rscale is None else u * rscale


def clenshaw(u: Tensor, c: Tensor, recurrence: Recurrence) -> Tensor:
    """Σⱼ cⱼ φⱼ(u) for c of shape (degree + 1, …), each cⱼ broadcasting against u."""
    degree = c.shape[0] - 1
    if degree == 0:
        return c[0].expand_as(u) + 0 * u  # keeps NaN where u has it, and the graph to u
    if recurrence.is_power():
        y = torch.addcmul(c[degree - 1], c[degree], u)
        for j in range(degree - 2, -1, -1):
            y = torch.addcmul(c[j], y, u)
        return y
    later, y = None, c[degree]
    for j in range(degree - 1, -1, -1):
        step = torch.addcmul(c[j], y, u, value=recurrence.factors(j)[0])
        if later is not None:
            step = step - recurrence.factors(j + 1)[1] * later
        later, y = y, step
    return y


def _terms(u: Tensor, degree: int, recurrence: Recurrence) -> Any:
    """Yield φ₁(u), …, φ_degree(u) one after the other; two are alive at a time."""
    previous, term = None, recurrence.factors(0)[0] * u if recurrence.factors(0)[0] != 1 else u
    for j in range(1, degree + 1):
        yield term
        if j == degree:
            return
        a, b = recurrence.factors(j)
        following = term * u if a == 1 else a * term * u
        if b:
            following = following - (b if previous is None else b * previous)
        previous, term = term, following


def _matrix(values: Any, like: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)


def differentiate(c: Tensor, recurrence: Recurrence) -> Tensor:
    """The coefficients of d/du of a series: (degree + 1, …) → (degree, …), at least one."""
    degree = c.shape[0] - 1
    matrix = recurrence.derivative(degree)
    columns = max(degree, 1)
    flat = _matrix(matrix.T[:columns].copy(), c) @ c.reshape(degree + 1, -1)
    return flat.reshape(columns, *c.shape[1:])


def native_place(x: Tensor, degree: int, recurrence: Recurrence, *shapes: tuple[int, ...] | None) -> tuple[Layout, int] | None:
    """Where and as which family the kernels evaluate a series whose θ have ``shapes``; ``None`` where the definition must run."""
    code = recurrence.code
    if code is None or not 1 <= degree <= MAX_DEGREE:
        return None
    layout = place(x, *[shape for shape in shapes if shape is not None])
    return None if layout is None else (layout, code)


def _shapes(*theta: Tensor | None) -> list[torch.Size | None]:
    return [None if t is None else t.shape for t in theta]


def _tables(layout: Layout, *theta: Tensor | None) -> list[Tensor | None]:
    return [None if t is None else table(t[None], layout) for t in theta]


# Both functions take ctx in forward: with setup_context, torch inspects the signature at every call, which costs more than a small kernel.
# functorch, which needs setup_context, never gets here.
class _Series(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, c: Tensor, center: Tensor | None, rscale: Tensor | None, recurrence: Recurrence) -> Tensor:
        ctx.recurrence = recurrence
        ctx.save_for_backward(x, c, center, rscale)
        found = native_place(x, len(c) - 1, recurrence, c.shape[1:], *_shapes(center, rscale))
        if found is not None:
            layout, code = found
            return raw.series_forward(x, layout, code, table(c, layout), *_tables(layout, center, rscale))
        return _defined(x, c, center, rscale, recurrence).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        saved = ctx.saved_tensors  # a checkpoint lets them be read once
        found = None if torch.is_grad_enabled() else _native_gradients(ctx, saved, g)
        return (*(_plain_gradients(ctx, saved, g) if found is None else found), None)


def _native_gradients(ctx: Any, saved: tuple[Tensor, ...], g: Tensor) -> tuple[Tensor | None, ...] | None:
    """The gradients of x, c, center and rscale in one pass; ``None`` where no kernel can run."""
    x, c, center, rscale = saved
    need_x, need_c, need_center, need_rscale, _ = ctx.needs_input_grad
    found = native_place(x, len(c) - 1, ctx.recurrence, c.shape[1:], *_shapes(center, rscale))
    like = None if found is None else gradient_like(g, x)
    if found is None or like is None:
        return None
    layout, code = found
    mid, scale = _tables(layout, center, rscale)
    gx, sums, slopes = raw.series_backward(x, like, layout, code, table(c, layout), mid, scale, need_x, need_c, need_center or need_rscale)
    gc = spread(sums, c.shape[1:], layout).to(c.dtype) if need_c and sums is not None else None
    gcenter = grscale = None
    if slopes is not None:
        by_center = -slopes[0] if scale is None else -slopes[0] * scale[:, 0]
        if need_center and center is not None:
            gcenter = spread(by_center[:, None], center.shape, layout)[0].to(center.dtype)
        if need_rscale and rscale is not None and scale is not None:
            grscale = spread((slopes[1] / scale[:, 0])[:, None], rscale.shape, layout)[0].to(rscale.dtype)
    return gx, gc, gcenter, grscale


def _plain_gradients(ctx: Any, saved: tuple[Tensor, ...], g: Tensor) -> tuple[Tensor | None, ...]:
    """The same in plain torch, to be differentiated again."""
    x, *given = saved
    need_x, need_c, need_center, need_rscale, _ = ctx.needs_input_grad
    work = working_dtype(x.dtype)
    c = given[0].to(work)
    center, rscale = (t if t is None else t.to(work) for t in given[1:])
    g = g.to(work)
    grads: list[Tensor | None] = [None] * 4
    if need_c:
        grads[1] = _project(g, standardize(x, center, rscale), c, ctx.recurrence)
    if need_x or need_center or need_rscale:
        at = x if len(c) > 2 else x.nan_to_num(0.0, 0.0, 0.0)  # the slope of a line is finite where x is not
        slope = series(at, differentiate(c, ctx.recurrence), center, rscale, ctx.recurrence, dtype=work)
        grads[0], *grads[2:] = _input_gradients(g * slope, x, center, rscale, (need_x, need_center, need_rscale))
    return grads[0], *(t if t is None else t.to(like.dtype) for t, like in zip(grads[1:], given, strict=True))


def _project(g: Tensor, u: Tensor, c: Tensor, recurrence: Recurrence) -> Tensor:
    """Σ g φⱼ(u) over the elements that share cⱼ, for every j."""
    shape = c.shape[1:]
    sums = [g.sum_to_size(shape)]
    sums += [(g * term).sum_to_size(shape) for term in _terms(u, c.shape[0] - 1, recurrence)]
    return torch.stack(sums)


def _input_gradients(gu: Tensor, x: Tensor, center: Tensor | None, rscale: Tensor | None, need: tuple[bool, bool, bool]) -> Any:
    """From the gradient of u to those of x, center and rscale."""
    gx = gu if rscale is None else gu * rscale
    gcenter = -gx.sum_to_size(center.shape) if need[1] and center is not None else None
    grscale = (gu * standardize(x, center, None)).sum_to_size(rscale.shape) if need[2] and rscale is not None else None
    return gx.to(x.dtype) if need[0] else None, gcenter, grscale


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, count: int, shape: tuple[int, ...], center: Tensor | None, rscale: Tensor | None, recurrence: Recurrence
    ) -> Tensor:
        ctx.count, ctx.shape, ctx.recurrence = count, shape, recurrence
        ctx.save_for_backward(x, center, rscale)
        found = native_place(x, (count + 1) // 2, recurrence, shape, *_shapes(center, rscale))
        if found is None:
            return _moments(x, count, shape, center, rscale, recurrence)
        layout, code = found
        t = raw.moments(x, layout, code, count, *_tables(layout, center, rscale))
        return (spread(t, shape, layout) / (layout.c // prod(shape))).to(torch.float32)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, *given = ctx.saved_tensors
        center, rscale = (t if t is None else t.to(g.dtype) for t in given)
        share = x.numel() // max(g[0].numel(), 1)
        c = torch.cat([torch.zeros_like(g[:1]), g / share])
        slope = series(x, differentiate(c, ctx.recurrence), center, rscale, ctx.recurrence, dtype=g.dtype)
        need = ctx.needs_input_grad
        gx, gcenter, grscale = _input_gradients(slope, x, center, rscale, (need[0], need[3], need[4]))
        gcenter, grscale = (t if t is None else t.to(like.dtype) for t, like in zip((gcenter, grscale), given, strict=True))
        return gx, None, None, gcenter, grscale, None


def _moments(x: Tensor, count: int, shape: tuple[int, ...], center: Tensor | None, rscale: Tensor | None, recurrence: Recurrence) -> Tensor:
    center, rscale = (t if t is None else t.to(working_dtype(x.dtype)) for t in (center, rscale))
    u = standardize(x, center, rscale)
    share = u.numel() // max(torch.Size(shape).numel(), 1)
    return torch.stack([term.sum_to_size(shape) / share for term in _terms(u, count, recurrence)])


def series(
    x: Tensor, c: Tensor, center: Tensor | None, rscale: Tensor | None, recurrence: Recurrence, dtype: torch.dtype | None = None
) -> Tensor:
    """y = Σⱼ cⱼ φⱼ((x - center)·rscale), elementwise.

    Args:
        x: any shape, a floating dtype.
        c: (degree + 1, …), each c[j] with as many dimensions as x and broadcasting against it.
        center, rscale: broadcast against x, or ``None`` for 0 and 1.
        recurrence: the family φ.
        dtype: of the result; x's by default.

    Differentiable any number of times in x, c, center and rscale; keeps x alone for backward.
    """
    work = working_dtype(x.dtype) if dtype is None or dtype != torch.float64 else torch.float64
    out = dtype or x.dtype
    if work == working_dtype(x.dtype) and not transformed():
        if out != x.dtype:  # inside a backward: the slope is wanted in full precision
            return _Series.apply(x.to(work), c, center, rscale, recurrence).to(out)
        return _Series.apply(x, c, center, rscale, recurrence)
    return _defined(x.to(work), c, center, rscale, recurrence).to(out)


def _defined(x: Tensor, c: Tensor, center: Tensor | None, rscale: Tensor | None, recurrence: Recurrence) -> Tensor:
    """The definition, in the working dtype."""
    work = working_dtype(x.dtype)
    center, rscale = (t if t is None else t.to(work) for t in (center, rscale))
    return clenshaw(standardize(x, center, rscale), c.to(work), recurrence)


def moments(x: Tensor, count: int, shape: tuple[int, ...], center: Tensor | None, rscale: Tensor | None, recurrence: Recurrence) -> Tensor:
    """tⱼ = mean of φⱼ((x - center)·rscale), j = 1 … count, over the elements that share an entry of ``shape``: (count, *shape).

    ``shape`` broadcasts against x. Computed and returned in float32 or float64; differentiable; keeps x alone for backward.
    """
    if transformed():
        return _moments(x, count, shape, center, rscale, recurrence)
    return _Moments.apply(x, count, shape, center, rscale, recurrence)
