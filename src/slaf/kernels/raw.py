"""The kernels on tensors: the only place where pointers are taken. Every tensor here has passed ``dispatch.place``.

θ comes as (K, …), each of the K broadcasting against the input, and goes as a table (c, K); sums come back in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from . import gpu, native
from .dispatch import DTYPES, Layout, current_mode, plain, refusal, threads, wrapped

if TYPE_CHECKING:
    from .standardised import Kept

__all__ = [
    "bumps_backward",
    "bumps_forward",
    "bumps_input",
    "by_row",
    "by_site",
    "gate_norm_backward",
    "gate_norm_forward",
    "gradient_like",
    "hinges_backward",
    "hinges_forward",
    "moments",
    "pieces_backward",
    "pieces_forward",
    "positions",
    "quotient_norm",
    "readable",
    "rows_table",
    "sample_spreads",
    "series_backward",
    "series_forward",
    "series_input",
    "sites_rational_backward",
    "sites_rational_forward",
    "sites_series_backward",
    "sites_series_forward",
    "spread",
    "standardise",
    "standardised_backward",
    "table",
    "table_series_forward",
]


def table(theta: Tensor, layout: Layout) -> Tensor:
    """θ (K, …) as the kernels' float32 table (c, K)."""
    theta, count = theta.detach(), len(theta)
    if theta.numel() == count:
        flat = theta.reshape(1, count)
    elif len(layout.dims) == 1:
        flat = theta.reshape(count, -1).T
    else:
        others = [d for d in range(theta.dim() - 1) if d not in layout.dims]
        inner = theta.permute(0, *(d + 1 for d in (*others, *layout.dims))).reshape(count, *(theta.shape[d + 1] for d in layout.dims))
        flat = inner.expand(count, *layout.sizes).reshape(count, -1).T
    flat = flat.to(torch.float32)
    return readable(flat if len(flat) == layout.c else flat.expand(layout.c, -1))


def rows_table(rows: Tensor, shape: tuple[int, ...], layout: Layout) -> Tensor:
    """:func:`table` of θ given as rows (sites or 1, K), where (sites,) broadcasts in ``shape``."""
    if len(layout.dims) > 1:
        return table(rows.T.reshape(rows.shape[1], *(shape if rows.shape[0] > 1 else (1,) * len(shape))), layout)
    rows = rows.detach().to(torch.float32)
    return readable(rows if rows.shape[0] == layout.c else rows.expand(layout.c, -1))


def readable(table: Tensor) -> Tensor:
    """Dense, and on a device that has kernels."""
    if type(table) is not Tensor or not (table.is_cpu or table.is_cuda):
        where = table.device.type if type(table) is Tensor else type(table).__name__
        raise RuntimeError(f"the parameters must be plain tensors on the CPU or a CUDA device, where the input is; got {where}")
    return (table.resolve_neg() if table.is_neg() else table).contiguous()


def by_site(sums: Tensor, shape: tuple[int, ...], layout: Layout) -> Tensor:
    """Sums (c, K) in the order of the sites, not of memory."""
    return sums if len(layout.dims) <= 1 else spread(sums, shape, layout).reshape(sums.shape[1], -1).T


def by_row(sums: Tensor, count: int, shape: tuple[int, ...], layout: Layout) -> Tensor:
    """Sums (c, K) as (count, K): added up over the runs of sites that share a row of θ."""
    sums = by_site(sums, shape, layout)
    return sums if len(sums) == count else sums.reshape(count, -1, sums.shape[1]).sum(1)


def spread(sums: Tensor, shape: tuple[int, ...], layout: Layout) -> Tensor:
    """Sums (c, K) as the gradient of a θ of shape (K, *shape): added up where θ is shared."""
    count, one = sums.shape[1], (1,) * len(shape)
    if shape == one:
        return (sums.sum(0) if len(sums) > 1 else sums[0]).reshape(count, *one)
    if len(layout.dims) == 1:
        return sums.T.reshape(count, *shape)
    others = [d for d in range(len(shape)) if d not in layout.dims]
    position = {d: i + 1 for i, d in enumerate((*others, *layout.dims))}
    full = sums.T.reshape(count, *(1 for _ in others), *layout.sizes)
    return full.permute(0, *(position[d] for d in range(len(shape)))).sum_to_size((count, *shape))


