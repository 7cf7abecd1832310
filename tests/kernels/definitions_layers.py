"""PolyNorm and EvoNorm, as :mod:`definitions` has the learned families."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from entry import STATISTICAL, UNIT, Kernel, spread
from hypothesis import strategies as st
from torch import Tensor

from slaf.kernels.dispatch import dense, use
from slaf.kernels.norm_act import _placed


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
        takes=lambda act, x: act._fused(x.movedim(act.normalized_dim, -1)) is not None,
        arguments=lambda case: (f"normalized_dim={case.channel_dim}", {}),
    )
}

# -- EvoNorm ---------------------------------------------------------------------------------------------------------------------
GATE_STEPS = 48
# Its majorants are bounds of the value plus ``moved``, which is zero and has the gradient of x, times bounds of the slope.


def _mean_of(z: Tensor, groups: int | None, dim: int, batch: bool = False) -> Tensor:
    """Over each sample's groups of channels, or each channel of a sample (``None``), or of the whole ``batch``; broadcasts against z."""
    first = z.movedim(dim, 1)
    if batch:
        return first.mean([d for d in range(z.dim()) if d != 1], keepdim=True).movedim(1, dim)
    n, c = first.shape[:2]
    parts = first.reshape(n, groups or c, -1) if z.numel() else first.reshape(n, groups or c, prod(first.shape[2:]) * c // (groups or c))
    mean = parts.mean(2, keepdim=True).expand(n, groups or c, c // (groups or c))
    return mean.reshape(n, c, *(1,) * (z.dim() - 2)).movedim(1, dim)


def gates(act: Any, x: Tensor, theta: Mapping[str, Tensor], minus: float, at: Tensor) -> Tensor:
    """γ·x·σ(v x)/√(s² + eps) + β, s² the variance, or the mean of squares, of the sample's group of channels."""
    dim, groups = act.sharing.channel_dim, act.groups_used
    v = theta["v"][0] if "v" in theta else torch.ones(()).double()
    weight, bias = theta["weight"][0], theta["bias"][0]
    middle = _mean_of(at, groups, dim) * (not act.raw)
    if minus < 0:
        own = x - _mean_of(x, groups, dim) * (not act.raw)
        return weight * x * torch.sigmoid(v * x) / (_mean_of(own.square(), groups, dim) + act.eps).sqrt() + bias
    rstd = (_mean_of((at - middle).square(), groups, dim) + act.eps).rsqrt()
    z = at * (theta["v exact"][0] if "v" in theta else 1)
    gate, rough = torch.sigmoid(z), 1 + z.abs()
    moved, moved_v = x - x.detach(), v - v.detach()
    rest = torch.sigmoid(-z) + (0 if _takes(act, at.float()) else 1 / GATE_STEPS)  # torch has 1 - σ(z), rounded at 1
    h = at.abs() * gate * rough + moved * gate * rough**2 + moved_v * at.square() * gate * rest * rough
    by_root = rstd**3 * _mean_of(((at - middle).abs() + middle.abs()) * moved, groups, dim)
    return weight * (h * rstd + (at * gate * rough).abs() * by_root) + bias


def quotients(act: Any, x: Tensor, theta: Mapping[str, Tensor], minus: float, at: Tensor) -> Tensor:
    """γ·x/max(√(s² + eps), r(x)) + β, s² of the channel over the batch or kept, r made of the sample's variance or mean of squares."""
    dim, kind, train = act.sharing.channel_dim, act.name[-2:], act.training
    kept = spread(act.running_var.double(), act, x.dim())[0]
    weight, bias = theta["weight"][0], theta["bias"][0]
    v = theta["v"][0] if kind == "b0" else torch.ones(()).double()
    if minus < 0:
        left = ((_mean_of((x - _mean_of(x, None, dim, True)).square(), None, dim, True) if train else kept) + act.eps).sqrt()
        root = (_mean_of((x - _mean_of(x, None, dim) * (kind == "b0")).square(), None, dim) + act.eps).sqrt()
        r = {"b0": v * x + root, "b1": (x + 1) * root, "b2": root - x}[kind]
        return weight * x / torch.maximum(left, r) + bias
    mean, middle = _mean_of(at, None, dim), _mean_of(at, None, dim, True)
    left = ((_mean_of((at - middle).square(), None, dim, True) if train else kept) + act.eps).sqrt()
    root = (_mean_of((at - mean * (kind == "b0")).square(), None, dim) + act.eps).sqrt()
    exact_v = theta["v exact"][0] if kind == "b0" else 1
    slope = {"b0": exact_v + 0 * root, "b1": root, "b2": 0 * root - 1}[kind]
    r = {"b0": exact_v * at + root, "b1": (at + 1) * root, "b2": root - at}[kind]
    size = slope.abs() * (at.abs() + 2 * mean.abs()) + root
    larger, close = torch.maximum(left, r), (r - left).abs() <= 64 * UNIT * (size + left)
    rough = 1 + torch.where((r > left) | close, size / larger, torch.zeros_like(r))
    either = rough * (1 + close / UNIT)  # where both are equal but for rounding either slope is right
    on_right, on_left = either * ((r > left) | close), either * ((r < left) | close)
    moved, by = x - x.detach(), at.abs() / larger**2
    by_root = (1 + at.abs() * (kind == "b1")) * _mean_of(((at - mean).abs() + mean.abs()) * moved, None, dim) / root
    own = on_right * rough * (slope.abs() * moved + by_root + (v - v.detach()) * at.abs() * (kind == "b0"))
    by_batch = _mean_of(((at - middle).abs() + middle.abs()) * moved, None, dim, True) / left * train
    return weight * (at.abs() / larger * rough + moved / larger * rough + by * own + by * on_left * rough * by_batch) + bias


def _reaches(act: Any, bad: Tensor) -> Tensor:
    """The group or the channel of a sample, in training the channel of a batch."""
    over_batch = act.training and act.name[-2] == "b"
    return (_mean_of(bad.double(), getattr(act, "groups_used", None), act.sharing.channel_dim, over_batch) > 0).expand(bad.shape)


def _takes(act: Any, x: Tensor) -> bool:
    with use("native" if x.numel() else "auto"):  # which also takes what plain torch is quicker for
        return bool(x.isfinite().all()) and _placed(dense(x).movedim(act.sharing.channel_dim, 1)) is not None


def _some_variance(act: Any) -> None:
    if hasattr(act, "running_var"):
        act.running_var.uniform_(0.3, 4)


def _evonorm(specs: list[str], formula: Any) -> Kernel:
    return Kernel(
        st.sampled_from(specs),
        formula,
        lambda act: GATE_STEPS,  # noqa: ARG005
        values=STATISTICAL,
        needs="batch of channels",
        prepare=_some_variance,
        reaches=_reaches,
        takes=_takes,
        arguments=lambda case: ("eps=1e-5", {"num_channels": case.channels, "channel_dim": case.channel_dim}),
    )


EVONORM = {
    "evonorm, sample": _evonorm([f"evonorm_s{i}(groups={g})" for i in range(3) for g in (1, 3, 32)], gates),
    "evonorm, batch": _evonorm([f"evonorm_b{i}(affine=True)" for i in range(3)], quotients),
}
