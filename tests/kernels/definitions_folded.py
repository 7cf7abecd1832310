"""Folded forms with random numbers, as :mod:`definitions` has the learned families; they have no θ.

Pieces are counted in float64, which holds every float32, so the one that counts is known at breaks too. A majorant is a bound of the value
plus ``moved``, which is zero and has the gradient of x, times a bound of the slope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from entry import Kernel
from hypothesis import strategies as st
from random_cases import Case
from torch import Tensor

from slaf.core import Sharing
from slaf.fit.folded import Folded, FoldedPieces, FoldedPolynomial
from slaf.fit.tables import FoldedTable
from slaf.surgery.folded_per_channel import per_channel

ENDS = {"wide": (-4.0, 4.0), "narrow": (-0.75, 2.5)}
POINTS = (*(k / 4 for k in range(-8, 9)), 4.0, -4.0, 2.5, 0.125, 0.375)


def drawn(spec: str, case: Case) -> Any:
    """``spec``: kind, size, degree, outside and interval. One form, or up to three over the channels, some of which share one."""
    kind, size, degree, outside, ends = spec.split()
    several = case.share != "layer" and case.channels
    rng = np.random.default_rng(case.seed + 3)
    forms = [_form(rng, kind, max(1, int(size) - n), int(degree), outside, ENDS[ends]) for n in range(3 if several else 1)]
    if not several:
        return forms[0]
    index = torch.from_numpy(rng.integers(0, 3, case.channels))
    return per_channel(forms, index, Sharing("channel", case.channels, channel_dim=case.channel_dim))


def _form(rng: np.random.Generator, kind: str, size: int, degree: int, outside: str, ends: tuple[float, float]) -> Folded:
    slopes = tuple(float(np.float32(s)) for s in rng.choice([0.0, 1.0, -0.3, 2.5], 2)) if outside == "linear" else (0.0, 0.0)
    common = "random", ends, outside, slopes
    if kind == "pieces":
        breaks = torch.from_numpy(_breaks(rng, size, ends))
        center = torch.from_numpy(rng.choice([0.0, *breaks.tolist()], size))
        form: Folded = FoldedPieces(common, breaks, center, torch.from_numpy(rng.standard_normal((size, degree + 1))))
    elif kind == "polynomial":
        low, high = ends
        form = FoldedPolynomial(common, torch.from_numpy(rng.standard_normal(degree + 1)), (low + high) / 2, 2 / (high - low))
    else:
        scales = [float(np.float32(s)) for s in 10 ** rng.uniform(-3, 0, 2)]
        zeros = rng.integers(-128, 128, 2).tolist()
        table = torch.from_numpy(rng.integers(-128, 128, 256)).to(torch.int8)
        form = FoldedTable("random", ends, table, (scales[0], zeros[0]), (scales[1], zeros[1]))
    form.proof, form.error_bound = None, 0.0  # type: ignore[assignment]
    return form


def _breaks(rng: np.random.Generator, size: int, ends: tuple[float, float]) -> Any:
    """Float32 numbers, even, crowded or next to each other, many of them where x is too."""
    low, high = ends
    at = rng.random(size - 1) ** rng.choice([1, 1, 4, 12]) * (high - low) + low
    at = np.where(rng.random(size - 1) < 0.3, np.round(4 * at) / 4, at).astype(np.float32)
    if size > 8 and rng.random() < 0.3:
        for i in range(1, 6):
            at[i] = np.nextafter(at[i - 1], np.float32(np.inf))
    return np.concatenate([[low], np.sort(at.clip(low, high)), [high]])


def formula(act: Any, x: Tensor, theta: Mapping[str, Tensor], minus: float, at: Tensor) -> Tensor:  # noqa: ARG001
    """Of every form, where it is used."""
    if isinstance(act, Folded):
        return _value(act, x, minus, at)
    sites = act.index.tolist()
    shape = [-1 if d == act.sharing.channel_dim else 1 for d in range(x.dim())]
    y = torch.zeros_like(x)
    for n in sorted(set(sites)):
        y = torch.where((act.index == n).reshape(shape), _value(act.at(sites.index(n)), x, minus, at), y)
    return y


def _value(form: Folded, x: Tensor, minus: float, at: Tensor) -> Tensor:
    moved = x - x.detach()
    if isinstance(form, FoldedTable):
        q = np.rint(at.numpy().astype(np.float32) / np.float32(form.input_scale)) + form.input_zero
        code = form.table[torch.from_numpy(q.clip(-128, 127).astype(np.int64)) + 128]
        y = (code.double() - form.output_zero) * form.output_scale
        return (y if minus < 0 else y.abs()) + 0 * moved
    low, high = form.interval
    inner = at if form.outside == "extrapolate" else at.clamp(low, high)
    inside = moved * (inner == at)
    beyond = at - inner
    slope = torch.where(beyond < 0, form.slopes[0], form.slopes[1]).double()
    inner_value = _pieces if isinstance(form, FoldedPieces) else _polynomial
    y = inner_value(form, inner, inside, minus)
    line = slope * (beyond + moved * (inner != at))
    return y + line if minus < 0 else y + line.detach().abs() + slope.abs() * moved * (inner != at)


def _pieces(form: Any, inner: Tensor, moved: Tensor, minus: float) -> Tensor:
    piece = torch.from_numpy(np.searchsorted(form.breaks[1:-1].double().numpy(), inner.numpy(), side="right"))
    t, c = inner - form.center.double()[piece], form.coefficients.double()[:, piece]
    t, c = (t + moved, c) if minus < 0 else (t.abs() + moved, c.abs())
    return sum((row * t**k for k, row in enumerate(c)), torch.zeros_like(t))


def _polynomial(form: Any, inner: Tensor, moved: Tensor, minus: float) -> Tensor:
    u, c = (inner - form.center) * form.rscale, form.coefficients.double()
    u, c = (u + moved * form.rscale, c) if minus < 0 else (u.abs() + moved * form.rscale, c.abs())
    terms = [torch.ones_like(u), u]
    for _ in range(2, len(c)):
        terms.append(2 * u * terms[-1] + minus * terms[-2])
    return sum((a * term for a, term in zip(c, terms, strict=False)), torch.zeros_like(u))


def _specs(kind: str) -> st.SearchStrategy[str]:
    sizes = st.sampled_from((1, 2, 3, 8, 16, 17, 32, 33, 64, 65, 128, 129, 300)) if kind == "pieces" else st.just(1)
    degrees = st.sampled_from((1, 1, 2, 3, 5, 8)) if kind == "pieces" else st.sampled_from((1, 2, 3, 7, 15, 24))
    outside = {"pieces": ("clamp", "linear", "linear", "extrapolate"), "polynomial": ("clamp", "linear"), "codes": ("clamp",)}[kind]
    return st.builds(lambda *parts: " ".join((kind, *map(str, parts))), sizes, degrees, st.sampled_from(outside), st.sampled_from([*ENDS]))


FOLDED = {
    f"folded, {kind}": Kernel(
        _specs(kind), formula, lambda act: 12 + 4 * (act.size if act.form == "polynomial" else 8), points=POINTS, make=drawn
    )
    for kind in ("pieces", "polynomial", "codes")
}
