"""Fine-tuning of all affine maps of a symbolic network together: Levenberg–Marquardt in float64."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from slaf.core import SlafError

from .functions import find
from .layer import SymbolicKANLinear

__all__ = ["Tuned", "tune"]

ENOUGH = 1e-26
"""A mean square over the targets' variance that rounding cannot get below."""
STALLED, LARGEST = 4, 1e10
"""Steps in a row that win less than a thousandth, and the damping at which no step is left."""


class Tuned(NamedTuple):
    """What :func:`tune` reached: the mean square error over the variance of the targets, and after how many steps."""

    nmse: float
    steps: int


def tune(model: nn.Module, x: Tensor, y: Tensor, steps: int = 100, *, enough: float = ENOUGH) -> Tuned:
    """Least squares of model(x) - y over a, b, c, d of all symbolic edges, in place, by Levenberg–Marquardt in float64.

    Of every function only those of b and c move that a and d cannot stand in for: none of ``x``, b of ``exp``, c of powers, ``sqrt``,
    ``log``, ``abs`` and ``1/x``. Splines stay as they are. A step to where a function is undefined is not taken.

    Args:
        model: a symbolic layer or an ``nn.Sequential`` with some; float64 is best.
        x, y: (n, in_features) and (n, out_features).
        steps: at most so many; less where nothing more is won.

    Raises:
        SlafError: no symbolic edge, or y is not of the shape of the outputs.
    """
    parameters, free = _parameters(model)
    dtype = next(iter(parameters.values())).dtype
    x, y = x.to(dtype), y.to(dtype)
    residual = _residual(model, parameters, x, y)
    if residual is None:
        raise SlafError(f"y must be finite, of the shape of model(x), and all functions defined on x; got y of shape {tuple(y.shape)}")
    variance = float(y.var(0, correction=0).sum().clamp(min=1e-300))
    loss, damping, slow, taken = _mean_square(residual), 1e-3, 0, 0
    while taken < steps and loss > enough * variance and slow < STALLED and damping <= LARGEST:
        jacobian = _jacobian(model, parameters, x)[:, free]
        normal, gradient = jacobian.mT @ jacobian, jacobian.mT @ residual.T.reshape(-1)
        taken, before = taken + 1, loss
        while damping <= LARGEST:
            diagonal = damping * normal.diagonal() + 1e-15 * normal.diagonal().max()
            new = _moved(parameters, free, torch.linalg.solve_ex(normal + torch.diag(diagonal), gradient).result)
            tried = _residual(model, new, x, y)
            if tried is not None and _mean_square(tried) < loss:
                parameters, residual, loss, damping = new, tried, _mean_square(tried), max(damping / 10, 1e-15)
                break
            damping = max(damping, 1e-12) * 6
        slow = slow + 1 if loss > 0.999 * before else 0
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name in parameters:
                p.copy_(parameters[name])
    return Tuned(loss / variance, taken)


def _mean_square(residual: Tensor) -> float:
    return float(residual.square().sum() / len(residual))


def _parameters(model: nn.Module) -> tuple[dict[str, Tensor], Tensor]:
    """The symbolic layers' parameters, and which of all their entries in a row are free."""
    named, free = {}, []
    for prefix, layer in model.named_modules():
        if isinstance(layer, SymbolicKANLinear):
            own = [find(name).free for _, _, name in layer.functions]
            entries = {
                "scale": [True] * len(own),
                "rate": [b for b, _ in own],
                "shift": [c for _, c in own],
                "bias": [True] * layer.out_features,
            }
            for name, which in entries.items():
                named[f"{prefix}.{name}".lstrip(".")] = getattr(layer, name).detach()
                free += which
    if not named:
        raise SlafError(f"model has no symbolic edge to tune: symbolify it first; got {type(model).__name__}")
    return named, torch.tensor(free, device=next(iter(named.values())).device)


def _residual(model: nn.Module, parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor | None:
    """model(x) - y; ``None`` if it is not finite or of another shape."""
    with torch.no_grad():
        out = functional_call(model, parameters, (x,))
    return out - y if out.shape == y.shape and bool(torch.isfinite(out).all()) else None


def _jacobian(model: nn.Module, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    """d outputs / d parameters, (outputs·n, parameters): every sample gets parameters of its own, so that one backward gives all."""
    own = {name: p.expand(len(x), -1).clone().requires_grad_() for name, p in parameters.items()}
    with torch.enable_grad():
        out = functional_call(model, own, (x,))
        rows = [
            torch.autograd.grad(out[:, k].sum(), list(own.values()), retain_graph=True, materialize_grads=True) for k in range(out.shape[1])
        ]
    return torch.cat([torch.cat(row, 1) for row in rows])


def _moved(parameters: dict[str, Tensor], free: Tensor, step: Tensor) -> dict[str, Tensor]:
    whole = torch.zeros(len(free), dtype=step.dtype, device=step.device)
    whole[free] = step
    parts = whole.split([p.numel() for p in parameters.values()])
    return {name: p - part for (name, p), part in zip(parameters.items(), parts, strict=True)}
