"""Least squares under linear inequalities."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from slaf.core import SlafError

__all__ = ["constrained_least_squares"]


def constrained_least_squares(design: Tensor, y: Tensor, matrix: Tensor, limit: Tensor) -> Tensor:
    """The w that minimises |design @ w - y|² where matrix @ w <= limit.

    By the least-distance problem and non-negative least squares (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23).

    Raises:
        SlafError: scipy is missing; the design has dependent columns; nothing obeys the inequalities.
    """
    try:
        from scipy.optimize import nnls
    except ImportError as error:
        raise SlafError('a fit under inequalities needs scipy; install it with: pip install "slaf[fit]"') from error
    q, r = torch.linalg.qr(design)
    diagonal = r.diagonal().abs()
    if len(design) < design.shape[1] or float(diagonal.min()) <= 1e-12 * float(diagonal.max()):
        raise SlafError("the terms of a fit depend linearly on each other under the density")
    start = q.T @ y
    # z = r w - start is to be short where inner @ z >= least
    inner = -torch.linalg.solve_triangular(r, matrix, upper=True, left=False)
    least = -limit - inner @ start
    if bool((least <= 0).all()):
        return torch.linalg.solve_triangular(r, start[:, None], upper=True)[:, 0]
    scale = inner.square().sum(1).sqrt().clamp(min=1e-300)
    size = float((least / scale).max())  # the least distance is of this size: solve for it in units of it
    rows = torch.cat([inner / scale[:, None], (least / scale / size)[:, None]], 1).T.numpy()
    one = np.zeros(len(rows))
    one[-1] = 1
    multipliers, _ = nnls(rows, one, maxiter=50 * rows.shape[1])
    residual = rows @ multipliers - one
    if -residual[-1] <= 1e-12:
        raise SlafError("the fit has no solution: no coefficients obey all constraints")
    z = torch.from_numpy(-residual[:-1] / residual[-1]) * size
    return torch.linalg.solve_triangular(r, (z + start)[:, None], upper=True)[:, 0]
