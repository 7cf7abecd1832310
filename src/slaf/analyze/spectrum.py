"""``spectra``: the degree, the measured inputs and the Chebyshev coefficients of every polynomial in a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slaf.bases.polynomial import CHEBYSHEV, substitute, times_u
from slaf.core.sharing import reduce_dims
from slaf.surgery.frozen import FrozenPolynomial
from slaf.surgery.polynomializing.data import rows_of

from .exact import Array, Exact, samples

__all__ = ["SiteSpectrum", "spectra", "spectra_of"]


@dataclass(frozen=True)
class SiteSpectrum:
    """One site: p_i(x) = Σ_j coefficients[i, j] T_j((2x - low[i] - high[i])/(high[i] - low[i])) for channel i.

    On its measured range every T_j lies in [-1, 1], so a coefficient's size is what its degree adds at most.

    Attributes:
        name: the module's path.
        low, high: the smallest and largest input of each channel (or unit, or of all where they share one polynomial): (channels,).
        coefficients: (channels, degree + 1), float64.
    """

    name: str
    low: Array
    high: Array
    coefficients: Array

    @property
    def degree(self) -> int:
        """The formal degree."""
        return self.coefficients.shape[1] - 1

    @property
    def sizes(self) -> Array:
        """By degree, the root mean square of the channels' coefficients: (degree + 1,)."""
        return np.asarray(np.sqrt(np.mean(self.coefficients**2, 0)))

    def needed(self, tolerance: float = 0.01) -> int:
        """The least degree m at which cutting the series changes no channel on its range by more than ``tolerance`` of what varies.

        Σ_{j>m} |c_j| ≤ tolerance·Σ_{j≥1} |c_j| in every channel; the left side bounds the change.
        """
        size = np.abs(self.coefficients)
        size[:, 0] = 0
        beyond = size[:, ::-1].cumsum(1)[:, ::-1] - size  # Σ_{j>m} |c_j|
        return int(np.flatnonzero(np.all(beyond <= tolerance * size.sum(1, keepdims=True), 0))[0])

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "name": self.name,
            "degree": self.degree,
            "needed": self.needed(),
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "sizes": self.sizes.tolist(),
            "coefficients": self.coefficients.tolist(),
        }


def spectra(model: nn.Module, data: Tensor) -> tuple[SiteSpectrum, ...]:
    """Every polynomial activation of ``model`` on the inputs that it gets for ``data``, as Chebyshev series over exactly that range.

    Products that are written out (``x * x``, ``square``) are no sites.

    Args:
        model: a network that is a polynomial of its input in evaluation.
        data: inputs (n, …).

    Raises:
        SlafError: the model is no polynomial (the operations are named), or the data are no such inputs.
    """
    x = samples(data)
    return spectra_of(Exact(model, x), x)


def spectra_of(exact: Exact, x: Tensor) -> tuple[SiteSpectrum, ...]:
    """See :func:`spectra`."""
    sites = {m: name for name, m in exact.network.named_modules() if isinstance(m, FrozenPolynomial)}
    ranges: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def watch(act: Any, args: tuple[Tensor, ...]) -> None:
        low, high = _range(act, args[0].detach())
        before = ranges.get(act, (low, high))
        ranges[act] = torch.minimum(before[0], low), torch.maximum(before[1], high)

    handles = [act.register_forward_pre_hook(watch) for act in sites]
    try:
        rows_of(exact.network, x)
    finally:
        for handle in handles:
            handle.remove()
    return tuple(_spectrum(name, act, *ranges[act]) for act, name in sites.items() if act in ranges)


def _range(act: FrozenPolynomial, x: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest input of every polynomial of ``act``."""
    rows = len(act.coefficients)
    shape = act.sharing.shape(x, rows) if rows > 1 else (1,) * x.dim()
    dims = reduce_dims(x, shape)
    return x.amin(dims).reshape(-1).cpu(), x.amax(dims).reshape(-1).cpu()


def _spectrum(name: str, act: FrozenPolynomial, low: Tensor, high: Tensor) -> SiteSpectrum:
    p = act.polynomial().in_chebyshev()
    middle, half = (low + high) / 2, (high - low) / 2
    center, rscale = p.center.cpu(), p.rscale.cpu()
    table = substitute(CHEBYSHEV, (middle - center) * rscale, half * rscale, times_u(CHEBYSHEV, p.degree))
    c = (p.coefficients.cpu()[:, None, :] @ table)[:, 0]
    return SiteSpectrum(name, low.numpy(), high.numpy(), np.ascontiguousarray(c.numpy()))
