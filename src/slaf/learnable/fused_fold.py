"""From the moments of a batch to the coefficients of one polynomial per channel, and back with gradients.

In torch, for derivatives of any order. Where no terms are normalised also in numpy with the adjoint written out, because the many
operations of an autograd graph would take longer than the passes over memory; normalised terms have native/fold.hpp. The tests compare.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slaf.bases.polynomial import substitution_table
from slaf.kernels.normalized import Measured

from .statistics import InputStatistics, TermStatistics

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


def _powers(base: Tensor, count: int) -> Tensor:
    """1, base, base², … as columns, by products: the derivatives of torch's own power are no numbers at 0."""
    found = [torch.ones_like(base)]
    for _ in range(count - 1):
        found.append(found[-1] * base)
    return torch.stack(found, 1)


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
        expansion = ((_powers(alpha, size)[:, i] * _powers(beta, size)[:, j]) @ table).reshape(-1, size, size)
        return self.terms.fold(t, a, b, expansion)[0], None, None

    def _substitution(self, center: Any, rscale: Any) -> tuple[Any, Any]:
        """The terms are of α u + β, with u as the moments were taken."""
        if self.inputs is None:
            return 1 / self.measured.rscale, self.measured.center
        return rscale / self.measured.rscale, (self.measured.center - center) * rscale

    # -- in numpy ---------------------------------------------------------------------------------------------------------------

    def values(self, t: Array, weight: Array, bias: Array) -> tuple[Array, Array | None, Array | None]:
        """The same without terms; keeps what :meth:`adjoint` needs."""
        self.count, self.t = len(weight), t
        a, b = self.factor * weight, self.factor * bias
        if self.repeat > 1:
            a, b = a.repeat(self.repeat, 0), b.repeat(self.repeat, 0)
        self.home = self.measured.center.numpy(), self.measured.rscale.numpy()
        center, rscale = self.home if self.inputs is None else self._map(self.inputs)
        return np.concatenate([b[:, None], a], 1), center, rscale

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

    def adjoint(self, gc: Array, gcenter: Array | None, grscale: Array | None) -> tuple[Array, Array, Array]:
        """From the gradients of c (sites, degree + 1), center and rscale to those of t, weight and bias."""
        gt = np.zeros_like(self.t)
        if self.inputs is not None and gcenter is not None and grscale is not None:
            self._through_map(gcenter, grscale, gt)
        return gt, self._to_rows(gc[:, 1:]), self._to_rows(gc[:, :1])[:, 0]

    def _to_rows(self, g: Array) -> Array:
        if len(g) != self.count:
            g = g.reshape(self.count, -1, g.shape[1]).sum(1)
        return self.factor * g

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
