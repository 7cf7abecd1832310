"""Between θ and sums as torch has them and the kernels' tables: θ of (K, …), each of the K broadcasting against the input, is (c, K)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from .dispatch import Layout, plain, refusal, wrapped

__all__ = [
    "by_row",
    "by_site",
    "columns",
    "gradient_like",
    "map_table",
    "positions",
    "readable",
    "rows_table",
    "spread",
    "table",
]


def table(theta: Tensor, layout: Layout) -> Tensor:
    """θ (K, …) as the kernels' float32 table (c, K)."""
    found = columns(theta, layout).to(torch.float32)
    return readable(found if len(found) == layout.c else found.expand(layout.c, -1))


def columns(theta: Tensor, layout: Layout) -> Tensor:
    """θ (K, …) as (c, K), or (1, K) if it is the same for all, where and as it lies in memory."""
    theta, count = theta.detach(), len(theta)
    if theta.numel() == count:
        return theta.reshape(1, count)
    if len(layout.dims) == 1:
        return theta.reshape(count, -1).T
    others = [d for d in range(theta.dim() - 1) if d not in layout.dims]
    inner = theta.permute(0, *(d + 1 for d in (*others, *layout.dims))).reshape(count, *(theta.shape[d + 1] for d in layout.dims))
    return inner.expand(count, *layout.sizes).reshape(count, -1).T


def rows_table(rows: Tensor, shape: tuple[int, ...], layout: Layout) -> Tensor:
    """:func:`table` of θ given as rows (sites or 1, K), where (sites,) broadcasts in ``shape``."""
    if len(layout.dims) > 1:
        return table(rows.T.reshape(rows.shape[1], *(shape if rows.shape[0] > 1 else (1,) * len(shape))), layout)
    rows = rows.detach().to(torch.float32)
    return readable(rows if rows.shape[0] == layout.c else rows.expand(layout.c, -1))


def map_table(value: float | Tensor, shape: tuple[int, ...], layout: Layout, device: torch.device) -> Tensor:
    """A number, or one for every site, of the input's map: (c, 1) or (c,)."""
    return rows_table(value[:, None], shape, layout) if isinstance(value, Tensor) else _constant(layout.c, value, device)


@lru_cache(maxsize=128)
def _constant(count: int, value: float, device: torch.device) -> Tensor:
    return torch.full((count,), value, dtype=torch.float32, device=device)


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


@lru_cache(maxsize=64)
def positions(layout: Layout) -> Tensor | None:
    """Where in memory each site lies; ``None`` where they lie in order."""
    order = sorted(range(len(layout.dims)), key=layout.dims.__getitem__)
    if order == list(range(len(order))):
        return None
    return torch.arange(layout.c, device="cpu").reshape(layout.sizes).permute(order).reshape(-1)
