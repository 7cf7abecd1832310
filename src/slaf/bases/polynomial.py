"""Polynomials, one per channel or unit, in a basis over a shifted and scaled variable: what a polynomial activation is in evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slaf.kernels import Recurrence

__all__ = ["POWERS", "Polynomials", "substitute", "times_u"]

POWERS = Recurrence((1.0,), (0.0,))
"""1, u, u², …"""


def _constant(matrix: Any, like: Tensor) -> Tensor:
    return torch.as_tensor(matrix, dtype=like.dtype, device=like.device)


def times_u(recurrence: Recurrence, degree: int) -> Tensor:
    """Row j holds u·φ_j in the family, cut at ``degree``: (degree + 1, degree + 1), float64."""
    return torch.from_numpy(recurrence.times_u(degree + 1)[:, : degree + 1].copy())


def substitute(recurrence: Recurrence, center: Tensor, scale: Tensor, times_u: Tensor) -> Tensor:
    """S with φ_k(scale·u + center) = Σ_j S[:, k, j] φ_j(u), for every entry of ``center`` and ``scale``: (sites, K + 1, K + 1).

    ``times_u`` comes from the function of that name and fixes K.
    """
    degree = len(times_u) - 1
    rows = [torch.cat([torch.ones_like(center)[:, None], torch.zeros_like(center)[:, None].expand(-1, degree)], 1)]
    for k in range(degree):
        a, b = recurrence.factors(k)
        row = a * (scale[:, None] * (rows[k] @ times_u.to(center.dtype)) + center[:, None] * rows[k])
        rows.append(row - b * rows[k - 1] if k and b else row)
    return torch.stack(rows, 1)


@dataclass(frozen=True)
class Polynomials:
    """p_i(x) = Σ_j coefficients[i, j] φ_j((x - center[i])·rscale[i]), i = 1 … sites, in float64.

    Attributes:
        coefficients: (sites, degree + 1).
        center, rscale: (sites,).
        recurrence: the family φ.
    """

    coefficients: Tensor
    center: Tensor
    rscale: Tensor
    recurrence: Recurrence

    @property
    def degree(self) -> int:
        """The formal degree."""
        return self.coefficients.shape[1] - 1

    def powers(self) -> Tensor:
        """Coefficients in powers of (x - center)·rscale: (sites, degree + 1)."""
        return self.coefficients @ _constant(self.recurrence.to_monomial(self.degree), self.coefficients)

    def monomial(self) -> Tensor:
        """Coefficients in powers of x: (sites, degree + 1). Loses accuracy where |center|·rscale is large."""
        powers = self.powers()
        shift = substitute(POWERS, -self.center * self.rscale, self.rscale, times_u(POWERS, self.degree).to(self.center.device))
        return (powers[:, None, :] @ shift)[:, 0]

    def __call__(self, x: Tensor) -> Tensor:
        """Values at ``x`` of shape (n,) or (n, sites): (n, sites)."""
        from slaf.kernels.series import clenshaw

        u = (x.to(torch.float64).reshape(len(x), -1) - self.center) * self.rscale
        return clenshaw(u, self.coefficients.T.unsqueeze(1), self.recurrence)

    def stationary_points(self) -> Tensor:
        """Candidates for the zeros of p' as x: (sites, degree - 1), the real parts of all roots, so that none is missed."""
        derivative = self.powers()[:, 1:] * torch.arange(1, self.degree + 1, dtype=torch.float64)
        out = torch.zeros(len(derivative), max(self.degree - 1, 0), dtype=torch.float64)
        for i, row in enumerate(derivative.tolist()):
            roots = np.roots(row[::-1]).real
            out[i, : len(roots)] = torch.from_numpy(np.ascontiguousarray(roots))
        return out / self.rscale[:, None].cpu() + self.center[:, None].cpu()
