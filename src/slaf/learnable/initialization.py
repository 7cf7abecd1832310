"""Where the coefficients of a SLAF start: fitted to a function, or drawn as the papers draw them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from slaf.bases import basis
from slaf.core import SlafError, make
from slaf.fit import Normal, least_squares

__all__ = ["Start", "fitted_start"]


class Start:
    """Initial bias and weights, and the terms' means and variances under the density of the fit."""

    def __init__(self, bias: float, weight: Tensor, term_mean: Tensor, term_var: Tensor, error: float) -> None:
        self.bias, self.weight, self.term_mean, self.term_var, self.error = bias, weight, term_mean, term_var, error


def _function(target: str | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    if not isinstance(target, str):
        return target
    module = make(target)
    if any(p.numel() for p in module.parameters()):
        module = module.double()
    return module.eval()


def fitted_start(
    target: str | Callable[[Tensor], Tensor],
    basis_name: str,
    degree: int,
    squash: Callable[[Tensor], Tensor],
    normalize: bool,
    density: Normal,
    standardized: bool,
) -> Start:
    """The coefficients with which Σ w_k N_k(φ_k(s(z))) + b is nearest to ``target`` for z ~ ``density``.

    With ``standardized`` the input map makes the density standard, so the target is fitted at z = mean + std·(its output).
    """
    if isinstance(target, str):
        return _cached(target, basis_name, degree, squash, normalize, density, standardized)
    return _fit(target, basis_name, degree, squash, normalize, density, standardized)


def _fit(
    target: str | Callable[[Tensor], Tensor],
    basis_name: str,
    degree: int,
    squash: Callable[[Tensor], Tensor],
    normalize: bool,
    density: Normal,
    standardized: bool,
) -> Start:
    family = basis(basis_name)

    def terms(x: Tensor) -> Tensor:
        s = (x - density.mean) / density.std if standardized else x
        return family.evaluate(squash(s), degree)

    x, weight = density.nodes()
    values = terms(x)
    mean = (values * weight[:, None]).sum(0)
    var = ((values - mean) ** 2 * weight[:, None]).sum(0)
    scale = var.sqrt() if normalize else torch.ones_like(var)
    shift = mean if normalize else torch.zeros_like(mean)

    def design(x: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(x)[:, None], (terms(x) - shift) / scale], 1)

    try:
        solution, error = least_squares(_function(target), design, density)
    except (TypeError, RuntimeError) as problem:
        raise SlafError(f"init must be an activation or a function of one tensor; {target!r} failed with: {problem}") from None
    return Start(float(solution[0]), solution[1:], mean, var, error)


_cached = lru_cache(maxsize=128)(_fit)
