"""Where Kolmogorov–Arnold layers start."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from slaf.bases import Basis

__all__ = ["INITS", "start"]

INITS = ("variance", "zero", "kan", "fast_kan", "chebykan")
"""``variance``: for inputs uniform on the interval every output has their variance, half of it from the base activation and half from the
terms, whose coefficients have one common standard deviation. ``zero``: the terms at 0, all of it from the base. The papers': ``kan``,
coefficients N(0, 0.1²) and Xavier's uniform weights for the base (arXiv:2404.19756 [from memory]); ``fast_kan``, a normal of 0.1 cut at
±2 and the base as nn.Linear (arXiv:2405.06721, the authors' code); ``chebykan``, N(0, (1/(inputs·(K + 1)))²) and the base, which it has
not, as nn.Linear (the authors' code)."""
POINTS = 2000

Base = Callable[[Tensor], Tensor] | None
Ends = tuple[float, float]


def _second_moments(
    basis: Basis, count: int, base: Callable[[Tensor], Tensor] | None, interval: tuple[float, float]
) -> tuple[float, float]:
    """The mean over the interval of Σ_k φ_k² and of base²."""
    t = (torch.arange(POINTS, dtype=torch.float64, device="cpu") + 0.5) * (2 / POINTS) - 1
    terms = float(basis.evaluate(t * basis.half_width, count).square().sum(-1).mean())
    if base is None:
        return terms, 0.0
    low, high = interval
    x = (low + high) / 2 + t * (high - low) / 2
    learned = next(base.parameters(), x) if isinstance(base, nn.Module) else x
    with torch.no_grad():
        return terms, float(base(x.float().to(learned.device)).double().square().mean())


def start(
    terms: Tensor,
    base_weight: Tensor | None,
    fan: tuple[int, int],
    init: str,
    basis: Basis,
    base: nn.Module | None,
    interval: tuple[float, float],
) -> None:
    """Fill the coefficients ``terms``, with the K terms in the first dimension, and the weights of the base activation, in place.

    Args:
        fan: how many inputs an output has, and how many outputs an input.
    """
    inputs, outputs = fan
    count = len(terms)
    if terms.is_meta:
        return
    with torch.no_grad():
        if init in ("variance", "zero"):
            of_terms, of_base = _second_moments(basis, count, base, interval)
            wanted = (interval[1] - interval[0]) ** 2 / 12 / inputs
            both = of_base > 0 and init == "variance"
            terms.normal_(0, math.sqrt(wanted / (2 if both else 1) / of_terms) if init == "variance" and of_terms > 0 else 0.0)
            if base_weight is not None:
                base_weight.normal_(0, math.sqrt(wanted / (2 if both else 1) / of_base) if of_base > 0 else 0.0)
            return
        if init == "fast_kan":
            nn.init.trunc_normal_(terms, std=0.1)
        else:
            terms.normal_(0, 0.1 if init == "kan" else 1 / (inputs * (count + 1)))
        if base_weight is not None:
            bound = math.sqrt(6 / (inputs + outputs)) if init == "kan" else 1 / math.sqrt(inputs)
            base_weight.uniform_(-bound, bound)
