"""The two kinds of object: ``Activation`` (a scalar function family) and ``NormActivation`` (normalises and activates)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .errors import SlafError
from .facts import Facts
from .spec import Spec

__all__ = ["Activation", "NormActivation"]


class _Described(nn.Module):
    """What both kinds share: facts, a config that makes an equal object, and a ``repr`` that ``slaf.make`` reads back."""

    name: ClassVar[str]
    _version = 1
    facts: Facts
    normalizes = False
    """Whether the module standardises its input (or terms) itself, so that no variance-matched initialisation is needed."""

    def config(self) -> dict[str, Any]:
        """The keyword arguments that make an equal object, those at their default left out."""
        return {}

    def spec(self) -> Spec:
        """The activation string, parsed: ``slaf.make(str(act.spec()))`` makes an equal object."""
        return Spec(self.name, (), self.config())

    def __repr__(self) -> str:
        return str(self.spec())

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.config().items())

    def reset_parameters(self) -> None:
        """Set every parameter to its initial value."""

    def refuse_inplace(self, inplace: bool) -> None:
        """Raise unless ``inplace`` is false: for functions whose backward needs the input."""
        if inplace:
            raise SlafError(f"inplace=True is not possible for {self.name}: its backward needs the input; use inplace=False")


class Activation(_Described):
    """y = f(x; θ), elementwise in evaluation mode.

    Shapes: any input; the output has the same shape and dtype. Subclasses set ``facts`` and ``forward``; everything below is
    derived from them and may be overridden where an exact rule is known.
    """

    domain: tuple[float, float] | None = None
    """The interval that a learned function was made for; beyond it it extrapolates. ``None``: the whole line."""

    def derivative(self, x: Tensor, order: int = 1) -> Tensor:
        """d^n f/dx^n at ``x``, elementwise, by automatic differentiation; differentiable itself.

        Raises:
            SlafError: ``order`` is not a positive integer, or the module mixes elements (batch statistics in training mode).
        """
        if isinstance(order, bool) or not isinstance(order, int) or order < 1:
            raise SlafError(f"order must be a positive integer; got {order!r}")
        self._require_scalar("derivative")
        with torch.enable_grad():
            given = x
            x = x if x.requires_grad else x.detach().requires_grad_()
            y = self(x)
            for _ in range(order):
                if not y.requires_grad:
                    return torch.zeros_like(x)
                (y,) = torch.autograd.grad(y.sum(), x, create_graph=True, materialize_grads=True)
        return y if given.requires_grad or any(p.requires_grad for p in self.parameters()) else y.detach()

    def antiderivative(self, x: Tensor) -> Tensor:
        """F(x) = ∫₀ˣ f, elementwise, by Gauss–Legendre quadrature on panels that split at the kinks (|x| ≤ 2^20)."""
        self._require_scalar("antiderivative")
        nodes, weights = gauss_legendre(24)
        nodes, weights = nodes.to(x.device, torch.float64), weights.to(x.device, torch.float64)
        edges = {0.0, *(s * 2.0**e for e in range(-2, 21) for s in (-1, 1)), *(float(k) for k in self.facts.kinks or ())}
        wide, total = x.to(torch.float64), torch.zeros_like(x, dtype=torch.float64)
        ordered = sorted(edges)
        for low, high in itertools.pairwise(ordered):
            a, b = (wide.clamp(low, high), wide.new_full((), low)) if low >= 0 else (wide.clamp(low, high), wide.new_full((), high))
            half, middle = (a - b) / 2, (a + b) / 2
            if bool((half == 0).all()):
                continue
            for node, weight in zip(nodes, weights, strict=True):
                total = total + half * weight * self((middle + half * node).to(_at_least_float32(x.dtype))).to(torch.float64)
        return total.to(x.dtype)

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Sound range of f on each interval [lower, upper]: nothing inside leaves (lo, hi), which ends, kinks and critical points reach.

        Raises:
            SlafError: ``lower`` exceeds ``upper`` somewhere, or the critical points are not claimed.
        """
        self._require_scalar("bounds")
        if bool((lower > upper).any()):
            raise SlafError("lower must not exceed upper anywhere")
        facts = self.facts
        if facts.critical_points is None and facts.monotone not in ("nondecreasing", "nonincreasing"):
            raise SlafError(f"{self.name} claims no critical points, so its bounds are not known")
        with torch.no_grad():
            ends = torch.stack([self(lower), self(upper)])
            lo, hi = ends.amin(0), ends.amax(0)
            finfo = torch.finfo(lo.dtype)
            for point in {float(p) for p in (*(facts.kinks or ()), *(facts.critical_points or ()))}:
                inside = (lower <= point) & (point <= upper)
                # both neighbours too, for a jump or a point that the dtype rounds
                step = abs(point) * finfo.eps + finfo.tiny
                near = torch.tensor([point - step, point, point + step], dtype=torch.float64)
                values = self._at_points(near, lower)
                lo = torch.where(inside, torch.minimum(lo, values.amin(0)), lo)
                hi = torch.where(inside, torch.maximum(hi, values.amax(0)), hi)
            # rounding: of the value and, where terms cancel as in gelu's tail, of the input
            rounding = 4 * finfo.eps * torch.maximum(lower.abs(), upper.abs()).clamp(finfo.tiny, 1)
            return lo - 4 * finfo.eps * lo.abs() - rounding, hi + 4 * finfo.eps * hi.abs() + rounding

    def _at_points(self, points: Tensor, like: Tensor) -> Tensor:
        return torch.stack([self(torch.full_like(like, float(p))) for p in points])

    def expression(self, site: int = 0) -> Any:  # noqa: ARG002 - for families with several functions
        """f as a sympy expression in ``x``, the fixed parameters put in, the learnable ones as symbols unless they are one number.

        ``site`` chooses the channel or unit where a family has several functions.
        """
        from .formula import parse_formula

        facts = self.facts
        if facts.formula is None:
            raise SlafError(f"{self.name} claims no formula")
        expression = parse_formula(facts.formula, ("x", *facts.params))
        return expression.subs({s: v for s, v in ((s, self._number(str(s))) for s in expression.free_symbols) if v is not None})

    def _number(self, parameter: str) -> float | None:
        value = getattr(self, parameter, None)
        if isinstance(value, Tensor):
            return float(value.detach().reshape(-1)[0]) if value.numel() == 1 else None
        return value if isinstance(value, (int, float)) else None

    def _require_scalar(self, what: str) -> None:
        """Raise while the module is not a function of one number (batch statistics in training mode)."""

    def second_moment(self) -> float:
        """E f(z)² for z ~ N(0, 1), by quadrature: what a variance-preserving initialisation divides by (averaged over θ)."""
        z, w = standard_normal_nodes(self.facts.kinks or ())
        parameter = next(self.parameters(), None)
        dtype = torch.float64 if parameter is None else parameter.dtype
        device = None if parameter is None else parameter.device
        with torch.no_grad():
            y = self(self._spread(z.to(device, dtype)))
            return float((y.to(torch.float64) ** 2 * w.to(device).reshape(-1, *(1,) * (y.dim() - 1))).sum(0).mean())

    def curves(self, x: Tensor) -> Tensor:
        """f on the grid ``x`` (n,) for every θ: shape (n, number of channels or units), one column where all share θ."""
        self._require_scalar("curves")
        with torch.no_grad():
            return self(self._spread(x)).reshape(len(x), -1)

    def _spread(self, z: Tensor) -> Tensor:
        """Give a vector of inputs the shape this module takes, every channel seeing all of them."""
        return z


class NormActivation(_Described):
    """Normalises and activates: mixes the elements of a token, a sample or a batch, so it is no scalar function.

    Shapes: those of its normalisation; the output has the input's shape and dtype.
    """

    normalizes = True


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def gauss_legendre(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [-1, 1], float64."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(n)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def standard_normal_nodes(kinks: Iterable[float] = ()) -> tuple[Tensor, Tensor]:
    """Composite quadrature for E g(z), z ~ N(0, 1): exact to 1e-12, also for functions with ``kinks``."""
    nodes, weights = gauss_legendre(16)
    inside = {float(k) for k in kinks if abs(k) < 9}
    edges = torch.tensor(sorted({k / 4 for k in range(-36, 37)} | inside), dtype=torch.float64)
    half = edges.diff() / 2
    z = (edges[:-1, None] + half[:, None] * (nodes + 1)).reshape(-1)
    w = (half[:, None] * weights).reshape(-1) * torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return z, w / w.sum()