def gradient_like(g: Tensor, x: Tensor) -> Tensor | None:
    """``g`` as ``x``, which has passed the dispatcher, lies in memory; ``None`` if no kernel may see it.

    Copied where it differs: the gradient of a sum is expanded.
    """
    if g.dtype is x.dtype and g.stride() == x.stride() and (plain(g) or refusal(g) is None):
        return g
    if type(g) is not Tensor or g.layout is not torch.strided or g.device != x.device or g.dtype != x.dtype:
        return None
    if wrapped(g) and not (g.is_neg() or g._is_zerotensor()):  # batched by is_grads_batched=True
        return None
    g = torch.empty_like(x).copy_(g)
    return g if refusal(g) is None else None


def _pointer(t: Tensor | None) -> int | None:
    return None if t is None else t.data_ptr()


_entry = lru_cache(maxsize=None)(native.function)


def _run(name: str, *arguments: float | None) -> bool:
    """Whether the kernel did it: one may find that it cannot, for what it has read."""
    status = _entry(name)(*arguments)
    if status == 1:
        raise RuntimeError(f"slaf's kernel {name} refused its arguments; please report this")
    if status == 2:
        raise MemoryError(f"slaf's kernel {name} is out of memory")
    return not status


_F = TypeVar("_F", bound=Callable[..., Any])


def _by_device(function: _F) -> _F:
    """The Triton kernel of the same name takes CUDA tensors; all tensors are on the device of ``x``, since a pointer does not tell."""
    name = function.__name__

    @wraps(function)
    def run(x: Tensor, *arguments: Any, **options: Any) -> Any:
        if torch.cuda.is_initialized():
            for t in arguments:
                if isinstance(t, Tensor) and t.device != x.device:
                    raise RuntimeError(f"the parameters must be on the device of the input, {x.device}; got {t.device}")
        return (gpu.function(name) if x.is_cuda or current_mode() == "triton" else function)(x, *arguments, **options)

    return run  # type: ignore[return-value]


def _head(x: Tensor, layout: Layout) -> tuple[int, int, int, int]:
    return DTYPES[x.dtype], layout.n, layout.c, layout.s


def _position(layout: Layout) -> int | None:
    return None if len(layout.dims) < 2 else _pointer(positions(layout))


@lru_cache(maxsize=64)
def positions(layout: Layout) -> Tensor | None:
    """Where in memory each site lies; ``None`` where they lie in order."""
    order = sorted(range(len(layout.dims)), key=layout.dims.__getitem__)
    if order == list(range(len(order))):
        return None
    return torch.arange(layout.c, device="cpu").reshape(layout.sizes).permute(order).reshape(-1)


@_by_device
def series_forward(x: Tensor, layout: Layout, family: int, coef: Tensor, center: Tensor | None, rscale: Tensor | None) -> Tensor:
    """Σ_j coef[k, j] φ_j((x - center[k])·rscale[k]) in the dtype and memory format of ``x``."""
    y = torch.empty_like(x)
    _run(
        "series_forward",
        x.data_ptr(), y.data_ptr(), *_head(x, layout), family, coef.shape[1] - 1,
        coef.data_ptr(), _pointer(center), _pointer(rscale), threads(x.numel()),
    )  # fmt: skip
    return y


@_by_device
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
    _run(
        "series_backward",
        x.data_ptr(), g.data_ptr(), _pointer(gx), *_head(x, layout), family, coef.shape[1] - 1,
        coef.data_ptr(), _pointer(center), _pointer(rscale),
        _pointer(gcoef), *(None, None) if slopes is None else (slopes[0].data_ptr(), slopes[1].data_ptr()), threads(x.numel()),
    )  # fmt: skip
    return gx, gcoef, slopes


@_by_device
def series_input(
    x: Tensor, g: Tensor, layout: Layout, family: int, coef: Tensor, q: Tensor, center: Tensor | None, rscale: Tensor | None
) -> Tensor:
    """g p'(u)·rscale + q(u), with q (c, degree of q + 1) in the same family: the gradient of x where p depends on the batch."""
    gx = torch.empty_like(x)
    _run(
        "series_backward_input",
        x.data_ptr(), g.data_ptr(), gx.data_ptr(), *_head(x, layout), family, coef.shape[1] - 1, coef.data_ptr(),
        q.shape[1] - 1, q.data_ptr(), _pointer(center), _pointer(rscale), threads(x.numel()),
    )  # fmt: skip
    return gx


