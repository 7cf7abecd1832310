"""SLAF over a polynomial basis: one plain polynomial per channel, whatever is normalised, evaluated by two primitives that keep x alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.compiler import is_compiling

from slaf.bases import PolynomialBasis
from slaf.bases.polynomial import POWERS, Polynomials
from slaf.core import SlafError
from slaf.core.sharing import broadcast
from slaf.kernels import series
from slaf.kernels.dispatch import MAX_DEGREE, dense
from slaf.kernels.series import clenshaw, standardize, working_dtype

from . import fused
from .initialization import squash_to_domain

if TYPE_CHECKING:
    from .slaf import SLAF

__all__ = ["Folded"]


class Folded:
    """How a :class:`slaf.SLAF` over ``basis`` is evaluated, bounded and written out."""

    tags = ("learnable", "polynomial")
    summary = "The self-learnable activation: a polynomial learned with the network."

    def __init__(self, basis: PolynomialBasis) -> None:
        self.basis = basis

    def has_kernel(self, act: SLAF) -> bool:
        recurrence = self.basis.recurrence if act.mixing is None else self.basis.evaluated_in
        return recurrence is not None and recurrence.code is not None and act.num_terms <= MAX_DEGREE

    def forward(self, act: SLAF, x: Tensor) -> Tensor:
        x = dense(x)
        shape, dtype = act.sharing.shape(x, act.sharing.sites), x.dtype
        training = act.training and act.normalizes and act.has_statistics_for(x)
        y = None if is_compiling() else (fused.trained if training else fused.evaluated)(act, x, shape)
        return self._defined(act, x, shape, training).to(dtype) if y is None else y

    def _defined(self, act: SLAF, x: Tensor, shape: tuple[int, ...], training: bool) -> Tensor:
        if training:
            c, x, center, rscale = self._train(act, x, shape)
        else:
            c, center, rscale = self._evaluation(act)
            center, rscale = (t if t is None else t.reshape(shape) for t in (center, rscale))
            x, center, rscale = self._squashed(act, x, center, rscale)
        recurrence = self.basis.recurrence
        if act.mixing is not None and self.basis.evaluated_in is not None:
            c, x, rscale = self._changed(act.mixing.matrix, c, x, rscale)
            recurrence = self.basis.evaluated_in
        layout = shape if c.shape[0] > 1 else (1,) * x.dim()
        return series(x, broadcast(c, layout), center, rscale, recurrence)

    def _changed(self, matrix: Tensor, c: Tensor, x: Tensor, rscale: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same polynomial in the family that it is evaluated in, over u/half_width."""
        constant = torch.nn.functional.pad(c[:, :1], (0, c.shape[1] - 1))
        c = constant + c[:, 1:] @ matrix
        if self.basis.half_width == 1:
            return c, x, rscale
        if rscale is None:
            return c, x.to(working_dtype(x.dtype)) * (1 / self.basis.half_width), None
        return c, x, rscale / self.basis.half_width

    def _train(self, act: SLAF, x: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Coefficients, and the input, center and rscale at which they hold, from this batch's statistics."""
        a, b = act.coefficients()
        center = rscale = None
        if act.input_statistics is not None:
            center, rscale = act.input_statistics.batch(x, shape)
            rscale = self._scaled(act, rscale)
        x, center, rscale = self._squashed(act, x, center, rscale)
        if act.term_statistics is None:
            return torch.cat([b[:, None], a], 1), x, center, rscale
        c, center, rscale = act.term_statistics.batch(x, shape, a, b, center, rscale)
        return c, x, center, rscale

    def _evaluation(self, act: SLAF) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Coefficients (sites or 1, degree + 1), and center and rscale (sites,) of the input, from the running statistics."""
        a, b = act.coefficients()
        c = torch.cat([b[:, None], a], 1) if act.term_statistics is None else act.term_statistics.frozen(a, b)
        if act.input_statistics is not None:
            center, rscale = act.input_statistics.frozen()
            return c, center, self._scaled(act, rscale)
        if act.interval is not None:
            middle, rate = act.fixed_map()
            rate = rate if act.squash != "none" else rate * self.basis.half_width
            return c, c.new_full((act.sharing.sites,), middle), c.new_full((act.sharing.sites,), rate)
        if act.term_statistics is None or act.squash != "none":
            return c, None, None
        # about the running mean of the first term, which is the input's own: so float32 stays accurate far from 0
        center, std = act.term_statistics.location(c.dtype)
        return (c[:, None, :] @ act.term_statistics.expand_about(center, std))[:, 0], center, 1 / std

    def _scaled(self, act: SLAF, rscale: Tensor) -> Tensor:
        """1/std to the factor of the input map: onto [-1, 1] before a squash, onto the domain where there is none."""
        return rscale / act.input_scale if act.squash != "none" else rscale / (act.input_scale / self.basis.half_width)

    def _squashed(self, act: SLAF, x: Tensor, center: Tensor | None, rscale: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if act.squash == "none":
            return x, center, rscale
        return squash_to_domain(standardize(x, center, rscale), act.squash, self.basis), None, None

    def antiderivative(self, act: SLAF, x: Tensor) -> Tensor | None:  # noqa: ARG002 - the interface of the other bases
        return None  # quadrature is accurate for a polynomial

    def kinks(self, act: SLAF) -> list[float]:  # noqa: ARG002 - the interface of the other bases
        return []

    # -- what is derived ----------------------------------------------------------------------------------------------------

    def polynomial(self, act: SLAF) -> Polynomials:
        if act.squash != "none":
            raise SlafError(f"slaf with squash={act.squash} is not a polynomial; use squash=none")
        act._require_scalar("polynomial")
        with torch.no_grad():
            c, center, rscale = self._evaluation(act)
            one = torch.ones(act.sharing.sites, dtype=torch.float64, device=c.device)
            center, rscale = (0 * one, one) if center is None or rscale is None else (center.double(), rscale.double())
            return Polynomials(c.double().expand(act.sharing.sites, -1), center, rscale, self.basis.recurrence)

    def bounds(self, act: SLAF, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """The range on each box: the values at its ends and at the stationary points inside, widened by the rounding of the series."""
        with torch.no_grad():
            shape = act.sharing.shape(lower, act.sharing.sites)
            c, center, rscale = self._evaluation(act)
            center, rscale = (t if t is None else t.reshape(shape) for t in (center, rscale))
            # the input map increases, so a box in x is a box in s, where f is a polynomial
            ends = [standardize(*self._squashed(act, t, center, rscale)) for t in (lower, upper)]
            zero = torch.zeros(len(c), dtype=c.dtype, device=c.device)
            polynomial = Polynomials(c, zero, zero + 1, self.basis.recurrence)
            layout = shape if len(c) > 1 else (1,) * lower.dim()
            inside = [
                torch.minimum(torch.maximum(broadcast(p, layout).to(ends[0]), ends[0]), ends[1]) for p in polynomial.stationary_points().T
            ]
            wide = broadcast(c, layout)
            values = torch.stack([series(s, wide, None, None, self.basis.recurrence) for s in (*ends, *inside)])
            reach = torch.maximum(*(e.abs() for e in ends))
            if act.mixing is not None:  # in another family rounding near 0 is as large as at the domain's ends
                reach = reach.clamp(min=self.basis.half_width)
            size = clenshaw(reach, broadcast(polynomial.powers().abs(), layout).to(ends[0]), POWERS)
            slack = 8 * (polynomial.degree + 1) * torch.finfo(lower.dtype).eps * size
            return (values.amin(0) - slack).to(lower.dtype), (values.amax(0) + slack).to(lower.dtype)

    def rounding(self, act: SLAF, lower: Tensor, upper: Tensor) -> Tensor | None:  # noqa: ARG002 - the interface of the other bases
        return None  # in the bounds already

    def expression(self, act: SLAF, site: int) -> Any:
        """The polynomial in powers of x, with float coefficients."""
        import sympy

        x = sympy.Symbol("x", real=True)
        row = self.polynomial(act).monomial()[site].tolist()
        return sum((sympy.Float(c) * x**j for j, c in enumerate(row)), sympy.Integer(0))
