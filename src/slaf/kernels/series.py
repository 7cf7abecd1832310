"""Two primitives: ``series``, Σⱼ cⱼ φⱼ(u), and ``moments``, the means of φⱼ(u), with u = (x - center)·rscale.

Each is defined in plain torch. In eager mode an autograd function keeps only x for backward, whatever the degree; its backward is
written with the same primitives, so it can be differentiated again. Inside functorch transforms, forward-mode differentiation,
compilation and export the plain definition runs, where a custom function would have no correct jvp or vmap.
Half types are computed in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .recurrence import Recurrence

__all__ = ["moments", "series"]


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, float32 for everything narrower."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _transformed() -> bool:
    """Whether autograd functions must be avoided here: functorch, forward AD, compilation, tracing, export."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._functorch.maybe_current_level() is not None
        or torch.autograd.forward_ad._current_level >= 0
    )


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


class _Series(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, c: Tensor, center: Tensor | None, rscale: Tensor | None, recurrence: Recurrence) -> Tensor:
        return clenshaw(standardize(x, center, rscale), c, recurrence).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:  # noqa: ARG004
        x, c, center, rscale, ctx.recurrence = inputs
        ctx.save_for_backward(x, c, center, rscale)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, c, center, rscale = ctx.saved_tensors
        need_x, need_c, need_center, need_rscale, _ = ctx.needs_input_grad
        g = g.to(c.dtype)
        gx = gc = gcenter = grscale = None
        if need_c:
            gc = _project(g, standardize(x, center, rscale), c, ctx.recurrence)
        if need_x or need_center or need_rscale:
            slope = series(x, differentiate(c, ctx.recurrence), center, rscale, ctx.recurrence, dtype=c.dtype)
            gx, gcenter, grscale = _input_gradients(g * slope, x, center, rscale, (need_x, need_center, need_rscale))
        return gx, gc, gcenter, grscale, None


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
        x: Tensor, count: int, shape: tuple[int, ...], center: Tensor | None, rscale: Tensor | None, recurrence: Recurrence
    ) -> Tensor:
        return _moments(x, count, shape, center, rscale, recurrence)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:  # noqa: ARG004
        x, ctx.count, ctx.shape, center, rscale, ctx.recurrence = inputs
        ctx.save_for_backward(x, center, rscale)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, center, rscale = ctx.saved_tensors
        share = x.numel() // max(g[0].numel(), 1)
        c = torch.cat([torch.zeros_like(g[:1]), g / share])
        slope = series(x, differentiate(c, ctx.recurrence), center, rscale, ctx.recurrence, dtype=g.dtype)
        need = ctx.needs_input_grad
        gx, gcenter, grscale = _input_gradients(slope, x, center, rscale, (need[0], need[3], need[4]))
        return gx, None, None, gcenter, grscale, None


def _moments(x: Tensor, count: int, shape: tuple[int, ...], center: Tensor | None, rscale: Tensor | None, recurrence: Recurrence) -> Tensor:
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
    c = c.to(work)
    center, rscale = (t if t is None else t.to(work) for t in (center, rscale))
    out = dtype or x.dtype
    if work == working_dtype(x.dtype) and not _transformed():
        if out != x.dtype:  # inside a backward: the slope is wanted in full precision
            return _Series.apply(x.to(work), c, center, rscale, recurrence).to(out)
        return _Series.apply(x, c, center, rscale, recurrence)
    return clenshaw(standardize(x.to(work), center, rscale), c, recurrence).to(out)


def moments(x: Tensor, count: int, shape: tuple[int, ...], center: Tensor | None, rscale: Tensor | None, recurrence: Recurrence) -> Tensor:
    """tⱼ = mean of φⱼ((x - center)·rscale), j = 1 … count, over the elements that share an entry of ``shape``: (count, *shape).

    ``shape`` broadcasts against x. Computed and returned in float32 or float64; differentiable; keeps x alone for backward.
    """
    work = working_dtype(x.dtype)
    center, rscale = (t if t is None else t.to(work) for t in (center, rscale))
    if _transformed():
        return _moments(x, count, shape, center, rscale, recurrence)
    return _Moments.apply(x, count, shape, center, rscale, recurrence)
