"""Fits of y ≈ a·f(b·x + c) + d for many edges at once, over a function's starting points and then by Levenberg–Marquardt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .functions import Function

__all__ = ["Fit", "fit_edges"]

STARTS, STEPS = 3, 14
FLOOR = 1e-7
"""Of 1 - R²: edges are not known better."""


@dataclass(frozen=True)
class Fit:
    """A function on an edge: a·f(b·x + c) + d, its R², and the cost that functions are ranked by, the least first."""

    function: Function
    scale: float
    rate: float
    shift: float
    offset: float
    r2: float

    def cost(self, simplicity: float) -> float:
        """log₂(1 - R²) + simplicity·complexity: each unit of complexity has to halve what is not explained ``simplicity`` times."""
        return math.log2(max(1 - self.r2, 0.0) + FLOOR) + simplicity * self.function.complexity

    def __str__(self) -> str:
        return f"{self.scale:.4g}·{self.function.name}({self.rate:.4g}·x + {self.shift:.4g}) + {self.offset:.4g}, R² = {self.r2:.6f}"


@torch.no_grad()
def fit_edges(x: Tensor, y: Tensor, functions: Sequence[Function]) -> list[list[Fit]]:
    """For every edge the fit of every function, in the order of ``functions``; those that are nowhere finite are left out.

    Args:
        x, y: (n, edges), what edges get and give; float64.
    """
    low, high = x.amin(0), x.amax(0)
    center, half = (low + high) / 2, ((high - low) / 2).clamp(min=1e-12)
    u = (x - center) / half
    mean, spread = y.mean(0), y.std(0, correction=0).clamp(min=1e-300)
    v = (y - mean) / spread
    out: list[list[Fit]] = [[] for _ in range(x.shape[1])]
    for function in functions:
        best, r2 = _fitted(function, u, v)
        for e, (a, b, c, d) in enumerate(best.tolist()):
            if not math.isfinite(float(r2[e])) or b == 0:
                continue
            s, m, h, z = float(spread[e]), float(mean[e]), float(half[e]), float(center[e])
            scale, rate, shift, added = function.canonical(a * s, b / h, c - b * z / h)
            out[e].append(Fit(function, scale, rate, shift, d * s + m + added, float(r2[e])))
    return out


def _fitted(function: Function, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """(a, b, c, d) of every edge for standardised data, (edges, 4), and R²."""
    starts = torch.tensor(function.starts, dtype=u.dtype, device=u.device)
    values = function.torch(u[..., None] * starts[:, 0] + starts[:, 1])  # (n, edges, starts)
    moved = values - values.mean(0)
    r2 = ((moved * v[..., None]).mean(0).square() / moved.square().mean(0)).nan_to_num(-1, -1, -1)
    chosen = r2.topk(min(STARTS, len(starts)), 1).indices  # (edges, tried)
    tried = chosen.shape[1]
    b, c = starts[chosen.flatten()].T
    u, v = u.repeat_interleave(tried, 1), v.repeat_interleave(tried, 1)
    theta = torch.stack([torch.ones_like(b), b, c, torch.zeros_like(b)], 1)
    theta, loss = _descend(function, u, v, _linear(function, u, v, theta))
    best = loss.nan_to_num(torch.inf).reshape(-1, tried)
    at = best.argmin(1) + tried * torch.arange(len(best), device=u.device)
    return theta[at], 1 - loss[at]


def _linear(function: Function, u: Tensor, v: Tensor, theta: Tensor) -> Tensor:
    """The best a and d for b and c."""
    values = function.torch(u * theta[:, 1] + theta[:, 2])
    moved = values - values.mean(0)
    a = (moved * v).mean(0) / moved.square().mean(0).clamp(min=1e-300)
    return torch.stack([a, theta[:, 1], theta[:, 2], -a * values.mean(0)], 1)


def _descend(function: Function, u: Tensor, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Levenberg–Marquardt on (a, b, c, d) of many problems side by side; returns them and the mean squares."""
    free = torch.tensor([True, *function.free, True], device=u.device)
    loss = _loss(function, u, v, theta)
    if not any(function.free):
        return theta, loss
    damping = torch.full_like(loss, 1e-2)
    for _ in range(STEPS):
        residual, jacobian = _linearised(function, u, v, theta)
        jacobian = jacobian * free
        normal = torch.einsum("nei,nej->eij", jacobian, jacobian) / len(u)
        gradient = torch.einsum("nei,ne->ei", jacobian, residual) / len(u)
        diagonal = normal.diagonal(dim1=1, dim2=2)
        damped = normal + torch.diag_embed(damping[:, None] * diagonal + 1e-12 + (~free))
        step, _ = torch.linalg.solve_ex(
            damped.nan_to_num(0, 0, 0) + 1e-14 * torch.eye(4, dtype=u.dtype, device=u.device), gradient.nan_to_num(0, 0, 0)
        )
        new = theta - step
        reached = _loss(function, u, v, new)
        better = reached < loss
        theta, loss = torch.where(better[:, None], new, theta), torch.where(better, reached, loss)
        damping = torch.where(better, damping / 5, damping * 4).clamp(1e-12, 1e8)
    return theta, loss


def _loss(function: Function, u: Tensor, v: Tensor, theta: Tensor) -> Tensor:
    a, b, c, d = theta.T
    return (a * function.torch(u * b + c) + d - v).square().mean(0)


def _linearised(function: Function, u: Tensor, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """The residuals (n, edges) and their derivatives (n, edges, 4)."""
    a, b, c, d = theta.T
    with torch.enable_grad():
        t = (u * b + c).detach().requires_grad_()
        f = function.torch(t)
        (slope,) = torch.autograd.grad(f.sum(), t)
    f = f.detach()
    return a * f + d - v, torch.stack([f, a * slope * u, a * slope, torch.ones_like(f)], -1)
