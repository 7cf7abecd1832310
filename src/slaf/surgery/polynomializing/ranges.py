"""Which site becomes a polynomial of which degree on which range; and what its inputs are in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slaf.bases.base import check_degree
from slaf.core import SlafError, one_of
from slaf.learnable import SLAF
from slaf.surgery.audit import audit
from slaf.surgery.freeze import frozen_polynomial
from slaf.surgery.frozen import FrozenPolynomial
from slaf.surgery.rules import matches
from slaf.surgery.site import Audit, Site

from .data import rows_of

__all__ = ["Degree", "Seen", "refuse_overflow", "seen_by", "specs"]

Degree = int | Mapping[str, int]
LARGEST = torch.finfo(torch.float32).max


def specs(model: nn.Module, example: Any, degree: Degree, margin: float, share: str) -> dict[str, str]:
    """The activation string of every site's polynomial, by the site's name; those that are polynomials already stay.

    Raises:
        SlafError: nothing to exchange; a degree that is not allowed, that means no site or is given for none; inputs beyond float32.
    """
    one_of("share", share, ("layer", "channel"))
    degrees = degree if isinstance(degree, Mapping) else {"*": degree}
    for value in degrees.values():
        check_degree(value)
    found = audit(model, example)
    sites = [site for site in found.activations if not _is_polynomial(model, site)]
    if not sites:
        raise SlafError(f"{type(model).__name__} calls no activation that is not a polynomial already")
    for key in degrees:
        if not any(matches(key, site) for site in sites):
            raise SlafError(f"degree: {key!r} fits no activation; there are {', '.join(f'{s.name} ({s.kind})' for s in sites)}")
    return {site.name: _spec(site, degrees, _reach(site, found, margin), share) for site in sites}


def _is_polynomial(model: nn.Module, site: Site) -> bool:
    module = model.get_submodule(site.path) if site.how == "module" else nn.Identity()
    return isinstance(module, FrozenPolynomial) or isinstance(frozen_polynomial(module), FrozenPolynomial)


def _reach(site: Site, found: Audit, margin: float) -> float:
    """R: of all calls together, where they have one module."""
    together = [s for s in found.activations if s is site or (s.how == site.how == "module" and s.paths == site.paths)]
    bad = sum(s.inputs.nonfinite for s in together)
    if bad:
        raise SlafError(f"{site.name} ({site.kind}) gets {bad} inputs that are not finite, so there is no range for a polynomial")
    largest = max(max(-s.inputs.min, s.inputs.max) for s in together) or 1.0
    return float(f"{margin * largest:.4g}")


def _spec(site: Site, degrees: Mapping[str, int], reach: float, share: str) -> str:
    degree = next((d for key, d in degrees.items() if matches(key, site)), None)
    if degree is None:
        raise SlafError(f'degree says nothing of {site.name} ({site.kind}); add "*" for all others')
    if not 2 * reach < LARGEST:
        raise _overflow(degree, site.name, reach)
    return f"slaf(degree={degree}, interval=({-reach!r}, {reach!r}), share={share})"


def refuse_overflow(name: str, act: SLAF) -> None:
    """Raise unless coefficients and the values up to twice the range are float32 numbers.

    Raises:
        SlafError: they are not.
    """
    assert act.interval is not None
    reach, p = act.interval[1], act.polynomial()
    far = p(torch.linspace(-2 * reach, 2 * reach, 9, dtype=torch.float64))
    if not bool((p.coefficients.abs().sum(1) < LARGEST).all() and (far.abs() < LARGEST).all()):
        raise _overflow(p.degree, name, reach)


def _overflow(degree: int, name: str, reach: float) -> SlafError:
    return SlafError(f"degree {degree} of {name} overflows float32 on its range [-{reach:.3g}, {reach:.3g}]; take a lower degree")


class Seen:
    """The inputs of one polynomial: the least, the largest, and how many lie beyond its interval."""

    def __init__(self) -> None:
        self.low, self.high = float("inf"), float("-inf")
        self.count = self.beyond = 0

    def add(self, x: Tensor, interval: tuple[float, float]) -> None:
        """Count one call's."""
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        self.count += x.numel()
        self.beyond += int(((x < interval[0]) | (x > interval[1])).sum())


def seen_by(polynomials: Sequence[SLAF], model: nn.Module, inputs: Tensor) -> list[Seen]:
    """What every polynomial in ``model`` is given for ``inputs``, in evaluation."""
    found = [Seen() for _ in polynomials]

    def watch(act: Any, args: tuple[Tensor, ...]) -> None:
        found[index[act]].add(args[0].detach(), act.interval)

    index: dict[nn.Module, int] = {act: number for number, act in enumerate(polynomials)}
    handles = [act.register_forward_pre_hook(watch) for act in polynomials]
    try:
        rows_of(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found
