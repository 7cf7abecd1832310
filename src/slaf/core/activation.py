"""The two kinds of object: ``Activation`` (a scalar function family) and ``NormActivation`` (normalises and activates)."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .analysis import enclosed_range, hermite_coefficients, panel_integral, steepest, substituted, turning_points
from .errors import SlafError
from .facts import Facts
from .quadrature import gauss_legendre as gauss_legendre
from .quadrature import standard_normal_nodes
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

    def plot(self, **options: Any) -> Any:
        """f, and with ``derivatives=2`` f′ and f″, as a matplotlib figure; ``options`` are those of :func:`slaf.plot.curve`.

        Raises:
            SlafError: matplotlib is not installed, or the module mixes elements and so has no curve.
        """
        return import_module("slaf.plot").curve(self, **options)  # a room above this one

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
        """F(x) = ∫₀ˣ f, elementwise: the claimed formula where there is one (exact for every x), else by quadrature.

        The quadrature is Gauss–Legendre on panels that split at the kinks, for |x| ≤ 2^20.
        """
        self._require_scalar("antiderivative")
        if self.facts.antiderivative is not None:
            from .formula_torch import compile_formula

            wide, names = x.to(torch.float64), ("x", *self.facts.params)
            return compile_formula(self.facts.antiderivative, names)(wide, **self.parameters_at(wide)).to(x.dtype)
        return panel_integral(self, x, self.facts.kinks or ())

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """Sound range of f on each interval [lower, upper]: nothing inside leaves (lo, hi).

        Exact up to rounding where the critical points are claimed or f is monotone; else by branch and bound over the formula's interval
        arithmetic, to a relative 1e-9.

        Raises:
            SlafError: ``lower`` exceeds ``upper`` somewhere, or neither critical points nor a formula are claimed.
        """
        self._require_scalar("bounds")
        if bool((lower > upper).any()):
            raise SlafError("lower must not exceed upper anywhere")
        facts = self.facts
        with torch.no_grad():
            if (facts.critical_points is None and facts.monotone not in ("nondecreasing", "nonincreasing")) or self._several():
                lo, hi = enclosed_range(self, lower, upper)
            else:
                lo, hi = self._range_by_points(lower, upper, {*(facts.kinks or ()), *(facts.critical_points or ())})
            finfo = torch.finfo(lo.dtype)
            # rounding: of the value and, where terms cancel as in gelu's tail, of the input: oneDNN's gelu, which torch takes where there
            # is AVX-512, is x·Φ with Φ right to 2.5 eps, nowhere in relation to itself
            rounding = 4 * finfo.eps * torch.maximum(lower.abs(), upper.abs()).clamp(finfo.tiny, 4)
            return lo - 4 * finfo.eps * lo.abs() - rounding, hi + 4 * finfo.eps * hi.abs() + rounding

    def _range_by_points(self, lower: Tensor, upper: Tensor, points: Iterable[float]) -> tuple[Tensor, Tensor]:
        """The range on boxes of a function whose extremes are at the ends or at ``points``."""
        ends = torch.stack([self(lower), self(upper)])
        lo, hi = ends.amin(0), ends.amax(0)
        finfo = torch.finfo(lo.dtype)
        for point in {float(p) for p in points}:
            inside = (lower <= point) & (point <= upper)
            # both neighbours too, for a jump or a point that the dtype rounds
            step = abs(point) * finfo.eps + finfo.tiny
            near = torch.tensor([point - step, point, point + step], dtype=torch.float64)
            values = self._at_points(near, lower)
            lo = torch.where(inside, torch.minimum(lo, values.amin(0)), lo)
            hi = torch.where(inside, torch.maximum(hi, values.amax(0)), hi)
        return lo, hi

    def lipschitz(self, lower: Tensor, upper: Tensor) -> Tensor:
        """An upper bound of |f(a) - f(b)|/|a - b| on each interval [lower, upper], sound, and tight to a relative 1e-6; ``inf`` at a jump.

        Raises:
            SlafError: neither a formula nor a Lipschitz constant is claimed.
        """
        self._require_scalar("lipschitz")
        return steepest(self, lower, upper)

    def critical_points(self, lower: float = -10.0, upper: float = 10.0, site: int | None = None) -> list[float]:
        """The isolated points of [lower, upper] where f' = 0 or changes sign, kinks included, sorted.

        As claimed; where nothing is claimed, by interval arithmetic over the formula, so that none is missed. ``site`` chooses the
        channel or unit; it may be left out where all have the same function.

        Raises:
            SlafError: nothing is claimed and there is no formula, there are more than a thousand, channels differ and no ``site`` is
                given, or there is no such site.
        """
        self._require_scalar("critical_points")
        return turning_points(self, float(lower), float(upper), site)

    def gain(self) -> float:
        """1/√(E f(z)²), z ~ N(0, 1): weights of variance gain²/fan_in keep the variance of the pre-activations."""
        return self.second_moment() ** -0.5

    def hermite_coefficients(self, count: int = 16) -> Tensor:
        """a_n = E f(z) h_n(z), n = 0 … count - 1, z ~ N(0, 1), h_n = He_n/√(n!): shape (count,), or (count, sites) where channels differ.

        Σ a_n² = E f(z)²; Σ a_n² ρⁿ is the dual activation E f(u) f(v) at correlation ρ.
        """
        self._require_scalar("hermite_coefficients")
        return hermite_coefficients(self, count)

    def latex(self) -> str:
        """f as LaTeX, learnable parameters as their symbols."""
        import sympy

        return str(sympy.latex(self.expression()))

    def parameters_at(self, x: Tensor) -> dict[str, Any]:  # noqa: ARG002 - for families with several θ
        """The formula's parameters by name: numbers, or tensors that broadcast against ``x``."""
        return {name: value for name in self.facts.params if (value := self._number(name)) is not None}

    def facts_of_each(self) -> list[Facts]:
        """The claims at every θ there is, one where all share one."""
        return [self.facts]

    def _several(self) -> bool:
        """Whether there are several θ, so that one set of critical points does not serve."""
        return any(p.numel() > 1 for p in self.parameters())

    def _at_points(self, points: Tensor, like: Tensor) -> Tensor:
        return torch.stack([self(torch.full_like(like, float(p))) for p in points])

    def expression(self, site: int = 0) -> Any:  # noqa: ARG002 - for families with several functions
        """f as a sympy expression in ``x``, the fixed parameters put in, the learnable ones as symbols unless they are one number.

        ``site`` chooses the channel or unit where a family has several functions; then all parameters are put in.

        Raises:
            SlafError: no formula is claimed, or there is no such site.
        """
        numbers = {n: v for n, v in ((n, self._number(n)) for n in self.facts.params) if v is not None}
        return substituted(self._formula_expression(), numbers)

    def _formula_expression(self) -> Any:
        """The claimed formula, all parameters as symbols."""
        from .formula import parse_formula

        facts = self.facts
        if facts.formula is None:
            raise SlafError(f"{self.name} claims no formula")
        return parse_formula(facts.formula, ("x", *facts.params))

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
    mixes: ClassVar[str] = "batch"
    """How far an element reaches in training: its ``"token"`` (the last dimension), its ``"sample"`` or the ``"batch"``."""
    scale_invariant: ClassVar[bool | None] = None
    """Whether f(c·x) = f(x) for c > 0 in training, up to the eps of the normalisation; ``None``: not claimed."""

    def take_over(self, norm: Any) -> None:
        """Start from the running statistics of the torch batch norm that this takes the place of; nothing where it keeps none."""
