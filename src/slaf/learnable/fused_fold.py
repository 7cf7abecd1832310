"""From the moments of a batch to the coefficients of one polynomial per channel, and back with gradients.

Twice: in torch, for derivatives of any order, and in numpy with the adjoint written out, because the matrices are small and the many
operations of an autograd graph would take longer than the passes over memory. The tests compare the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slaf.bases.polynomial import substitution_table
from slaf.kernels.normalized import Measured

from .statistics import RELATIVE_FLOOR, InputStatistics, TermStatistics

__all__ = ["BatchFold", "mean_and_var", "second_moment"]

Array = NDArray[np.float64]


def second_moment(measured: Measured, t: Any) -> Any:
    """The mean of u² from those of φ_1, φ_2, …: φ_1 is u and φ_2 is a u² - b in the families of the kernels."""
    a, b = measured.recurrence.factors(1)
    return (t[:, 1] + b) / a


def mean_and_var(measured: Measured, t: Tensor) -> tuple[Tensor, Tensor]:
    """Of x itself."""
    first = t[:, 0]
    var = (second_moment(measured, t) - first * first).clamp(min=0)
    return measured.center + first / measured.rscale, var / measured.rscale**2


class BatchFold:
    """(t, weight, bias) → (c, center, rscale), see :func:`slaf.kernels.normalized.normalized`.

    Args:
        inputs, running: standardise the input first, with its running mean and variance where training uses them.
        terms: standardise every term; without them the weights are the coefficients at the standardised input.
        unit: u over the standardised input.
        factor, repeat: every row of weight and bias is multiplied and used for so many sites.
    """

    def __init__(
        self,
        measured: Measured,
        inputs: InputStatistics | None,
        running: tuple[Tensor, Tensor] | None,
        terms: TermStatistics | None,
        unit: float,
        factor: float = 1.0,
        repeat: int = 1,
    ) -> None:
        self.measured, self.inputs, self.running, self.terms = measured, inputs, running, terms
        self.unit, self.factor, self.repeat = unit, factor, repeat
        self.size = len(measured.t)
        if terms is not None:
            self.table = substitution_table(terms.basis.recurrence, terms.degree)

    # -- in torch ---------------------------------------------------------------------------------------------------------------

    def __call__(self, t: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        a, b = (self.factor * p.to(t.dtype) for p in (weight, bias))
        if self.repeat > 1:
            a, b = (p.repeat_interleave(self.repeat, 0) for p in (a, b))
        measured = self.measured
        center, rscale = measured.center, measured.rscale
        if self.inputs is not None:
            center, rstd = self.inputs.standardizing(*mean_and_var(measured, t), self.running)
            rscale = rstd * self.unit
        if self.terms is None:
            return torch.cat([b[:, None], a], 1), center, rscale
        i, j, table = self.table
        alpha, beta = self._substitution(center, rscale)
        size = self.terms.degree + 1
        expansion = ((alpha[:, None] ** i * beta[:, None] ** j) @ table).reshape(-1, size, size)
        return self.terms.fold(t, a, b, expansion)[0], None, None

    def _substitution(self, center: Any, rscale: Any) -> tuple[Any, Any]:
        """The terms are of α u + β, with u as the moments were taken."""
        if self.inputs is None:
            return 1 / self.measured.rscale, self.measured.center
        return rscale / self.measured.rscale, (self.measured.center - center) * rscale

    # -- in numpy ---------------------------------------------------------------------------------------------------------------

    def values(self, t: Array, weight: Array, bias: Array) -> tuple[Array, Array | None, Array | None]:
        """The same; keeps what :meth:`adjoint` needs."""
        self.count, self.t = len(weight), t
        a, b = self.factor * weight, self.factor * bias
        if self.repeat > 1:
            a, b = a.repeat(self.repeat, 0), b.repeat(self.repeat, 0)
        self.home = self.measured.center.numpy(), self.measured.rscale.numpy()
        center, rscale = self.home if self.inputs is None else self._map(self.inputs)
        if self.terms is None:
            return np.concatenate([b[:, None], a], 1), center, rscale
        return self._folded(self.terms, a, b, center, rscale), None, None

    def _map(self, inputs: InputStatistics) -> tuple[Array, Array]:
        t, (middle, scale) = self.t, self.home
        self.raw_var = second_moment(self.measured, t) - t[:, 0] ** 2
        mean, var = middle + t[:, 0] / scale, np.maximum(self.raw_var, 0) / scale**2
        self.std = np.sqrt(var + inputs.eps)
        if self.running is None:
            self.shift, self.ratio = None, None
            self.center, self.rscale = mean, self.unit / self.std
        else:
            running_mean, running_var = (r.double().numpy() for r in self.running)
            running_std = np.sqrt(running_var + inputs.eps)
            self.ratio, self.shift = self.std / running_std, (mean - running_mean) / running_std
            self.center, self.rscale = running_mean, self.unit / running_std
        return self.center, self.rscale

    def _folded(self, terms: TermStatistics, a: Array, b: Array, center: Array, rscale: Array) -> Array:
        i, j, table = (m.numpy() for m in self.table)
        degree, t = terms.degree, self.t
        if self.inputs is None:
            self.alpha, self.beta = 1 / self.home[1], self.home[0]
        else:
            self.alpha, self.beta = rscale / self.home[1], (self.home[0] - center) * rscale
        powers = np.arange(degree + 1)
        self.powers = self.alpha[:, None] ** powers, self.beta[:, None] ** powers
        self.at = i.astype(np.intp), j.astype(np.intp)
        monomials = self.powers[0][:, self.at[0]] * self.powers[1][:, self.at[1]]
        expansion = (monomials @ table).reshape(-1, degree + 1, degree + 1)
        self.m, self.L = t[:, :degree], expansion[:, 1:, 1:]
        products = terms.products.numpy().reshape(degree * degree, -1)
        second = (products[:, 0] + t @ products[:, 1:].T).reshape(-1, degree, degree)
        self.C = second - self.m[:, :, None] * self.m[:, None, :]
        self.V = self.L @ self.C
        self.mean = expansion[:, 1:, 0] + (self.L @ self.m[:, :, None])[:, :, 0]
        raw = (self.V * self.L).sum(2)
        self.positive, self.var = raw >= 0, np.maximum(raw, 0)
        if terms.eps is None:
            self.rstd = (self.var + RELATIVE_FLOOR * (self.var + self.mean**2) + 1e-30) ** -0.5
        else:
            self.rstd = (self.var + terms.eps) ** -0.5
        self.a = a
        self.scaled = a * self.rstd
        self.linear = (self.scaled[:, None, :] @ self.L)[:, 0]
        return np.concatenate([(b - (self.linear * self.m).sum(1))[:, None], self.linear], 1)

    def adjoint(self, gc: Array, gcenter: Array | None, grscale: Array | None) -> tuple[Array, Array, Array]:
        """From the gradients of c (sites, degree + 1), center and rscale to those of t, weight and bias."""
        gt = np.zeros_like(self.t)
        if self.terms is None:
            ga = gc[:, 1:]
        else:
            ga, gcenter, grscale = self._through_terms(self.terms, gc, gt)
        if self.inputs is not None and gcenter is not None and grscale is not None:
            self._through_map(gcenter, grscale, gt)
        return gt, self._to_rows(ga), self._to_rows(gc[:, :1])[:, 0]

    def _to_rows(self, g: Array) -> Array:
        if len(g) != self.count:
            g = g.reshape(self.count, -1, g.shape[1]).sum(1)
        return self.factor * g

    def _through_terms(self, terms: TermStatistics, gc: Array, gt: Array) -> tuple[Array, Array | None, Array | None]:
        degree, m, L = terms.degree, self.m, self.L
        constant = gc[:, :1]
        glinear = gc[:, 1:] - constant * m
        gscaled = (L @ glinear[:, :, None])[:, :, 0]
        slope = -0.5 * self.rstd**3 * gscaled * self.a
        floor = RELATIVE_FLOOR if terms.eps is None else 0.0
        gvar = np.where(self.positive, slope * (1 + floor), 0)
        gmean = slope * (2 * floor) * self.mean
        weighted = gvar[:, :, None] * L
        gC = L.transpose(0, 2, 1) @ weighted
        products = terms.products.numpy().reshape(degree * degree, -1)
        gt += gC.reshape(len(gt), -1) @ products[:, 1:]
        gt[:, :degree] += (gmean[:, None, :] @ L)[:, 0] - constant * self.linear - 2 * (gC @ m[:, :, None])[:, :, 0]
        if self.inputs is None:
            return gscaled * self.rstd, None, None
        gL = self.scaled[:, :, None] * glinear[:, None, :] + gmean[:, :, None] * m[:, None, :] + 2 * gvar[:, :, None] * self.V
        gexpansion = np.zeros((len(gt), degree + 1, degree + 1))
        gexpansion[:, 1:, 1:], gexpansion[:, 1:, 0] = gL, gmean
        gmonomials = gexpansion.reshape(len(gt), -1) @ self.table[2].numpy().T
        (i, j), (alphas, betas) = self.at, self.powers
        galpha = (gmonomials * i * alphas[:, np.maximum(i - 1, 0)] * betas[:, j]).sum(1)
        gbeta = (gmonomials * j * alphas[:, i] * betas[:, np.maximum(j - 1, 0)]).sum(1)
        middle, scale = self.home
        return gscaled * self.rstd, -gbeta * self.rscale, galpha / scale + gbeta * (middle - self.center)

    def _through_map(self, gcenter: Array, grscale: Array, gt: Array) -> None:
        scale = self.home[1]
        by_std = grscale * self.unit
        if self.ratio is None or self.shift is None:
            gstd = -by_std / self.std**2
        else:
            gstd = -gcenter * self.shift / self.ratio - by_std * self.ratio / self.std**2
        gvar = np.where(self.raw_var >= 0, gstd / (2 * self.std), 0) / scale**2
        a, _ = self.measured.recurrence.factors(1)
        gt[:, 0] += gcenter / scale - 2 * self.t[:, 0] * gvar
        gt[:, 1] += gvar / a

    def term_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of every term."""
        return torch.from_numpy(self.mean), torch.from_numpy(self.var)
