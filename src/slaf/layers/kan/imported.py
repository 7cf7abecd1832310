"""Checkpoints of pykan and efficient-kan as networks of KANLinear: read from their state dicts' names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import SlafError

from .layer import Base
from .linear import KANLinear
from .terms import terms_of

__all__ = ["from_state_dict"]

FINER = (1, 2, 4, 8, 16, 32)
PER_CELL = 16
"""Points of the fit in every interval of the finer grid."""


@dataclass(frozen=True)
class _Layer:
    """y = scale·Σ_i (base_weight_io·base(x_i) + Σ_k coefficients_iok B_k(x_i)) + bias, knots (in, K + p + 1), as float64."""

    knots: Tensor
    coefficients: Tensor
    base_weight: Tensor
    scale: Tensor
    bias: Tensor

    @property
    def degree(self) -> int:
        return self.knots.shape[1] - self.coefficients.shape[2] - 1


def from_state_dict(
    state: Mapping[str, Tensor], base: Base = "silu", tolerance: float = 1e-5, *, dtype: torch.dtype = torch.float32
) -> nn.Sequential:
    """The network that a state dict of pykan's ``MultKAN`` or of efficient-kan's ``KAN`` holds, as KANLinear layers.

    Inside every input's grid the edges are the same functions. A grid that follows the data has knots that are not equally far apart:
    then the grid here is the least of 2, 4, … 32 times as many equal intervals on which the error is within ``tolerance``. Beyond the
    grid this network goes on in straight lines, where theirs falls to 0 within a few intervals.

    Args:
        state: ``model.state_dict()``; tensors of any floating dtype.
        base: their base activation, which a state dict does not say: SiLU in both, unless it was changed.
        tolerance: the largest error of an edge inside its grid, over the largest value of any edge of the layer.
        dtype: of the layers.

    Raises:
        SlafError: a state dict of neither; pykan's multiplications or symbolic edges; knots that do not increase, or that no grid tried
            comes near enough to.

    Source: the state dicts as pykan 0.2.8 and efficient-kan (7b6ce1c) write them [read].
    """
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise SlafError(f"state must be a state dict, names to tensors; got {type(state).__name__}")
    read = {"act_fun": _pykan, "layers": _efficient}
    found = {kind: _numbers(state, kind) for kind in read}
    kind = next((kind for kind, count in found.items() if count), None)
    if kind is None:
        raise SlafError("state holds neither act_fun.0.coef (pykan) nor layers.0.spline_weight (efficient-kan); got " + _few(state))
    return nn.Sequential(*(_made(read[kind](state, k), k, base, tolerance, dtype) for k in range(found[kind])))


def _numbers(state: Mapping[str, Tensor], kind: str) -> int:
    """How many layers the names count, from 0 on."""
    last = {"act_fun": "coef", "layers": "spline_weight"}[kind]
    return sum(re.fullmatch(rf"{kind}\.\d+\.{last}", name) is not None for name in state)


def _few(state: Mapping[str, Tensor]) -> str:
    names = list(state)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") if names else "nothing"


def _get(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise SlafError(f"state has no {name}, which its other names ask for")
    return state[name].detach().double()


def _efficient(state: Mapping[str, Tensor], k: int) -> _Layer:
    at = f"layers.{k}."
    weight, base = _get(state, at + "spline_weight"), _get(state, at + "base_weight")
    scaler = f"{at}spline_scaler"
    if scaler in state:
        weight = weight * _get(state, scaler)[..., None]
    ones = torch.ones(len(weight), dtype=torch.float64)
    return _Layer(_get(state, at + "grid"), weight.transpose(0, 1), base.T, ones, torch.zeros_like(ones))


def _pykan(state: Mapping[str, Tensor], k: int) -> _Layer:
    at = f"act_fun.{k}."
    mask, coefficients = _get(state, at + "mask"), _get(state, at + "coef")
    inner, outer = (tuple(_get(state, f"{part}_{what}_{k}") for what in ("scale", "bias")) for part in ("subnode", "node"))
    if len(inner[0]) != len(outer[0]):
        raise SlafError(f"layer {k} of state multiplies nodes (pykan's MultKAN), which KANLinear does not")
    symbolic = f"symbolic_fun.{k}.mask"
    if symbolic in state and bool(state[symbolic].any()):
        raise SlafError(f"layer {k} of state has symbolic edges, whose functions a state dict does not hold; unfix them in pykan first")
    spline, base = _get(state, at + "scale_sp") * mask, _get(state, at + "scale_base") * mask
    return _Layer(_get(state, at + "grid"), coefficients * spline[..., None], base, inner[0] * outer[0], inner[1] * outer[0] + outer[1])


def _made(old: _Layer, k: int, base: Base, tolerance: float, dtype: torch.dtype) -> KANLinear:
    degree, knots = old.degree, old.knots
    if degree < 1 or knots.shape[1] <= 2 * degree + 1 or not bool((knots.diff(dim=1) > 0).all()):
        raise SlafError(f"layer {k} of state has knots of shape {tuple(knots.shape)} that do not increase or do not fit its coefficients")
    low, high = knots[:, degree], knots[:, -degree - 1]
    cells = knots.shape[1] - 2 * degree - 1
    inputs, outputs = old.base_weight.shape
    worst = float("inf")
    for finer in FINER:
        layer = KANLinear(inputs, outputs, f"bspline(degree={degree})", grid=finer * cells, base=base, dtype=dtype)
        weight, error, size = _fitted(old, layer, low, high)
        worst = min(worst, error / max(size, 1e-300))
        if worst <= tolerance:
            break
    else:
        raise SlafError(f"layer {k} of state has knots so unequal that {FINER[-1]} times as many equal ones err by {worst:.1e}")
    with torch.no_grad():
        layer.low.copy_(low)
        layer.high.copy_(high)
        layer.weight.copy_(torch.cat([weight[1:], old.base_weight[None]]) * old.scale)
        assert layer.bias is not None
        layer.bias.copy_(old.scale * weight[0].sum(0) + old.bias)
    return layer


def _fitted(old: _Layer, layer: KANLinear, low: Tensor, high: Tensor) -> tuple[Tensor, float, float]:
    """(1 + K, in, out): a constant and the terms of the new grid; the largest error of an edge, and its largest value."""
    count, half = layer.num_terms, layer.basis.half_width
    u = torch.linspace(-half, half, PER_CELL * (layer.grid or 1) + 1, dtype=torch.float64)
    x = low + (u[:, None] + half) / (2 * half) * (high - low)
    wanted = torch.einsum("nik,iok->nio", _bsplines(x, old.knots, old.degree), old.coefficients)
    design = torch.cat([torch.ones_like(u)[:, None], terms_of(layer.basis, count)(u)], 1)
    found: Any = torch.linalg.lstsq(design, wanted.flatten(1)).solution
    missing = wanted.flatten(1) - design @ found
    return found.unflatten(1, wanted.shape[1:]), float(missing.abs().max()), float(wanted.abs().max())


def _bsplines(x: Tensor, knots: Tensor, degree: int) -> Tensor:
    """All B-splines of each input's knots at x (n, in): (n, in, K), by de Boor's recursion; right of the last cell as in it."""
    x = x[..., None]
    inside = torch.minimum(x, knots[:, -degree - 1, None])
    last = knots.shape[1] - degree - 2
    cell = (torch.searchsorted(knots, inside[..., 0].T.contiguous(), right=True).T - 1).clamp(max=last)
    values = torch.nn.functional.one_hot(cell, knots.shape[1] - 1).to(x.dtype)
    for p in range(1, degree + 1):
        up = (x - knots[:, : -p - 1]) / (knots[:, p:-1] - knots[:, : -p - 1])
        down = (knots[:, p + 1 :] - x) / (knots[:, p + 1 :] - knots[:, 1:-p])
        values = up * values[..., :-1] + down * values[..., 1:]
    return values
