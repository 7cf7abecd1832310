"""The learned families as dense float64 formulas, written from their docstrings and not from slaf's code, each with a bound of its terms.

A formula is given x, θ as (K, …) and ``minus``: -1.0, and it is the definition; +1.0, with |x| and |θ|, and it is a majorant: what the
definition is if nothing cancels. The gradient of the majorant bounds the sum of the absolute terms of each gradient likewise, so both
scale with the conditioning, and float32's rounding times them is what a kernel may be off by. ``at`` is x itself in both: what counts as
a constant in the majorant is computed from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from definitions_bumps import BUMPS
from definitions_folded import FOLDED
from definitions_layers import EVONORM, POLYNORM
from definitions_pointwise import HINGES, PIECES
from entry import STATISTICAL, UNIT, Kernel
from hypothesis import strategies as st
from statistics_majorant import beside, reaches_channel, size_of, standardised, trains
from torch import Tensor

# -- polynomials -----------------------------------------------------------------------------------------------------------------


def polynomial_terms(u: Tensor, degree: int, basis: str, minus: float) -> list[Tensor]:
    """φ_1 … φ_degree."""
    phi = [torch.ones_like(u), u]
    for _ in range(2, degree + 1):
        phi.append(u * phi[-1] if basis == "power" else 2 * u * phi[-1] + minus * phi[-2])
    return phi[1:]


def polynomial(act: Any, x: Tensor, theta: Mapping[str, Tensor], minus: float, at: Tensor) -> Tensor:  # noqa: ARG001
    """s·(b + Σ a_k φ_k(u)), s = coefficient_scale, u = x or the map of ``interval`` to [-1, 1]."""
    u = x
    if act.interval is not None:
        low, high = act.interval
        u = (x + minus * size_of(torch.tensor((low + high) / 2), minus)) * (2 / (high - low))
    terms = polynomial_terms(u, act.degree, str(act.basis), minus)
    return act.coefficient_scale * (theta["bias"][0] + sum(a * phi for a, phi in zip(theta["weight"], terms, strict=True)))


def _polynomial_specs(basis: str) -> st.SearchStrategy[str]:
    degrees = st.one_of(st.sampled_from((1, 2, 3, 5, 7, 9)), st.integers(1, 15))
    maps = st.sampled_from((*("normalize=none, input=identity",) * 2, "interval=(-3.0,3.0)", "interval=(-1.0,2.5)"))
    return st.builds(lambda k, m: f"slaf(basis={basis}, degree={k}, {m})", degrees, maps)


# -- rational --------------------------------------------------------------------------------------------------------------------


def rational(act: Any, x: Tensor, theta: Mapping[str, Tensor], minus: float, at: Tensor) -> Tensor:
    """P/Q; the majorant has |P|·(|Q|/Q)²/Q, with Q itself a constant: it is divided by up to three times in a gradient.

    g·P/Q² may underflow before it is multiplied by the large powers of x in the gradient of Q's coefficients. Where the sum whose
    absolute value "joint" takes is not known but for rounding, its sign is not, and either gradient is right.
    """
    p = sum(a * x**j for j, a in enumerate(theta["numerator"]))
    b = theta.get("denominator")
    if b is None:
        return p + 0 * x
    q = _denominator(act.form, x, b, minus)
    if minus < 0:
        return p / q
    exact = _denominator(act.form, at, theta["denominator exact"], -1.0)
    moved = q - q.detach()  # zero, with q's gradient
    kink = (act.form == "joint") * (exact - 1 <= 64 * UNIT * (q.detach() - 1) + 1e-37) / UNIT
    return p / exact * (q / exact) ** 2 + 2.0**-124 * moved + kink * (p / exact / exact).detach() * moved


def _denominator(form: str, x: Tensor, b: Tensor, minus: float) -> Tensor:
    magnitude = torch.where(b >= 0, b, -b)  # whose gradient at 0 is 1
    if form in ("even", "per_term"):
        base = x * x if form == "even" else x.abs()
        return 1 + sum(m * base ** (k + 1) for k, m in enumerate(magnitude))
    inner = sum(m * x ** (k + 1) for k, m in enumerate(b if minus < 0 else magnitude))
    return 1 + (inner**2 if form == "square" else torch.where(inner >= 0, inner, -inner))


def _rational_specs(form: str) -> st.SearchStrategy[str]:
    n = st.integers(1, 10) if form in ("per_term", "joint") else st.integers(1, 5).map(lambda k: 2 * k)
    degrees = st.one_of(st.just((5, 4)), st.tuples(st.integers(1, 10), n))
    return degrees.map(lambda d: f"rational({d[0]}, {d[1]}, denominator={form}, init=identity)")


def _rational_theta(name: str, like: Tensor) -> Tensor:
    """Some coefficients are zero, as they are at the start."""
    drawn = torch.randn_like(like) * (0.5 if name == "denominator" else 1)
    return torch.where(torch.rand_like(like) < 0.15, torch.zeros_like(like), drawn)


# -- statistics ------------------------------------------------------------------------------------------------------------------


def normalised(act: Any, x: Tensor, theta: Mapping[str, Tensor], minus: float, at: Tensor) -> Tensor:
    """s·(b + Σ a_k N_k(φ_k(u))): u standardised by the running mean and variance, in training with the gradients of batch normalisation,
    or by the batch's; N_k by those of φ_k, with a floor of 1e-10 of the second moment under the variance.
    """
    dims, channel = [d for d in range(x.dim()) if d != act.sharing.channel_dim], beside(act, x.dim())
    training, basis = trains(act, x), str(act.basis)
    u, u_at, factor = x, at, torch.ones(())
    if act.input_statistics is not None:
        u, u_at, factor = standardised(act.input_statistics, u, at, dims, channel, training, minus)
        u, u_at = u / act.input_scale, u_at / act.input_scale
    elif minus > 0:  # the kernels take powers about the mean: |x| becomes |x - c| + |c|
        c = at.mean(dims, keepdim=True) if training else channel(act.term_statistics.mean[:, 0])
        u = u + ((at - c).abs() + c.abs() - at.abs())
    terms = polynomial_terms(_at_least_one(u, minus), act.degree, basis, minus)
    if act.term_statistics is not None:
        there = polynomial_terms(u_at, act.degree, basis, -1.0)
        kept = act.term_statistics
        running = [None if training else (channel(kept.mean[:, k]), channel(kept.var[:, k])) for k in range(act.degree)]
        terms = [_term(phi, exact, dims, given, minus) for phi, exact, given in zip(terms, there, running, strict=True)]
    return act.coefficient_scale * factor * (theta["bias"][0] + sum(a * n for a, n in zip(theta["weight"], terms, strict=True)))


def _at_least_one(u: Tensor, minus: float) -> Tensor:
    """In a majorant: errors of u count as those of 1 where u is smaller."""
    return u if minus < 0 else u + (1 - u.detach()).clamp(min=0)


def _term(phi: Tensor, at: Tensor, dims: list[int], running: tuple[Tensor, Tensor] | None, minus: float) -> Tensor:
    """N(φ); in the majorant with the error that the variance passes on, whose terms are φ² over the variance."""
    mean, var = (at.mean(dims, keepdim=True), at.var(dims, correction=0, keepdim=True)) if running is None else running
    floor = 1e-10 * (var + mean * mean) + 1e-30
    if running is not None:
        return (phi + minus * size_of(mean, minus)) / (var + floor).sqrt()
    if minus < 0:
        mean, var = phi.mean(dims, keepdim=True), phi.var(dims, correction=0, keepdim=True)
        return (phi - mean) / (var + 1e-10 * (var + mean * mean) + 1e-30).sqrt()
    rough = 1 + (phi * phi).mean(dims, keepdim=True) / (var + floor)
    return (phi + phi.mean(dims, keepdim=True)) / (var + floor).sqrt() * rough * rough.detach()


def with_statistics(act: Any) -> None:
    """Running statistics as some batches leave them."""
    channels = act.sharing.num_channels
    z = (torch.randn(400, channels) * (0.5 + torch.rand(channels)) + torch.randn(channels)).double()
    batches = int(torch.randint(0, 3, ()))
    if act.input_statistics is not None:
        act.input_statistics.mean.copy_(z.mean(0))
        act.input_statistics.var.copy_(z.var(0))
        act.input_statistics.num_batches_tracked.fill_(10 * batches)
        z = (z - z.mean(0)) / z.std(0) / act.input_scale
    if act.term_statistics is not None:
        terms = torch.stack(polynomial_terms(z, act.degree, str(act.basis), -1.0), -1)
        act.term_statistics.mean.copy_(terms.mean(0))
        act.term_statistics.var.copy_(terms.var(0))
        act.term_statistics.num_batches_tracked.fill_(10 * batches)


def _normalised_specs(normalize: str, inputs: tuple[str, ...]) -> st.SearchStrategy[str]:
    chosen = st.sampled_from(("power", "chebyshev")), st.sampled_from((1, 2, 3, 3, 5, 5, 7, 9)), st.sampled_from(inputs)
    return st.builds(lambda b, k, i: f"slaf(basis={b}, degree={k}, normalize={normalize}, input={i})", *chosen)


def _with_statistics(normalize: str, inputs: tuple[str, ...]) -> Kernel:
    return Kernel(
        _normalised_specs(normalize, inputs),
        normalised,
        lambda act: 16 + 8 * act.degree,
        values=STATISTICAL,
        needs="channels",
        prepare=with_statistics,
        reaches=reaches_channel,
    )


KERNELS: dict[str, Kernel] = {
    **{
        basis: Kernel(_polynomial_specs(basis), polynomial, lambda act: 8 + 4 * act.degree, points=(3.0, -3.0, 2.5, 0.75))
        for basis in ("power", "chebyshev")
    },
    **{
        f"rational, {form}": Kernel(_rational_specs(form), rational, lambda act: 16 + 6 * sum(act.degrees), theta=_rational_theta)
        for form in ("even", "per_term", "joint", "square")
    },
    "standardised input": _with_statistics("none", ("affine", "batch")),
    "normalised terms": _with_statistics("batch", ("identity", "identity", "affine", "batch")),
    **PIECES,
    **HINGES,
    **FOLDED,
    **BUMPS,
    **POLYNORM,
    **EVONORM,
}
"""What the random cases run over; another kernel joins with one entry."""
