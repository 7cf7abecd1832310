"""SLAF over a basis that is not polynomial: the sum of its terms, none of them kept as a tensor of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from slaf.bases import Basis, PiecewiseBasis
from slaf.core import SlafError
from slaf.core.analysis import panel_integral
from slaf.core.sharing import broadcast
from slaf.kernels.dispatch import dense, transformed
from slaf.kernels.pieces import Cells, piecewise
from slaf.kernels.series import standardize, working_dtype

from .fused_bumps import evaluated, grid_of, with_map
from .initialization import squash_to_domain
from .own import own
from .statistics import small_dtype

if TYPE_CHECKING:
    from .slaf import SLAF

__all__ = ["Summed"]


class Summed:
    """How a :class:`slaf.SLAF` over ``basis`` is evaluated, integrated, bounded and written out."""

    tags = ("learnable",)
    summary = "The self-learnable activation: a sum of fixed terms, its coefficients learned with the network."

    def __init__(self, basis: Basis) -> None:
        self.basis = basis

    # -- evaluation ---------------------------------------------------------------------------------------------------------

    def has_kernel(self, act: SLAF) -> bool:
        if isinstance(self.basis, PiecewiseBasis):
            return not (act.training and act.input_statistics is not None)
        return grid_of(act) is not None and act.gate is None

    def forward(self, act: SLAF, x: Tensor) -> Tensor:
        x = dense(x)
        shape = act.sharing.shape(x, act.sharing.sites)
        training = act.training and act.input_statistics is not None and act.has_statistics_for(x)
        fused = evaluated(act, x, shape, training)
        if fused is not None:
            return fused
        weight, bias, factor = (*own(act, "weight", "bias"), act.coefficient_scale) if act.gate is None else (*act.coefficients(), 1.0)

        def theta(weight: Tensor, bias: Tensor) -> Tensor:
            rows = factor * torch.cat([bias[:, None], weight], 1).to(small_dtype(weight.device))
            return rows if act.gate is not None else act.sharing.per_site(rows)

        if training and act.input_statistics is not None:
            center, rscale = act.input_statistics.batch(x, shape)
            return self._sum(act, x, theta(weight, bias), shape, center, rscale / act.input_scale)

        def definition(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            return self._sum(act, x, theta(weight, bias), shape, *self._frozen(act, shape, working_dtype(x.dtype)))

        y = None
        if isinstance(self.basis, PiecewiseBasis) and act.squash == "none" and not transformed():
            y = piecewise(x, weight, bias, factor, self._cells(act, self.basis), shape, definition)
        return definition(x, weight, bias) if y is None else y

    def _cells(self, act: SLAF, basis: PiecewiseBasis) -> Cells:
        """What the kernels are told of the basis, and of the input map in evaluation."""
        center: float | Tensor
        rscale: float | Tensor
        center, rscale = (0.0, 1 / act.input_scale) if act.interval is None else act.fixed_map()
        if act.input_statistics is not None:
            center, rscale = act.input_statistics.frozen()
            rscale = rscale / act.input_scale
        rscale = rscale * (basis.half_width / basis.width(act.num_terms))
        return Cells(basis.local_degree, basis.matrix(act.num_terms), center, rscale)

    def _sum(self, act: SLAF, x: Tensor, theta: Tensor, shape: tuple[int, ...], center: Tensor | None, rscale: Tensor | float) -> Tensor:
        work, layout = working_dtype(x.dtype), shape if len(theta) > 1 else (1,) * x.dim()
        a = theta[:, 1:] if act.mixing is None else theta[:, 1:] @ act.mixing.matrix
        if act.mixing is None and (y := with_map(act, x, theta, shape, center, rscale)) is not None:
            return y
        y = self.basis.combine(self._u(act, x, center, rscale), broadcast(a, layout).to(work), act.num_terms)
        return (y + broadcast(theta[:, 0], layout).to(work)).to(x.dtype)

    def _frozen(self, act: SLAF, shape: tuple[int, ...], work: torch.dtype) -> tuple[Tensor | None, Tensor | float]:
        """Center and scale of the input map in evaluation; without statistics ±input_scale goes to the ends of the domain."""
        if act.interval is not None:
            middle, rate = act.fixed_map()
            return act.weight.new_full(shape, middle, dtype=work), act.weight.new_full(shape, rate, dtype=work)
        if act.input_statistics is None:
            return None, 1 / act.input_scale
        center, rscale = act.input_statistics.frozen()
        return center.reshape(shape).to(work), (rscale / act.input_scale).reshape(shape).to(work)

    def _u(self, act: SLAF, x: Tensor, center: Tensor | None, rscale: Tensor | float) -> Tensor:
        if act.squash == "none":
            return standardize(x, center, None) * (rscale * self.basis.half_width)
        return squash_to_domain(standardize(x, center, None) * rscale, act.squash, self.basis)

    def _elements(self, act: SLAF) -> tuple[Tensor, Tensor]:
        """Coefficients of the basis' elements, (sites or 1, J), and b, (sites or 1,)."""
        a, b = act.coefficients()
        return (a if act.mixing is None else a @ act.mixing.matrix), b

    # -- what is derived ----------------------------------------------------------------------------------------------------

    def antiderivative(self, act: SLAF, x: Tensor) -> Tensor:
        """Exactly, term by term: F(x) = Σ a_k (Φ_k(u(x)) - Φ_k(u(0)))/u' + b·x, in float64; with a squash, by quadrature."""
        if act.squash != "none":
            return panel_integral(act, x, self.kinks(act))
        wide = x.to(small_dtype(x.device))
        shape = act.sharing.shape(x, act.sharing.sites)
        center, rscale = self._frozen(act, shape, wide.dtype)
        u, zero = (self._u(act, t, center, rscale) for t in (wide, wide.new_zeros(shape)))
        a, b = act.coefficients()
        layout = shape if len(a) > 1 else (1,) * x.dim()
        risen = self.basis.antiderivative(u, act.num_terms) - self.basis.antiderivative(zero, act.num_terms)
        total = (risen * a.reshape(*layout, -1)).sum(-1) / (rscale * self.basis.half_width)
        return (total + b.reshape(layout) * wide).to(x.dtype)

    def kinks(self, act: SLAF) -> list[float]:
        """Where a piecewise basis changes its polynomial, or a clamp begins, in any channel."""
        edges = torch.tensor(self._edges(act), dtype=torch.float64)
        shape = (act.sharing.sites,)
        center, rscale = self._frozen(act, shape, torch.float64)
        s = torch.atanh(edges) if act.squash == "tanh" else edges
        out = s[:, None].expand(-1, *shape) / (rscale if isinstance(rscale, float) else rscale.cpu())
        out = out if center is None else out + center.cpu()
        return sorted(set(out[torch.isfinite(out)].tolist()))

    def _edges(self, act: SLAF) -> list[float]:
        """The kinks of the input in [-1, 1] that the basis sees, a clamp's own among them."""
        inside = []
        if isinstance(self.basis, PiecewiseBasis):
            inside = [e / self.basis.half_width for e in self.basis.breakpoints(act.num_terms)]
        return sorted({*inside, *((-1.0, 1.0) if act.squash == "clamp" else ())})

    def polynomial(self, act: SLAF) -> Any:  # noqa: ARG002 - the interface of the polynomial bases
        raise SlafError(f"slaf over the basis {self.basis} is not a polynomial; use one over a polynomial basis, such as chebyshev")

    def bounds(self, act: SLAF, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor] | None:
        """Exact up to rounding for piecewise polynomials: their ends, edges and stationary points; ``None`` for others."""
        if not isinstance(self.basis, PiecewiseBasis):
            return None
        with torch.no_grad():
            shape, work = act.sharing.shape(lower, act.sharing.sites), working_dtype(lower.dtype)
            frozen = self._frozen(act, shape, work)
            # the input map increases, so a box in x is a box in u
            low, high = (self._u(act, t, *frozen) for t in (lower, upper))
            a, b = self._elements(act)
            layout = shape if len(a) > 1 else (1,) * lower.dim()
            wide = broadcast(a, layout).to(work)
            inside = broadcast(_turns(self.basis, a, act.num_terms), layout).to(low)
            points = [low, high, *(torch.minimum(torch.maximum(p, low), high) for p in inside.unbind(0))]
            values = torch.stack([self.basis.combine(u, wide, act.num_terms) for u in points]) + broadcast(b, layout).to(work)
            slack = self._rounding(act, low, high, a, b, layout, torch.finfo(lower.dtype).eps)
            return (values.amin(0) - slack).to(lower.dtype), (values.amax(0) + slack).to(lower.dtype)

    def _rounding(self, act: SLAF, low: Tensor, high: Tensor, a: Tensor, b: Tensor, layout: tuple[int, ...], eps: float) -> Tensor:
        """Of the value and, by way of the steepest slope, of u."""
        assert isinstance(self.basis, PiecewiseBasis)
        rows = a.reshape(len(a), -1, self.basis.local_degree + 1).abs()
        height = rows.sum(2).amax(1) + b.abs()
        slope = (rows * torch.arange(rows.shape[2], dtype=rows.dtype, device=rows.device)).sum(2).amax(1) / self.basis.width(act.num_terms)
        reach = torch.maximum(low.abs(), high.abs()).clamp(min=1)
        return 16 * eps * (broadcast(height, layout) + broadcast(slope, layout) * reach)

    def rounding(self, act: SLAF, lower: Tensor, upper: Tensor) -> Tensor | None:
        """Of the sum, whose terms may cancel, and of u; ``None`` where the size of the terms is not known."""
        sizes = self.basis.element_sizes(act.num_terms)
        if sizes is None:
            return None
        with torch.no_grad():
            shape, work = act.sharing.shape(lower, act.sharing.sites), working_dtype(lower.dtype)
            frozen = self._frozen(act, shape, work)
            reach = torch.maximum(*(self._u(act, t, *frozen).abs() for t in (lower, upper))).clamp(min=1)
            a, b = self._elements(act)
            height, slope = (a.abs() @ torch.tensor(sizes, dtype=a.dtype, device=a.device)).unbind(1)
            layout = shape if len(a) > 1 else (1,) * lower.dim()
            return 8 * torch.finfo(lower.dtype).eps * ((height + b.abs()).reshape(layout) + slope.reshape(layout) * reach)

    def expression(self, act: SLAF, site: int) -> Any:
        """Σ a_k φ_k(u) + b with the input map written out, with float coefficients."""
        import sympy

        x = sympy.Symbol("x", real=True)
        center, rscale = self._frozen(act, (act.sharing.sites,), torch.float64)
        s = x if center is None else x - sympy.Float(float(center[site]))
        s = s * sympy.Float(rscale if isinstance(rscale, float) else float(rscale[site]))
        s = {"none": lambda: s, "tanh": lambda: sympy.tanh(s), "clamp": lambda: sympy.Min(sympy.Max(s, -1), 1)}[act.squash]()
        u = s if self.basis.half_width == 1 else s * sympy.Float(self.basis.half_width)
        a, b = (t.detach().double() for t in act.coefficients())
        row = site if len(a) > 1 else 0
        return self.basis.expression(u, a[row].tolist()) + sympy.Float(float(b[row]))


def _turns(basis: PiecewiseBasis, local: Tensor, count: int) -> Tensor:
    """Candidates for the extremes as u: the edges, and the stationary points of every cell's polynomial, (sites, m).

    The real parts of all roots, so that none is missed.
    """
    edges, width, degree = basis.breakpoints(count), basis.width(count), basis.local_degree
    cells = local.reshape(len(local), -1, degree + 1)[:, 1:-1].double().cpu().numpy()
    out = np.tile(np.asarray(edges), (len(cells), 1))
    if degree < 2:
        return torch.from_numpy(out)
    roots = np.zeros((*cells.shape[:2], degree - 1))
    for index in np.ndindex(*cells.shape[:2]):
        found = np.roots((cells[index][1:] * np.arange(1, degree + 1))[::-1]).real
        roots[(*index, slice(len(found)))] = found
    places = np.asarray(edges[:-1])[:, None] + width * roots.clip(0, 1)
    return torch.from_numpy(np.hstack([out, places.reshape(len(cells), -1)]))
