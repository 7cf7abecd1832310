"""Bases made of Gaussians, or of a derivative of the Gaussian, at fixed places and widths."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .base import Basis, check_order

__all__ = ["GaussianBasis", "Place", "bell", "uniform_centres"]

CUT = 40.0
"""Widths from the centre beyond which exp(-t²/2) is 0 in float64: farther out t² would only overflow."""

Place = tuple[float, float, float]
"""Of one element: centre, width, amplitude."""


@dataclass(frozen=True, repr=False)
class GaussianBasis(Basis):
    """Elements e_j(u) = A_j·G^{(m)}((u - c_j)/w_j) with G(t) = exp(-t²/2), and terms that are these or, with ``mixing``, sums of them.

    Class attributes:
        order_of_elements: m, 0 for the Gaussian itself.
    """

    order_of_elements: ClassVar[int] = 0

    @abstractmethod
    def places(self, count: int) -> list[Place]:
        """Centre, width and amplitude of every element."""

    def combine(self, u: Tensor, coefficients: Tensor, count: int) -> Tensor:
        y = torch.zeros_like(u)
        for c, (centre, width, amplitude) in zip(coefficients.unbind(0), self.places(count), strict=True):
            y = y + bell((u - centre) * (1 / width), self.order_of_elements) * (amplitude * c)
        return y

    def element_sizes(self, count: int) -> list[tuple[float, float]]:
        # suprema of the first and third derivatives of G; those of G itself and of the second are 1
        steepest = 0.607 if self.order_of_elements == 0 else 1.39
        return [(abs(amplitude), abs(amplitude) * steepest / width) for _, width, amplitude in self.places(count)]

    def derivative(self, u: Tensor, count: int, order: int = 1) -> Tensor:
        t, width, amplitude = self._all(u, count)
        return self._mix(bell(t, self.order_of_elements + check_order(order)) * amplitude / width**order, count)

    def antiderivative(self, u: Tensor, count: int) -> Tensor:
        t, width, amplitude = self._all(u, count)
        zero, _, _ = self._all(torch.zeros_like(u), count)
        if self.order_of_elements:
            risen = bell(t, self.order_of_elements - 1) - bell(zero, self.order_of_elements - 1)
        else:
            risen = math.sqrt(math.pi / 2) * (torch.erf(t / math.sqrt(2)) - torch.erf(zero / math.sqrt(2)))
        return self._mix(risen * amplitude * width, count)

    def _all(self, u: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """t of every element, and its width and amplitude."""
        centre, width, amplitude = torch.tensor(self.places(count), dtype=u.dtype, device=u.device).unbind(-1)
        return (u[..., None] - centre) / width, width, amplitude

    def _mix(self, elements: Tensor, count: int) -> Tensor:
        matrix = self.mixing(count)
        return elements if matrix is None else elements @ torch.from_numpy(matrix.T.copy()).to(elements)

    def elements(self, x: Any, count: int) -> list[Any]:
        """e_1(x) … e_J(x) as sympy expressions."""
        import sympy

        out = []
        for centre, width, amplitude in self.places(count):
            t = (x - sympy.Float(centre)) / sympy.Float(width)
            polynomial = {0: sympy.Integer(1), 2: t**2 - 1}[self.order_of_elements]
            out.append(sympy.Float(amplitude) * polynomial * sympy.exp(-(t**2) / 2))
        return out

    def expressions(self, x: Any, count: int) -> list[Any]:
        import sympy

        elements, matrix = self.elements(x, count), self.mixing(count)
        if matrix is None:
            return elements
        return [sum((sympy.Float(m) * e for m, e in zip(row, elements, strict=True)), sympy.Integer(0)) for row in matrix.tolist()]

    def expression(self, x: Any, coefficients: Any) -> Any:
        matrix = self.mixing(len(coefficients))
        if matrix is None:
            return super().expression(x, coefficients)
        import numpy as np
        import sympy

        mixed = (np.asarray(coefficients, dtype=np.float64) @ matrix).tolist()
        return sum((sympy.Float(c) * e for c, e in zip(mixed, self.elements(x, len(coefficients)), strict=True)), sympy.Integer(0))


def bell(t: Tensor, order: int) -> Tensor:
    """G^{(n)}(t) = (-1)^n He_n(t) exp(-t²/2)."""
    t = torch.where(t.abs() > CUT, CUT, t)  # the terms beyond are 0 with either sign
    bell = torch.exp(-0.5 * t * t)
    previous, factor = None, None
    for n in range(order):
        # (-1)^{n+1} He_{n+1} = -t·(-1)^n He_n - n·(-1)^{n-1} He_{n-1}
        following = -t if factor is None else -t * factor - n * (1 if previous is None else previous)
        previous, factor = factor, following
    return bell if factor is None else bell * factor


def uniform_centres(domain: tuple[float, float], count: int) -> tuple[list[float], float]:
    """``count`` places from end to end of the domain (its middle for one), and their spacing."""
    if count == 1:
        return [0.5 * (domain[0] + domain[1])], domain[1] - domain[0]
    spacing = (domain[1] - domain[0]) / (count - 1)
    return [domain[0] + spacing * i for i in range(count)], spacing