@_by_device
def moments(x: Tensor, layout: Layout, family: int, count: int, center: Tensor | None, rscale: Tensor | None) -> Tensor:
    """The means of φ_1(u) … φ_count(u) over the elements of each of the c rows: (c, count)."""
    t = x.new_empty(layout.c, count, dtype=torch.float64)
    _run("moments", x.data_ptr(), *_head(x, layout), family, count, _pointer(center), _pointer(rscale), t.data_ptr(), threads(x.numel()))
    return t.div_(layout.n * layout.s)


# -- parameters as modules hold them: rows of float32, each for sites / rows sites in a run ---------------------------------------


@_by_device
def sites_series_forward(
    x: Tensor, layout: Layout, family: int, factor: float, weight: Tensor, bias: Tensor, center: Tensor | None, rscale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """factor·(b + Σ_j a_j φ_j(u)), and the table that the backward pass reads."""
    (rows, degree), y = weight.shape, torch.empty_like(x)
    table = weight.new_empty(layout.c * (degree + 3))
    _run(
        "sites_series_forward",
        x.data_ptr(), y.data_ptr(), *_head(x, layout), family, degree, rows, factor, _position(layout),
        weight.data_ptr(), bias.data_ptr(), _pointer(center), _pointer(rscale), table.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return y, table


@_by_device
def sites_series_backward(
    x: Tensor, g: Tensor, layout: Layout, family: int, factor: float, weight: Tensor, bias: Tensor, table: Tensor, input_gradient: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """The gradients of x, weight and bias, of which the table is read."""
    gx = torch.empty_like(x) if input_gradient else None
    (rows, degree), gweight, gbias = weight.shape, torch.empty_like(weight), torch.empty_like(bias)
    _run(
        "sites_series_backward",
        x.data_ptr(), g.data_ptr(), _pointer(gx), *_head(x, layout), family, degree, rows, factor, _position(layout),
        gweight.data_ptr(), gbias.data_ptr(), table.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return gx, gweight, gbias


def standardise(
    x: Tensor, layout: Layout, family: int, factor: float, weight: Tensor, bias: Tensor, kept: Kept, unit: float
) -> tuple[Tensor, Tensor] | None:
    """Counts a batch in ``kept``; the table of its series and what backward needs. ``None``, and nothing changed: digits would be lost."""
    rows, degree = weight.shape
    table, state = weight.new_empty(layout.c * (degree + 3)), torch.empty(layout.c * 4, dtype=torch.float64, device="cpu")
    done = _run(
        "standardise",
        x.data_ptr(), *_head(x, layout), family, degree, rows, factor, _position(layout), weight.data_ptr(), bias.data_ptr(),
        kept.mean.data_ptr(), kept.var.data_ptr(), kept.batches.data_ptr(), kept.momentum, kept.warm_up, kept.renorm, kept.eps,
        unit, table.data_ptr(), state.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return (table, state) if done else None


def table_series_forward(x: Tensor, layout: Layout, family: int, degree: int, table: Tensor) -> Tensor:
    """The series of a table that a kernel has filled: coefficients by channel, centers, scales."""
    y, coef = torch.empty_like(x), table.data_ptr()
    middle = coef + 4 * layout.c * (degree + 1)
    _run(
        "series_forward",
        x.data_ptr(), y.data_ptr(), *_head(x, layout), family, degree, coef, middle, middle + 4 * layout.c, threads(x.numel()),
    )  # fmt: skip
    return y


def standardised_backward(
    x: Tensor,
    g: Tensor,
    layout: Layout,
    family: int,
    factor: float,
    weight: Tensor,
    bias: Tensor,
    table: Tensor,
    state: Tensor,
    input_gradient: bool,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """The gradients of x, weight and bias, of which the table is read, through the statistics of the batch."""
    gx = torch.empty_like(x) if input_gradient else None
    (rows, degree), gweight, gbias = weight.shape, torch.empty_like(weight), torch.empty_like(bias)
    _run(
        "standardised_backward",
        x.data_ptr(), g.data_ptr(), _pointer(gx), *_head(x, layout), family, degree, rows, factor, _position(layout),
        gweight.data_ptr(), gbias.data_ptr(), table.data_ptr(), state.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return gx, gweight, gbias


@_by_device
def sites_rational_forward(x: Tensor, layout: Layout, form: int, degree: int, num: Tensor, den: Tensor | None) -> tuple[Tensor, Tensor]:
    """P/Q, and the table that the backward pass reads; ``degree`` is Q's."""
    y, columns = torch.empty_like(x), num.shape[1] + (0 if den is None else den.shape[1])
    table = num.new_empty(layout.c * columns)
    _run(
        "sites_rational_forward",
        x.data_ptr(), y.data_ptr(), *_head(x, layout), form, num.shape[1] - 1, degree, num.shape[0], 0 if den is None else den.shape[0],
        _position(layout), num.data_ptr(), _pointer(den), table.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return y, table


@_by_device
def sites_rational_backward(
    x: Tensor,
    g: Tensor,
    layout: Layout,
    form: int,
    degree: int,
    num: Tensor,
    den: Tensor | None,
    table: Tensor,
    input_gradient: bool,
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """The gradients of x, the numerator and the denominator, of which the table is read."""
    gx = torch.empty_like(x) if input_gradient else None
    (rows, terms), gnum, gden = num.shape, torch.empty_like(num), None if den is None else torch.empty_like(den)
    _run(
        "sites_rational_backward",
        x.data_ptr(), g.data_ptr(), _pointer(gx), *_head(x, layout), form, terms - 1, degree, rows, 0 if den is None else len(den),
        _position(layout), gnum.data_ptr(), _pointer(gden), table.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return gx, gnum, gden


def pieces_forward(x: Tensor, layout: Layout, degree: int, table: Tensor, center: Tensor, rscale: Tensor) -> Tensor:
    """Piecewise polynomials on a uniform grid: ``table`` (c, (cells + 2)·(degree + 1)), of pieces and powers, see :mod:`.pieces`."""
    y = torch.empty_like(x)
    _run(
        "pieces_forward",
        x.data_ptr(), y.data_ptr(), *_head(x, layout), degree, table.shape[1] // (degree + 1) - 2,
        table.data_ptr(), center.data_ptr(), rscale.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return y


def pieces_backward(
    x: Tensor, g: Tensor, layout: Layout, degree: int, table: Tensor, center: Tensor, rscale: Tensor, input_gradient: bool = True
) -> tuple[Tensor | None, Tensor]:
    """One pass: the gradients of x and of ``table``."""
    gx = torch.empty_like(x) if input_gradient else None
    sums = x.new_empty(table.shape, dtype=torch.float64)
    _run(
        "pieces_backward",
        x.data_ptr(), g.data_ptr(), _pointer(gx), *_head(x, layout), degree, table.shape[1] // (degree + 1) - 2,
        table.data_ptr(), center.data_ptr(), rscale.data_ptr(), sums.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return gx, sums


def hinges_forward(x: Tensor, layout: Layout, parameters: Tensor) -> Tensor:
    """Two lines and hinges: ``parameters`` (c, 4 + 2·hinges), see :mod:`.hinges`."""
    y = torch.empty_like(x)
    count = parameters.shape[1] // 2 - 2
    _run("hinges_forward", x.data_ptr(), y.data_ptr(), *_head(x, layout), count, parameters.data_ptr(), threads(x.numel()))
    return y


def hinges_backward(x: Tensor, g: Tensor, layout: Layout, parameters: Tensor, input_gradient: bool = True) -> tuple[Tensor | None, Tensor]:
    """One pass: the gradient of x, and the sums (c, 4 + 2·hinges) that those of the parameters are made of."""
    gx = torch.empty_like(x) if input_gradient else None
    sums = x.new_empty(parameters.shape, dtype=torch.float64)
    _run(
        "hinges_backward",
        x.data_ptr(), g.data_ptr(), _pointer(gx), *_head(x, layout), parameters.shape[1] // 2 - 2,
        parameters.data_ptr(), sums.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return gx, sums


# -- layers that normalise and activate: ``place`` is n, c, s and whether memory is (n, s, c) ---------------------------------------


def gate_norm_forward(
    x: Tensor, place: tuple[int, int, int, bool], groups: int, raw: bool, eps: float, theta: tuple[Tensor | None, ...]
) -> tuple[Tensor, Tensor]:
    """γ·x·σ(v x)/√(s² + eps) + β with θ = (γ, v, β), each (c,) or ``None``; and mean and 1/√(s² + eps), (n, groups, 2)."""
    y, stats = torch.empty_like(x), x.new_empty(place[0], groups, 2, dtype=torch.float64)
    _run(
        "gate_norm_forward",
        x.data_ptr(), y.data_ptr(), DTYPES[x.dtype], *place, groups, raw, eps, *map(_pointer, theta), stats.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return y, stats


def gate_norm_backward(
    x: Tensor,
    g: Tensor,
    place: tuple[int, int, int, bool],
    groups: int,
    raw: bool,
    theta: tuple[Tensor | None, ...],
    stats: Tensor,
    input_gradient: bool = True,
) -> tuple[Tensor | None, Tensor]:
    """The gradient of x; and Σ g, Σ g h, Σ g ∂h/∂v with h = x·σ(v x), (n, c, 3)."""
    gx = torch.empty_like(x) if input_gradient else None
    sums = x.new_empty(place[0], place[1], 3, dtype=torch.float64)
    _run(
        "gate_norm_backward",
        x.data_ptr(), g.data_ptr(), _pointer(gx), DTYPES[x.dtype], *place, groups, raw,
        *map(_pointer, theta[:2]), stats.data_ptr(), sums.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return gx, sums


def sample_spreads(x: Tensor, place: tuple[int, int, int, bool]) -> Tensor:
    """Mean and Σ (x - mean)² of every channel of every sample: (n, c, 2)."""
    out = x.new_empty(place[0], place[1], 2, dtype=torch.float64)
    _run("sample_spreads", x.data_ptr(), DTYPES[x.dtype], *place, out.data_ptr(), threads(x.numel()))
    return out


def quotient_norm(step: int, x: Tensor, g: Tensor | None, place: tuple[int, int, int, bool], rows: Tensor) -> Tensor:
    """Of a·x/max(l, p·(x - c) + q) + b, with parameters of every row: 0 the values, 1 the sums (n, c, 5), 2 the gradient of x."""
    out = x.new_empty(place[0], place[1], 5, dtype=torch.float64) if step == 1 else torch.empty_like(x)
    _run(
        "quotient_norm",
        step, x.data_ptr(), _pointer(g), None if step == 1 else out.data_ptr(), DTYPES[x.dtype], *place,
        rows.data_ptr(), out.data_ptr() if step == 1 else None, threads(x.numel()),
    )  # fmt: skip
    return out


# -- Gaussians on a uniform grid: terms, spacing, width ------------------------------------------------------------------------------


def bumps_forward(x: Tensor, layout: Layout, grid: tuple[int, float, float], coef: Tensor, center: Tensor, rscale: Tensor) -> Tensor:
    """Their sum with coef (c, terms + 1), the bias first, at u = (x - center)·rscale."""
    y = torch.empty_like(x)
    _run(
        "bumps_forward",
        x.data_ptr(), y.data_ptr(), *_head(x, layout), *grid, coef.data_ptr(), center.data_ptr(), rscale.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return y


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
    _run(
        "bumps_backward",
        x.data_ptr(), g.data_ptr(), _pointer(gx), *_head(x, layout), *grid, coef.data_ptr(), center.data_ptr(), rscale.data_ptr(),
        gcoef.data_ptr(), slopes.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return gx, gcoef, slopes


def bumps_input(
    x: Tensor, g: Tensor, layout: Layout, grid: tuple[int, float, float], coef: Tensor, center: Tensor, rscale: Tensor, line: Tensor
) -> Tensor:
    """g y'(u)·rscale + m + k·u, line (c, 2): the gradient of x where the map depends on the batch."""
    gx = torch.empty_like(x)
    _run(
        "bumps_input",
        x.data_ptr(), g.data_ptr(), gx.data_ptr(), *_head(x, layout), *grid, coef.data_ptr(), center.data_ptr(), rscale.data_ptr(),
        line.data_ptr(), threads(x.numel()),
    )  # fmt: skip
    return gx
