"""The kernels on tensors, here and in the files named raw_… alone: every tensor has passed ``dispatch.place``.

Parameters are tables (c, K) of float32, see :mod:`.tables`, or rows as modules hold them; sums come back in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from . import gpu
from .dispatch import DTYPES, Layout, current_mode, threads
from .native import entries
from .tables import positions

if TYPE_CHECKING:
    from .standardised import Kept

__all__ = [
    "accurate",
    "bumps_backward",
    "bumps_forward",
    "bumps_input",
    "by_device",
    "hinges_backward",
    "hinges_forward",
    "moments",
    "pieces_backward",
    "pieces_forward",
    "series_backward",
    "series_forward",
    "series_input",
    "sites_bumps_backward",
    "sites_bumps_forward",
    "sites_pieces_backward",
    "sites_pieces_forward",
    "sites_rational_backward",
    "sites_rational_forward",
    "sites_series_backward",
    "sites_series_forward",
    "standardise",
    "standardised_backward",
    "strided_hinges_backward",
    "strided_hinges_forward",
]


_F = TypeVar("_F", bound=Callable[..., Any])


def by_device(function: _F) -> _F:
    """The Triton kernel of the same name takes CUDA tensors; all tensors are on the device of ``x``, since a pointer does not tell."""
    name = function.__name__

    @wraps(function)
    def run(x: Tensor, *arguments: Any) -> Any:
        if torch.cuda.is_initialized():
            for t in (t for a in arguments for t in (a if isinstance(a, tuple) else (a,))):
                if isinstance(t, Tensor) and t.device != x.device:
                    raise RuntimeError(f"the parameters must be on the device of the input, {x.device}; got {t.device}")
        if x.is_cuda or current_mode() == "triton":
            return gpu.function(name)(x, *arguments)
        return function(x, *arguments)

    return run  # type: ignore[return-value]


def _head(x: Tensor, layout: Layout) -> tuple[int, int, int, int]:
    return DTYPES[x.dtype], layout.n, layout.c, layout.s


def _position(layout: Layout) -> Tensor | None:
    return None if len(layout.dims) < 2 else positions(layout)


@by_device
def series_forward(x: Tensor, layout: Layout, family: int, coef: Tensor, center: Tensor | None, rscale: Tensor | None) -> Tensor:
    """Σ_j coef[k, j] φ_j((x - center[k])·rscale[k]) in the dtype and memory format of ``x``."""
    y = torch.empty_like(x)
    entries.series_forward(x, y, *_head(x, layout), family, coef.shape[1] - 1, coef, center, rscale, threads(x.numel()))
    return y


@by_device
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
    """One pass: the gradient of x, Σ g φ_j(u) as (c, degree + 1), and Σ g p'(u), Σ g p'(u) u as (2, c)."""
    gx = torch.empty_like(x) if input_gradient else None
    gcoef = x.new_empty(coef.shape, dtype=torch.float64) if sums or map_sums else None
    slopes = x.new_empty(2, layout.c, dtype=torch.float64) if map_sums else None
    entries.series_backward(
        x, g, gx, *_head(x, layout), family, coef.shape[1] - 1, coef, center, rscale, gcoef,
        *(None, None) if slopes is None else (slopes[0], slopes[1]), threads(x.numel()),
    )  # fmt: skip
    return gx, gcoef, slopes


@by_device
def series_input(
    x: Tensor, g: Tensor, layout: Layout, family: int, coef: Tensor, q: Tensor, center: Tensor | None, rscale: Tensor | None
) -> Tensor:
    """g p'(u)·rscale + q(u), with q (c, degree of q + 1) in the same family: the gradient of x where p depends on the batch."""
    gx = torch.empty_like(x)
    entries.series_backward_input(
        x, g, gx, *_head(x, layout), family, coef.shape[1] - 1, coef, q.shape[1] - 1, q, center, rscale, threads(x.numel()),
    )  # fmt: skip
    return gx


@by_device
def moments(x: Tensor, layout: Layout, family: int, count: int, center: Tensor | None, rscale: Tensor | None) -> Tensor:
    """The means of φ_1(u) … φ_count(u) over the elements of each of the c rows: (c, count)."""
    t = x.new_empty(layout.c, count, dtype=torch.float64)
    entries.moments(x, *_head(x, layout), family, count, center, rscale, t, threads(x.numel()))
    return t.div_(layout.n * layout.s)


# -- parameters as modules hold them: rows of float32, each for sites / rows sites in a run ---------------------------------------


