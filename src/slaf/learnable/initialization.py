"""Where the coefficients of a SLAF start: fitted to a function, or drawn as the papers draw them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from slaf.bases import Basis, PolynomialBasis
from slaf.core import SlafError, make
from slaf.fit import Normal, least_squares

__all__ = ["SQUASH", "Form", "Start", "fitted_start", "squash_to_domain"]

SQUASH: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda u: u, "tanh": torch.tanh, "clamp": lambda u: u.clamp(-1, 1)}

RIDGE = 1e-3
"""Of fits over bases that are not polynomial; costs less than 1e-3 of root mean square error for GELU."""


def squash_to_domain(s: Tensor, squash: str, basis: Basis) -> Tensor:
    """u = squash(s)·h, h half the length of the domain of ``basis``."""
    u = SQUASH[squash](s)
    return u if basis.half_width == 1 else u * basis.half_width


class Start(NamedTuple):
    """Initial bias and weights, the terms' means and variances under the density of the fit, and its root mean square error."""

    bias: float
    weight: Tensor
    term_mean: Tensor
    term_var: Tensor
    error: float


def _function(target: str | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    if not isinstance(target, str):
        return target
    module = make(target)
    if any(p.numel() for p in module.parameters()):
        module = module.double()
    return module.eval()


class Form(NamedTuple):
    """What is fitted: ``terms`` terms over ``squash((z - mean)/std/input_scale)``, times half the length of the domain; over
    ``squash(z)`` where ``input_scale`` is None, and z itself where there is no squash either.
    """

    basis: Basis
    terms: int
    squash: str
    input_scale: float | None
    normalize: bool
    density: Normal


def fitted_start(target: str | Callable[[Tensor], Tensor], form: Form) -> Start:
    """The coefficients with which Σ w_k N_k(φ_k(s(z))) + b is nearest to ``target`` for z ~ ``form.density``."""
    return _cached(target, form) if isinstance(target, str) else _fit(target, form)


def _fit(target: str | Callable[[Tensor], Tensor], form: Form) -> Start:
    density = form.density

    def terms(x: Tensor) -> Tensor:
        if form.input_scale is None and form.squash == "none":
            return form.basis.evaluate(x, form.terms)
        s = x if form.input_scale is None else (x - density.mean) / density.std / form.input_scale
        return form.basis.evaluate(squash_to_domain(s, form.squash, form.basis), form.terms)

    x, weight = density.nodes()
    values = terms(x)
    mean = (values * weight[:, None]).sum(0)
    var = ((values - mean) ** 2 * weight[:, None]).sum(0)
    shift, scale = (mean, var.sqrt()) if form.normalize else (torch.zeros_like(mean), torch.ones_like(var))

    def design(x: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(x)[:, None], (terms(x) - shift) / scale], 1)

    try:
        solve = least_squares if isinstance(form.basis, PolynomialBasis) else _small_least_squares
        solution, error = solve(_function(target), design, density)
    except (TypeError, RuntimeError) as problem:
        raise SlafError(f"init must be an activation or a function of one tensor; {target!r} failed with: {problem}") from None
    return Start(float(solution[0]), solution[1:], mean, var, error)


def _small_least_squares(target: Callable[[Tensor], Tensor], terms: Callable[[Tensor], Tensor], density: Normal) -> tuple[Tensor, float]:
    """As :func:`slaf.fit.least_squares`, plus RIDGE²·Σ w_k²: of all fits that are about as good, one with small coefficients.

    Sums of bumps nearly add up to the bias, and terms at the domain's ends see little of the density: without it such coefficients
    reach ±200 at no gain, and float32 pays for their cancellation.
    """
    x, weight = density.nodes()
    _, best = least_squares(target, terms, density)  # also says what is wrong with a target
    root = weight.sqrt()[:, None]
    with torch.no_grad():
        y, design = target(x).to(torch.float64), terms(x).to(torch.float64)
    size = design.shape[1]
    rows = torch.cat([design * root, RIDGE * torch.eye(size, dtype=torch.float64)])
    wanted = torch.cat([y[:, None] * root, torch.zeros(size, 1, dtype=torch.float64)])
    solution = torch.linalg.lstsq(rows, wanted, driver="gelsd").solution[:, 0]
    error = ((design @ solution - y) ** 2 * weight).sum().sqrt()
    return solution, max(float(error), best)


_cached = lru_cache(maxsize=128)(_fit)
