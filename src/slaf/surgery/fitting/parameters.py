"""A few parameters of any activation, fitted by nonlinear least squares."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.func import functional_call, jacfwd

from slaf.core import Activation

from .region import Region

__all__ = ["descend"]

MOST, STEPS = 64, 25
LARGEST = 100.0
"""Of a parameter: a Swish whose slope grows without end is a ReLU that learns no more."""


def descend(module: Activation, region: Region) -> float:
    """Set the module's parameters to better ones by Levenberg–Marquardt from where they are; they stay if none are found.

    Not for more than 64 parameters. Each stays in the interval that its claim allows, and in ±100. Returns the weighted root mean square
    error, infinite where nothing could be fitted.
    """
    parameters = {n: p.detach().clone() for n, p in module.named_parameters()}
    count = sum(p.numel() for p in parameters.values())
    if not 0 < count <= MOST:
        return math.inf
    module.eval()
    points = region.on(*region.seen).points()
    x, root, y = module._spread(points.x), points.weight.sqrt(), region.target(points.x)
    sizes = {n: p.shape for n, p in parameters.items()}

    def residual(theta: Tensor) -> Tensor:
        parts = theta.split([s.numel() for s in sizes.values()])
        named = {n: part.reshape(s) for (n, s), part in zip(sizes.items(), parts, strict=True)}
        return (functional_call(module, named, (x,)).reshape(-1) - y) * root

    start = torch.cat([p.reshape(-1) for p in parameters.values()])
    low, high = _limits(module, list(sizes), [s.numel() for s in sizes.values()])
    best, loss = _minimise(residual, start, low, high, (1e-9 * region.spread) ** 2)
    with torch.no_grad():
        for p, part in zip(module.parameters(), best.split([s.numel() for s in sizes.values()]), strict=True):
            p.copy_(part.reshape(p.shape))
    return math.sqrt(loss)


def _limits(module: Activation, names: list[str], sizes: list[int]) -> tuple[Tensor, Tensor]:
    low, high = [], []
    for name, size in zip(names, sizes, strict=True):
        claim = module.facts.params.get(name)
        a, b = (claim.low, claim.high) if claim is not None else (-LARGEST, LARGEST)
        inset = 1e-3 if claim is not None and claim.open else 0.0
        low += [max(a + inset, -LARGEST)] * size
        high += [min(b - inset, LARGEST)] * size
    return torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)


def _minimise(residual: object, theta: Tensor, low: Tensor, high: Tensor, enough: float) -> tuple[Tensor, float]:
    jacobian = jacfwd(residual)  # type: ignore[arg-type]
    with torch.no_grad():
        r = residual(theta)  # type: ignore[operator]
        loss, damping = float(r.square().sum()), 1e-3
        if not math.isfinite(loss):
            return theta, math.inf
        j = jacobian(theta)
        for _ in range(STEPS):
            if loss <= enough or not bool(torch.isfinite(j).all()):
                break
            normal, gradient = j.T @ j, j.T @ r
            scale = normal.diagonal() + 1e-12 * normal.diagonal().max() + 1e-300
            step = torch.linalg.lstsq(normal + damping * torch.diag(scale), -gradient[:, None], driver="gelsd").solution[:, 0]
            trial = torch.minimum(torch.maximum(theta + step, low), high)
            new = residual(trial)  # type: ignore[operator]
            found = float(new.square().sum())
            if math.isfinite(found) and found < loss:
                settled = found > loss * (1 - 1e-8)
                theta, r, loss, damping = trial, new, found, max(damping / 8, 1e-12)
                if settled:
                    break
                j = jacobian(theta)
            else:
                damping *= 5
                if damping > 1e10:
                    break
    return theta, loss
