"""PolyNorm, as :mod:`definitions` has the learned families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from entry import STATISTICAL, Kernel
from hypothesis import strategies as st
from torch import Tensor


def powers(act: Any, x: Tensor, theta: Mapping[str, Tensor], minus: float, at: Tensor) -> Tensor:
    """a_0 + Σ a_i x^i/√(mean x^{2i} + eps)."""
    y = theta["bias"][0] + 0 * x
    for i, a in enumerate(theta["weight"], 1):
        dims = (act.normalized_dim,)
        y = y + a * x**i / _power_root(x**i, at**i, act.eps, minus, dims)
    return y


def _power_root(z: Tensor, at: Tensor, eps: float, minus: float, dims: tuple[int, ...]) -> Tensor:
    """Its reciprocal's majorant has the gradient with the other sign."""
    if minus < 0:
        return (z.square().mean(dims, keepdim=True) + eps).sqrt()
    exact = (at.square().mean(dims, keepdim=True) + eps).sqrt()
    return exact / (1 + ((z.square() - z.detach().square()).mean(dims, keepdim=True)) / exact**2)


POLYNORM = {
    "polynorm": Kernel(
        st.sampled_from((1, 2, 3, 3, 3, 5, 8)).map(lambda r: f"polynorm(order={r})"),
        powers,
        lambda act: 32 + 8 * act.order,
        values=(*STATISTICAL, "large"),
        needs="batch",
        reaches=lambda act, bad: bad.any(act.normalized_dim, keepdim=True).expand(bad.shape),
        arguments=lambda case: (f"normalized_dim={case.channel_dim}", {}),
    )
}
