"""How many terms a layer has, and their values: on the domain of the basis, and as straight lines beyond it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from slaf.bases import Basis, PiecewiseBasis, PolynomialBasis
from slaf.bases.gaussian import GaussianBasis, bell
from slaf.core import SlafError
from slaf.kernels.pieces import value_on_pieces

from .named import NamedBasis

__all__ = ["Terms", "number_of_terms", "terms_of"]

DEFAULT_GRID, MAX_CELLS = 5, 1023


def number_of_terms(basis: Basis, grid: int | None, terms: int | None, degree: int | None) -> int:
    """K from the one argument of the three that the basis takes, or its default.

    Raises:
        SlafError: another one is given, or its value is not allowed.
    """
    kind = "grid" if isinstance(basis, PiecewiseBasis) else "degree" if isinstance(basis, PolynomialBasis) else "terms"
    for name, value in (("grid", grid), ("terms", terms), ("degree", degree)):
        if value is not None and name != kind and not (kind == "grid" and name == "terms" and grid is None):
            raise SlafError(f"{name}={value!r} is not for basis {basis}, which takes {kind}")
    if isinstance(basis, PiecewiseBasis):
        least = basis.least_terms
        first = basis.cells(least)
        cells = DEFAULT_GRID if grid is None else grid
        if terms is not None:
            cells = basis.cells(terms) if isinstance(terms, int) else terms
        if isinstance(cells, bool) or not isinstance(cells, int) or not first <= cells <= MAX_CELLS:
            got = terms if grid is None else grid
            raise SlafError(f"grid, the number of intervals, must be an integer from {first} to {MAX_CELLS}; got {got!r}")
        return cells - first + least
    if isinstance(basis, NamedBasis):
        return basis.check_terms(len(basis.names) if terms is None else terms)
    given = degree if kind == "degree" else terms
    return basis.check_terms(basis.default_terms if given is None else given)


class Terms(nn.Module):
    """u → φ_1(u) … φ_K(u), (…) → (…, K), in the dtype of u; beyond the domain of the basis the tangents at its end.

    What is constant is a buffer, never cast and made anew where the module is moved, so that a compiler sees tensors.
    """

    constants: Tensor

    def __init__(self, basis: Basis, count: int, device: Any = None) -> None:
        super().__init__()
        self.basis, self.count = basis, count
        self.register_buffer("constants", self._made(torch.device(device or torch.get_default_device())), persistent=False)

    def table(self) -> Any:
        """The numbers that ``constants`` holds."""
        return np.zeros(0)

    def _made(self, device: torch.device) -> Tensor:
        made = torch.as_tensor(np.array(self.table(), dtype=np.float64), device="cpu")
        return made.to(device, torch.float32 if device.type == "mps" else torch.float64)

    def _apply(self, fn: Any, recurse: bool = True) -> Terms:
        super()._apply(fn, recurse)
        self.constants = self._made(self.constants.device)
        return self

    def forward(self, u: Tensor) -> Tensor:
        inside = u.clamp(-self.basis.half_width, self.basis.half_width)
        values, slopes = self.values_and_slopes(inside)
        return values + (u - inside)[..., None] * slopes

    def values_and_slopes(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """φ_k and φ_k' on the domain."""
        return self.basis.evaluate(u, self.count), self.basis.derivative(u, self.count)


class _Piecewise(Terms):
    """Straight beyond the domain by themselves; the constants are the local coefficients."""

    def table(self) -> Any:
        return cast(PiecewiseBasis, self.basis).table(self.count)

    def forward(self, u: Tensor) -> Tensor:
        piece, t = cast(PiecewiseBasis, self.basis).locate(u, self.count)
        return value_on_pieces(self.constants.to(u.dtype)[piece].unbind(-1), t[..., None])


class _Polynomial(Terms):
    """The constants take [1, φ] to φ'."""

    def table(self) -> Any:
        return cast(PolynomialBasis, self.basis).recurrence.derivative(self.count)[1:].T

    def values_and_slopes(self, u: Tensor) -> tuple[Tensor, Tensor]:
        values = self.basis.evaluate(u, self.count)
        return values, torch.cat([torch.ones_like(u)[..., None], values], -1) @ self.constants.to(u.dtype)


class _Gaussian(Terms):
    """The constants are center, 1/width and amplitude of every element, and the matrix that mixes them."""

    def table(self) -> Any:
        basis = cast(GaussianBasis, self.basis)
        center, width, amplitude = np.array(basis.places(self.count)).T
        mixing = basis.mixing(self.count)
        return np.stack([center, 1 / width, amplitude, *(np.eye(self.count) if mixing is None else mixing)])

    def values_and_slopes(self, u: Tensor) -> tuple[Tensor, Tensor]:
        center, rwidth, amplitude, *rows = self.constants.to(u.dtype).unbind(0)
        t, mixing = (u[..., None] - center) * rwidth, torch.stack(rows, 1)
        order = cast(GaussianBasis, self.basis).order_of_elements
        return bell(t, order) * amplitude @ mixing, bell(t, order + 1) * (amplitude * rwidth) @ mixing


class _Named(Terms):
    """Activations, on the whole line as they are."""

    def __init__(self, basis: NamedBasis, count: int, device: Any = None) -> None:
        super().__init__(basis, count, device)
        self.members = nn.ModuleList(basis.members())

    def forward(self, u: Tensor) -> Tensor:
        return torch.stack([member(u) for member in self.members], -1)


def terms_of(basis: Basis, count: int, device: Any = None) -> Terms:
    """The first ``count`` terms of a basis."""
    if isinstance(basis, NamedBasis):
        return _Named(basis, count, device)
    kinds = ((PiecewiseBasis, _Piecewise), (PolynomialBasis, _Polynomial), (GaussianBasis, _Gaussian))
    return next((kind for family, kind in kinds if isinstance(basis, family)), Terms)(basis, count, device)