@by_device
def sites_series_forward(
    x: Tensor, layout: Layout, family: int, factor: float, weight: Tensor, bias: Tensor, center: Tensor | None, rscale: Tensor | None
) -> tuple[Tensor, bytearray]:
    """factor·(b + Σ_j a_j φ_j(u)), and the table that the backward pass reads."""
    (n, c, s, _, _), (rows, degree), y = layout, weight.shape, torch.empty_like(x)
    table = bytearray(4 * c * (degree + 3))
    entries.sites_series_forward(
        x, y, DTYPES[x.dtype], n, c, s, family, degree, rows, factor, _position(layout), weight, bias, center, rscale, table,
        threads(x.numel()),
    )  # fmt: skip
    return y, table


@by_device
def sites_series_backward(
    x: Tensor, g: Tensor, layout: Layout, family: int, factor: float, weight: Tensor, bias: Tensor, table: bytearray, input_gradient: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """The gradients of x, weight and bias, of which the table is read."""
    gx = torch.empty_like(x) if input_gradient else None
    (n, c, s, _, _), (rows, degree), gweight, gbias = layout, weight.shape, torch.empty_like(weight), torch.empty_like(bias)
    entries.sites_series_backward(
        x, g, gx, DTYPES[x.dtype], n, c, s, family, degree, rows, factor, _position(layout), gweight, gbias, table, threads(x.numel()),
    )  # fmt: skip
    return gx, gweight, gbias


def accurate(t: Tensor, family: int, unit: float) -> bool:
    """Whether no digits are lost between t (sites, 2), the means of φ_1 and φ_2, and the variances; u is ``unit`` times standard."""
    t = t.contiguous()
    return entries.accurate(family, len(t), t, unit)


def standardise(
    x: Tensor, layout: Layout, family: int, factor: float, weight: Tensor, bias: Tensor, kept: Kept, unit: float
) -> tuple[Tensor, bytearray, bytearray] | None:
    """Counts a batch in ``kept``; y and what backward needs, two tables. ``None``, and nothing changed: digits would be lost."""
    (n, c, s, _, _), (rows, degree), y = layout, weight.shape, torch.empty_like(x)
    table, state = bytearray(4 * c * (degree + 3)), bytearray(8 * c * 4)
    done = entries.standardise(
        x, y, DTYPES[x.dtype], n, c, s, family, degree, rows, factor, _position(layout), weight, bias, kept.mean, kept.var, kept.batches,
        kept.momentum, kept.warm_up, kept.renorm, kept.eps, unit, table, state, threads(x.numel()),
    )  # fmt: skip
    return (y, table, state) if done else None


def standardised_backward(
    x: Tensor,
    g: Tensor,
    layout: Layout,
    family: int,
    factor: float,
    weight: Tensor,
    bias: Tensor,
    table: bytearray,
    state: bytearray,
    input_gradient: bool,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """The gradients of x, weight and bias, of which the table is read, through the statistics of the batch."""
    gx = torch.empty_like(x) if input_gradient else None
    (n, c, s, _, _), (rows, degree), gweight, gbias = layout, weight.shape, torch.empty_like(weight), torch.empty_like(bias)
    entries.standardised_backward(
        x, g, gx, DTYPES[x.dtype], n, c, s, family, degree, rows, factor, _position(layout), gweight, gbias, table, state,
        threads(x.numel()),
    )  # fmt: skip
    return gx, gweight, gbias


@by_device
def sites_rational_forward(x: Tensor, layout: Layout, form: int, degree: int, num: Tensor, den: Tensor | None) -> tuple[Tensor, bytearray]:
    """P/Q, and the table that the backward pass reads; ``degree`` is Q's."""
    (n, c, s, _, _), y = layout, torch.empty_like(x)
    (rows, terms), (den_rows, den_terms) = num.shape, (0, 0) if den is None else den.shape
    table = bytearray(4 * c * (terms + den_terms))
    entries.sites_rational_forward(
        x, y, DTYPES[x.dtype], n, c, s, form, terms - 1, degree, rows, den_rows, _position(layout), num, den, table, threads(x.numel()),
    )  # fmt: skip
    return y, table


@by_device
def sites_rational_backward(
    x: Tensor,
    g: Tensor,
    layout: Layout,
    form: int,
    degree: int,
    num: Tensor,
    den: Tensor | None,
    table: bytearray,
    input_gradient: bool,
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """The gradients of x, the numerator and the denominator, of which the table is read."""
    gx = torch.empty_like(x) if input_gradient else None
    (n, c, s, _, _), (rows, terms), gnum = layout, num.shape, torch.empty_like(num)
    den_rows, gden = (0, None) if den is None else (den.shape[0], torch.empty_like(den))
    entries.sites_rational_backward(
        x, g, gx, DTYPES[x.dtype], n, c, s, form, terms - 1, degree, rows, den_rows, _position(layout), gnum, gden, table,
        threads(x.numel()),
    )  # fmt: skip
    return gx, gnum, gden


@by_device
def pieces_forward(x: Tensor, layout: Layout, degree: int, table: Tensor, center: Tensor, rscale: Tensor) -> Tensor:
    """Piecewise polynomials on a uniform grid: ``table`` (c, (cells + 2)·(degree + 1)), of pieces and powers, see :mod:`.pieces`."""
    y = torch.empty_like(x)
    entries.pieces_forward(x, y, *_head(x, layout), degree, table.shape[1] // (degree + 1) - 2, table, center, rscale, threads(x.numel()))
    return y


@by_device
def pieces_backward(
    x: Tensor, g: Tensor, layout: Layout, degree: int, table: Tensor, center: Tensor, rscale: Tensor, input_gradient: bool = True
) -> tuple[Tensor | None, Tensor]:
    """One pass: the gradients of x and of ``table``."""
    gx = torch.empty_like(x) if input_gradient else None
    sums = x.new_empty(table.shape, dtype=torch.float64)
    entries.pieces_backward(
        x, g, gx, *_head(x, layout), degree, table.shape[1] // (degree + 1) - 2, table, center, rscale, sums, threads(x.numel()),
    )  # fmt: skip
    return gx, sums


def sites_pieces_forward(
    x: Tensor,
    layout: Layout,
    degree: int,
    factor: float,
    weight: Tensor,
    bias: Tensor | None,
    matrix: tuple[Tensor, Tensor, Tensor],
    center: Tensor,
    rscale: Tensor,
) -> tuple[Tensor, bytearray]:
    """:func:`pieces_forward` with θ = factor·(bias, weight) times a sparse matrix for the table; and that, for the backward pass.

    ``matrix``: where the entries of each of the table's numbers begin, their rows, and their values.
    """
    (n, c, s, _, _), (rows, columns), y, numbers = layout, weight.shape, torch.empty_like(x), matrix[0].shape[0] - 1
    table = bytearray(4 * c * numbers)
    entries.sites_pieces_forward(
        x, y, DTYPES[x.dtype], n, c, s, degree, numbers // (degree + 1) - 2, rows, columns, factor, _position(layout), weight, bias,
        *matrix, center, rscale, table, threads(x.numel()),
    )  # fmt: skip
    return y, table


def sites_pieces_backward(
    x: Tensor,
    g: Tensor,
    layout: Layout,
    degree: int,
    factor: float,
    weight: Tensor,
    bias: Tensor | None,
    matrix: tuple[Tensor, Tensor, Tensor],
    center: Tensor,
    rscale: Tensor,
    table: bytearray,
    input_gradient: bool,
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """The gradients of x, weight and bias, of which the table is read."""
    gx, gweight, gbias = torch.empty_like(x) if input_gradient else None, torch.empty_like(weight), None
    if bias is not None:
        gbias = torch.empty_like(bias)
    (n, c, s, _, _), (rows, columns) = layout, weight.shape
    entries.sites_pieces_backward(
        x, g, gx, DTYPES[x.dtype], n, c, s, degree, (matrix[0].shape[0] - 1) // (degree + 1) - 2, rows, columns, factor, _position(layout),
        gweight, gbias, *matrix, center, rscale, table, threads(x.numel()),
    )  # fmt: skip
    return gx, gweight, gbias


@by_device
def hinges_forward(x: Tensor, layout: Layout, parameters: Tensor) -> Tensor:
    """Two lines and hinges: ``parameters`` (c, 4 + 2·hinges), see :mod:`.hinges`."""
    y = torch.empty_like(x)
    count = parameters.shape[1] // 2 - 2
    entries.hinges_forward(x, y, *_head(x, layout), count, parameters, threads(x.numel()))
    return y


@by_device
def hinges_backward(x: Tensor, g: Tensor, layout: Layout, parameters: Tensor, input_gradient: bool = True) -> tuple[Tensor | None, Tensor]:
    """One pass: the gradient of x, and the sums (c, 4 + 2·hinges) that those of the parameters are made of."""
    gx = torch.empty_like(x) if input_gradient else None
    sums = x.new_empty(parameters.shape, dtype=torch.float64)
    entries.hinges_backward(x, g, gx, *_head(x, layout), parameters.shape[1] // 2 - 2, parameters, sums, threads(x.numel()))
    return gx, sums


def _given(parameters: dict[str, Tensor], steps: dict[str, tuple[int, int]]) -> list[Any]:
    """What the kernels are told of each: where it lies, and the steps from site to site and from hinge to hinge."""
    lines: list[Any] = [a for n in ("place", "left", "right", "height") for a in (parameters.get(n), steps[n][0] if n in steps else 0)]
    if "slopes" not in parameters:
        return [*lines, None, 0, 0, None, 0, 0]
    return [*lines, parameters["slopes"], *steps["slopes"], parameters["places"], *steps["places"]]


def strided_hinges_forward(
    x: Tensor, layout: Layout, count: int, parameters: dict[str, Tensor], steps: dict[str, tuple[int, int]]
) -> tuple[Tensor, bytearray]:
    """:func:`hinges_forward` of parameters as they lie, by name, see :mod:`.hinges`; and the table that the backward pass reads."""
    (n, c, s, _, _), y, table = layout, torch.empty_like(x), bytearray(4 * layout.c * (4 + 2 * count))
    entries.strided_hinges_forward(x, y, DTYPES[x.dtype], n, c, s, count, *_given(parameters, steps), table, threads(x.numel()))
    return y, table


def strided_hinges_backward(
    x: Tensor,
    g: Tensor,
    layout: Layout,
    count: int,
    gradients: dict[str, Tensor],
    steps: dict[str, tuple[int, int]],
    table: bytearray,
    need_x: bool,
) -> Tensor | None:
    """The gradient of x; those of the parameters are written."""
    (n, c, s, _, _), gx = layout, torch.empty_like(x) if need_x else None
    entries.strided_hinges_backward(x, g, gx, DTYPES[x.dtype], n, c, s, count, *_given(gradients, steps), table, threads(x.numel()))
    return gx


# -- Gaussians on a uniform grid: terms, spacing, width ------------------------------------------------------------------------------


@by_device
def bumps_forward(x: Tensor, layout: Layout, grid: tuple[int, float, float], coef: Tensor, center: Tensor, rscale: Tensor) -> Tensor:
    """Their sum with coef (c, terms + 1), the bias first, at u = (x - center)·rscale."""
    y = torch.empty_like(x)
    entries.bumps_forward(x, y, *_head(x, layout), *grid, coef, center, rscale, threads(x.numel()))
    return y


@by_device
def bumps_backward(
    x: Tensor,
    g: Tensor,
    layout: Layout,
    grid: tuple[int, float, float],
    coef: Tensor,
    center: Tensor,
    rscale: Tensor,
    input_gradient: bool = True,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """One pass: the gradient of x, that of coef, and Σ g y'(u), Σ g y'(u) u as (2, c)."""
    gx = torch.empty_like(x) if input_gradient else None
    gcoef, slopes = x.new_empty(coef.shape, dtype=torch.float64), x.new_empty(2, layout.c, dtype=torch.float64)
    entries.bumps_backward(x, g, gx, *_head(x, layout), *grid, coef, center, rscale, gcoef, slopes, threads(x.numel()))
    return gx, gcoef, slopes


def bumps_input(
    x: Tensor, g: Tensor, layout: Layout, grid: tuple[int, float, float], coef: Tensor, center: Tensor, rscale: Tensor, line: Tensor
) -> Tensor:
    """g y'(u)·rscale + m + k·u, line (c, 2): the gradient of x where the map depends on the batch."""
    gx = torch.empty_like(x)
    entries.bumps_input(x, g, gx, *_head(x, layout), *grid, coef, center, rscale, line, threads(x.numel()))
    return gx


def sites_bumps_forward(
    x: Tensor, layout: Layout, grid: tuple[int, float, float], factor: float, weight: Tensor, bias: Tensor, center: Tensor, rscale: Tensor
) -> tuple[Tensor, bytearray]:
    """With factor·(bias, weight), rows as modules hold them, for coef; and the table that the backward pass reads."""
    (n, c, s, _, _), (rows, terms), y = layout, weight.shape, torch.empty_like(x)
    table = bytearray(4 * c * (terms + 1))
    entries.sites_bumps_forward(
        x, y, DTYPES[x.dtype], n, c, s, *grid, rows, factor, _position(layout), weight, bias, center, rscale, table, threads(x.numel()),
    )  # fmt: skip
    return y, table


def sites_bumps_backward(
    x: Tensor,
    g: Tensor,
    layout: Layout,
    grid: tuple[int, float, float],
    factor: float,
    weight: Tensor,
    bias: Tensor,
    center: Tensor,
    rscale: Tensor,
    table: bytearray,
    input_gradient: bool,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """The gradients of x, weight and bias, of which the table is read."""
    gx = torch.empty_like(x) if input_gradient else None
    (n, c, s, _, _), gweight, gbias = layout, torch.empty_like(weight), torch.empty_like(bias)
    entries.sites_bumps_backward(
        x, g, gx, DTYPES[x.dtype], n, c, s, *grid, bias.shape[0], factor, _position(layout), gweight, gbias, center, rscale, table,
        threads(x.numel()),
    )  # fmt: skip
    return gx, gweight, gbias
