"""Parameters as modules hold them, rows of which each serves sites / rows sites in a run: to the kernels' tables and back."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from slaf.kernels.dispatch import Layout
from slaf.kernels.tables import positions

from .rational import rational_backward, rational_forward
from .series import series_backward, series_forward

__all__ = ["sites_rational_backward", "sites_rational_forward", "sites_series_backward", "sites_series_forward"]

Tables = tuple[Tensor, Tensor | None, Tensor | None]


@lru_cache(maxsize=64)
def _positions(layout: Layout, device: torch.device) -> Tensor | None:
    found = positions(layout)
    return None if found is None else found.to(device)


def _table(rows: Tensor, layout: Layout) -> Tensor:
    """(rows, K) → (c, K), in the order of memory."""
    rows = rows.detach()
    by_site = rows if len(rows) == layout.c else rows.repeat_interleave(layout.c // len(rows), 0)
    where = _positions(layout, rows.device)
    return by_site if where is None else torch.empty_like(by_site).index_copy_(0, where, by_site)


def _rows(sums: Tensor, rows: int, layout: Layout) -> Tensor:
    """The gradient of what went through :func:`_table`, in float64."""
    where = _positions(layout, sums.device)
    by_site = sums if where is None else sums[where]
    return by_site if rows == layout.c else by_site.reshape(rows, -1, sums.shape[1]).sum(1)


def sites_series_forward(
    x: Tensor, layout: Layout, family: int, factor: float, weight: Tensor, bias: Tensor, center: Tensor | None, rscale: Tensor | None
) -> tuple[Tensor, Tables]:
    """As :func:`slaf.kernels.raw.sites_series_forward`, with three tables."""
    rows = torch.cat([bias.detach()[:, None], weight.detach()], 1)
    coef = _table(rows if factor == 1 else rows * factor, layout)
    mid, scale = (None if t is None else _table(t[:, None], layout) for t in (center, rscale))
    return series_forward(x, layout, family, coef, mid, scale), (coef, mid, scale)


def sites_series_backward(
    x: Tensor, g: Tensor, layout: Layout, family: int, factor: float, weight: Tensor, bias: Tensor, tables: Tables, input_gradient: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """As :func:`slaf.kernels.raw.sites_series_backward`."""
    gx, sums, _ = series_backward(x, g, layout, family, *tables, input_gradient)
    assert sums is not None
    rows = _rows(sums, len(weight), layout).mul(factor)
    return gx, torch.empty_like(weight).copy_(rows[:, 1:]), torch.empty_like(bias).copy_(rows[:, 0])


def sites_rational_forward(
    x: Tensor, layout: Layout, form: int, degree: int, num: Tensor, den: Tensor | None
) -> tuple[Tensor, tuple[Tensor, Tensor | None]]:
    """As :func:`slaf.kernels.raw.sites_rational_forward`, with two tables."""
    tables = _table(num, layout), None if den is None else _table(den, layout)
    return rational_forward(x, layout, form, degree, *tables), tables


def sites_rational_backward(
    x: Tensor,
    g: Tensor,
    layout: Layout,
    form: int,
    degree: int,
    num: Tensor,
    den: Tensor | None,
    tables: tuple[Tensor, Tensor | None],
    input_gradient: bool,
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """As :func:`slaf.kernels.raw.sites_rational_backward`."""
    gx, gnum, gden = rational_backward(x, g, layout, form, degree, *tables, input_gradient)
    back = None if gden is None or den is None else _rows(gden, len(den), layout).to(torch.float32)
    return gx, _rows(gnum, len(num), layout).to(torch.float32), back
