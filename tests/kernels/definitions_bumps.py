"""SLAF over Gaussian radial basis functions, as :mod:`definitions` has the other families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from definitions_pointwise import evaluated, with_input_statistics
from entry import STATISTICAL, Kernel
from hypothesis import strategies as st
from statistics_majorant import beside, reaches_channel, size_of, standardised, trains
from torch import Tensor

from slaf.learnable.fused_bumps import grid_of


def bumps(act: Any, x: Tensor, theta: Mapping[str, Tensor], minus: float, at: Tensor) -> Tensor:
    """s·(b + Σ a_k exp(-t_k²/2)), t_k = (u - c_k)/w: c_k uniform on [-1, 1], w spacings; u standardised, by ``interval`` or as it comes.

    Where all terms are below 1e-37 the kernel may have anything as small. The majorant has t times the error of u in every exponent, and
    slopes by way of u - u.detach(), which is zero and has the gradient of u.
    """
    factor = torch.ones(())
    if act.input_statistics is not None:
        dims = [d for d in range(x.dim()) if d != act.sharing.channel_dim]
        given = act.input_statistics, x, at, dims, beside(act, x.dim()), trains(act, x), minus
        u, u_at, factor = standardised(*given)
        u, u_at = u / act.input_scale, u_at / act.input_scale
    elif act.interval is not None:
        low, high = act.interval
        middle = torch.tensor((low + high) / 2).double()
        u, u_at = (x + minus * size_of(middle, minus)) * (2 / (high - low)), (at - middle) * (2 / (high - low))
    else:
        u, u_at = x / act.input_scale, at / act.input_scale
    count = len(theta["weight"])
    spacing = 2 / (count - 1) if count > 1 else 2.0
    width, centres = act.basis.width * spacing, [-1 + spacing * k for k in range(count)] if count > 1 else [0.0]
    y = theta["bias"][0] + 0 * u.clamp(-1, 1)
    for a, c in zip(theta["weight"], centres, strict=True):
        if minus < 0:
            y = y + a * torch.exp(-0.5 * ((u - c) / width).clamp(-60, 60).square())
        else:
            t, reach = ((u_at - c) / width).abs().clamp(max=60), ((u.detach() + 1) / width).clamp(max=1e6)
            rough, bell = 1 + (t + 1) * (reach + t), torch.exp(-0.5 * t.square()) + 2.0**-100
            y = y + a * bell * rough * (1 + (u - u.detach()) * (t + reach) * rough / width)
    return act.coefficient_scale * factor * y


def _specs(inputs: tuple[str, ...]) -> st.SearchStrategy[str]:
    grids = st.sampled_from(((1, 1.0), (2, 1.0), (3, 0.4), (5, 0.5), (8, 1.0), (8, 2.0), (9, 1.0), (17, 2.0), (32, 3.0), (6, 3.0)))
    return st.builds(lambda g, i: f"slaf(basis=rbf(width={g[1]}), terms={g[0]}, {i})", grids, st.sampled_from(inputs))


def _steps(act: Any) -> int:
    return 24 + 6 * act.num_terms


def _takes(act: Any, x: Tensor) -> bool:  # noqa: ARG001
    return grid_of(act) is not None


BUMPS = {
    "gaussians": Kernel(
        _specs(("input=identity", "input=batch", "interval=(-2.0,1.0)")), bumps, _steps, needs="channels", prepare=evaluated, takes=_takes
    ),
    "gaussians, standardised": Kernel(
        _specs(("input=affine", "input=batch")),
        bumps,
        _steps,
        values=STATISTICAL,
        needs="channels",
        prepare=with_input_statistics,
        reaches=reaches_channel,
        takes=_takes,
    ),
}
