"""Rational: a learned quotient of two polynomials that has no real pole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from slaf.core import INF, Facts, Paper, SlafError, Spec, one_of
from slaf.core.sharing import broadcast
from slaf.fit.rational import RationalFit, fit_rational
from slaf.fit.rational_forms import check_orders, denominator_form
from slaf.kernels.compiled import ByKernel, compiled
from slaf.kernels.dispatch import dense
from slaf.kernels.rational import rational

from .family import Family, register
from .own import own
from .rational_evaluate import denominator as denominator_at
from .rational_evaluate import quotient, reach
from .rational_points import pole_distance, slope_points, stationary_points
from .rational_presets import INTERVAL, PRESETS

__all__ = ["Rational"]

_PAPER = Paper("Kolmogorov-Arnold Transformer", "Yang, Wang", 2024, "arXiv:2409.10594", status="read")
_SUMMARY = "A learned quotient of two polynomials, without poles for any coefficients."


class Rational(ByKernel, Family):
    """f(x) = P(x)/Q(x), P(x) = Σ_k a_k x^k of degree m, Q >= 1 of degree n for every x and b.

    Four denominators, of which the first is the default:

    - ``"even"``: 1 + Σ_k |b_k| x^(2k), 2k <= n. C^∞ in x, it grows with |x|, so no near-poles can arise by cancellation, and half the
      coefficients of the next one do what that does for smooth functions (GELU on [-4, 4]: both 0.00204 in the maximum norm).
    - ``"per_term"``: 1 + Σ_k |b_k| |x|^k, as in KAT's kernels. Odd k put a kink into f or f'' at 0, so it fits kinked functions better.
    - ``"joint"``: 1 + |Σ_k b_k x^k|: can be asymmetric; kinks where the sum changes sign.
    - ``"square"``: 1 + (Σ_k b_k x^k)², 2k <= n: C^∞ and asymmetric, but its gradient in b vanishes at b = 0.

    The others' gradient at b = 0 is that of b > 0, so that a denominator that starts as 1 learns.

    Args:
        numerator_degree: m, 1 to 10.
        denominator_degree: n, 0 to 10; even for ``"even"`` and ``"square"``.
        denominator: the form of Q; ``"even"`` unless a preset says ``"per_term"``.
        init: an activation string or a function, fitted in least squares over ``interval``; ``"identity"`` is exact, with b = 0.
        preset: KAT's coefficients by name, ``"kat_swish"``, …, see :data:`slaf.learnable.rational_presets.PRESETS`: degrees (5, 4), the
            per-term form, in place of ``init``. ``"kat_gelu"`` is refitted: the numbers shipped under that name are no GELU in this form.
        interval: where ``init`` is fitted; beyond it f goes on like x^(m - n) if b_n is not 0. On [-4, 4] GELU's best b_n is 0, and it
            grows like x³ outside; therefore the default is wider than what standardised inputs need.
        numerator_share: ``"layer"``: one P for the whole layer beside a Q per channel, group or unit. KAT's layer is
            ``rational(preset=kat_swish, share=group, groups=8, numerator_share=layer)``.
        share, num_channels, groups, num_features, channel_dim: see :class:`slaf.core.Sharing`.
        inplace: refused: backward needs the input.

    Shapes: any input, or one with ``num_channels`` entries at ``channel_dim``; output of the same shape and dtype. Half types compute
    inside in float32. Large inputs overflow only where f does.

    Raises:
        SlafError: an argument that is not allowed, or an input that does not fit.

    Source: Yang, Wang (2024), arXiv:2409.10594; the denominator "joint" is that of Molina, Schramowski, Kersting (2019),
    arXiv:1907.06732 [from memory].

    Example:
        >>> act = slaf.make("rational(5, 4, init=silu)", num_channels=64)
    """

    name = "rational"
    defaults: ClassVar[Mapping[str, Any]] = {
        "numerator_degree": 5,
        "denominator_degree": 4,
        "denominator": None,
        "init": "gelu",
        "preset": None,
        "interval": (-6.0, 6.0),
        "numerator_share": None,
    }

    def __init__(
        self,
        numerator_degree: int = 5,
        denominator_degree: int = 4,
        denominator: str | None = None,
        init: str | Spec | Callable[[Tensor], Tensor] = "gelu",
        preset: str | None = None,
        interval: tuple[float, float] = (-6.0, 6.0),
        numerator_share: str | None = None,
        share: str | None = None,
        *,
        num_channels: int | None = None,
        groups: int | None = None,
        num_features: int | tuple[int, ...] | None = None,
        channel_dim: int = 1,
        inplace: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(dict(locals()), share, num_channels, groups, num_features, channel_dim, inplace)
        if preset is not None:
            self._check_preset(preset)
            interval = INTERVAL
        form = denominator_form(denominator or ("even" if preset is None else "per_term"))
        self.form = form.name
        self.degrees = check_orders(numerator_degree, denominator_degree, form)
        if self.degrees[0] < 1:
            raise SlafError(f"numerator_degree must be an integer from 1 to 10; got {numerator_degree!r}")
        if numerator_share is not None:
            one_of("numerator_share", numerator_share, ("layer",))
        self.init = str(init) if isinstance(init, Spec) else init
        self.preset = preset
        start = self._start(interval)
        self.domain = start.interval
        made = {"device": device, "dtype": dtype}
        rows = 1 if numerator_share else self.sharing.count
        self.numerator = nn.Parameter(torch.empty(rows, self.degrees[0] + 1, **made))
        count = len(form.exponents(self.degrees[1]))
        self.denominator = nn.Parameter(torch.empty(self.sharing.count, count, **made)) if count else None
        self.reset_parameters()

    def _check_preset(self, preset: str) -> None:
        one_of("preset", preset, PRESETS)
        fixed = {"numerator_degree", "denominator_degree", "init", "interval"} & self._given.keys()
        if self._given.get("denominator", "per_term") != "per_term":
            fixed.add("denominator")
        if fixed:
            raise SlafError(f"preset={preset} sets degrees, denominator=per_term, init and interval; leave out {min(fixed)}")

    # -- construction -------------------------------------------------------------------------------------------------------

    def _start(self, interval: tuple[float, float]) -> RationalFit:
        if self.preset is not None:
            return RationalFit(*PRESETS[self.preset], "per_term", INTERVAL, 0.0, 0.0)
        options = (*self.degrees, tuple(interval) if isinstance(interval, list) else interval, self.form)
        if isinstance(self.init, str) and self.init == "identity":
            fit_rational("identity", 1, 0, options[2])  # the interval is checked
            count = len(denominator_form(self.form).exponents(self.degrees[1]))
            low, high = interval
            line = (0.0, 1.0, *(0.0,) * (self.degrees[0] - 1))
            return RationalFit(line, (0.0,) * count, self.form, (float(low), float(high)), 0.0, 0.0)
        return _cached(self.init, *options) if isinstance(self.init, str) else fit_rational(self.init, *options)

    def reset_parameters(self) -> None:
        """Set the coefficients as ``init`` or ``preset`` says."""
        start = self._start(self.domain)  # type: ignore[arg-type]
        with torch.no_grad():
            for parameter, values in ((self.numerator, start.numerator), (self.denominator, start.denominator)):
                if parameter is not None:
                    parameter.copy_(torch.tensor(values, dtype=torch.float64).expand_as(parameter))

    @property
    def coefficients(self) -> Tensor:
        """a_1 … a_m, (θ, m): what a penalty on coefficients acts upon."""
        return self.numerator[:, 1:]

    # -- evaluation ---------------------------------------------------------------------------------------------------------

    def _theta(self, x: Tensor, numerator: Tensor, denominator: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """a and b in the dtype to compute in, each of their rows broadcasting against ``x``."""
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        numerator = numerator.to(dtype)
        a = broadcast(numerator, (1,) * x.dim()) if numerator.shape[0] == 1 else self.per_element(numerator, x)
        return a, None if denominator is None else self.per_element(denominator.to(dtype), x)

    @compiled
    def forward(self, x: Tensor) -> Tensor:
        x, (numerator, denominator) = dense(x), own(self, "numerator", "denominator")
        shape = self.sharing.shape(x, self.sharing.sites)  # raises where x does not fit
        y = rational(x, numerator, denominator, self.form, self.degrees[1], shape, self._defined)
        return self._defined(x, numerator, denominator) if y is None else y

    def _defined(self, x: Tensor, numerator: Tensor, denominator: Tensor | None) -> Tensor:
        a, b = self._theta(x, numerator, denominator)
        return quotient(x.to(a.dtype), a, b, self.form, self.degrees[1], reach(x.dtype, max(self.degrees))).to(x.dtype)

    def denominator_at(self, x: Tensor) -> Tensor:
        """Q at every element of ``x``, at least 1; float64 for float64 and float32 for the rest."""
        a, b = self._theta(x, self.numerator, self.denominator)
        return denominator_at(x.to(a.dtype), b, self.form, self.degrees[1])

    # -- what is derived ----------------------------------------------------------------------------------------------------

    def _rows(self) -> list[tuple[Any, Any]]:
        """(a, b) of every θ, as float64 arrays."""
        a = self.numerator.detach().double().cpu().numpy()
        b = np.zeros((self.sharing.count, 0)) if self.denominator is None else self.denominator.detach().double().cpu().numpy()
        return list(zip(a if len(a) == len(b) else np.repeat(a, len(b), 0), b, strict=True))

    def _inside(self, points: Callable[..., Any], lower: Tensor, upper: Tensor) -> Tensor:
        """The candidates of every θ moved into each box, and its ends: (number of points, *shape)."""
        found = [points(a, b, self.form, self.degrees[1]) for a, b in self._rows()]
        table = torch.zeros(len(found), max(len(f) for f in found), dtype=torch.float64)
        for i, row in enumerate(found):
            table[i, : len(row)] = torch.from_numpy(row)
        moved = torch.minimum(torch.maximum(self.per_element(table.to(lower), lower), lower), upper)
        return torch.cat([torch.stack([lower, upper]), moved])

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """The range on each box: the values at its ends and at the real roots of P'Q - PQ' inside, widened by the rounding.

        Raises:
            SlafError: ``lower`` exceeds ``upper`` somewhere, a box is infinite, or a coefficient is not finite.
        """
        lower, upper, dtype = self._box(lower, upper)
        with torch.no_grad():
            x = self._inside(stationary_points, lower, upper)
            a, b = self._theta(lower, self.numerator, self.denominator)
            limit = reach(torch.float32 if lower.dtype == torch.float32 else torch.float64, max(self.degrees))
            values = quotient(x, a[:, None], None if b is None else b[:, None], self.form, self.degrees[1], limit)
            terms = quotient(x.abs(), a.abs()[:, None], None, self.form, 0, None) / self.denominator_at_all(x, b)
            low, high = values.amin(0), values.amax(0)
            eps = torch.finfo(lower.dtype).eps
            slack = (4 * sum(self.degrees) + 16) * eps * terms.amax(0)
            if b is not None and self.form in ("joint", "square"):  # the sum inside Q cancels
                far = torch.maximum(lower.abs(), upper.abs())
                inner = denominator_at(far, b.abs(), self.form, self.degrees[1])
                slack = slack * inner
            slack = slack + (2 * torch.finfo(dtype).eps * torch.maximum(low.abs(), high.abs()) if dtype != lower.dtype else 0)
            tiny = torch.finfo(dtype).tiny
            return (low - slack - tiny).to(dtype), (high + slack + tiny).to(dtype)

    def denominator_at_all(self, x: Tensor, b: Tensor | None) -> Tensor:
        """Q at several points for every element."""
        return denominator_at(x, None if b is None else b[:, None], self.form, self.degrees[1])

    def _box(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, torch.dtype]:
        if bool((lower > upper).any()):
            raise SlafError("lower must not exceed upper anywhere")
        if not bool((torch.isfinite(lower) & torch.isfinite(upper)).all()):
            raise SlafError("lower and upper must be finite for rational, whose range on an infinite box is seldom finite")
        dtype = lower.dtype
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return lower.to(wide), upper.to(wide), dtype

    def lipschitz(self, lower: Tensor, upper: Tensor) -> Tensor:
        """The largest |f'| on each box, to a relative 1e-6 and not less: at its ends or where f'' = 0.

        Raises:
            SlafError: as :meth:`bounds`.
        """
        dtype = lower.dtype
        lower, upper, _ = self._box(lower.double(), upper.double())
        x = self._inside(slope_points, lower, upper)
        x = torch.cat([x, *(torch.minimum(torch.maximum(x + s, lower), upper) for s in (-1e-9, 1e-9))])  # either side of a kink
        out = torch.stack([self.derivative(row).detach().abs() for row in x]).amax(0)
        return (out * (1 + 1e-6 + 2 * torch.finfo(dtype).eps) + torch.finfo(dtype).tiny).to(dtype)

    def max_slope(self, interval: tuple[float, float] | None = None) -> float:
        """The largest |f'| of any θ on ``interval``, by default :attr:`domain`."""
        low, high = interval or self.domain or (-6.0, 6.0)
        ends = [self._spread(torch.full((1,), float(v), dtype=torch.float64, device=self.numerator.device)) for v in (low, high)]
        return float(self.lipschitz(*ends).max())

    def pole_distance(self, interval: tuple[float, float] | None = None) -> float:
        """How near a complex pole of any θ comes to ``interval``, by default :attr:`domain`: a slope grows with its inverse."""
        low, high = interval or self.domain or (-6.0, 6.0)
        return min(pole_distance(b, self.form, self.degrees[1], float(low), float(high)) for _, b in self._rows())

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """What is claimed: a learned family has no static range; with an even or squared denominator it is C^∞."""
        smooth = self._smooth()
        return Facts(
            name=self.name,
            paper=_PAPER,
            smoothness=INF if smooth else None,
            kinks=() if smooth else None,
            tags=("learnable", "rational"),
            summary=_SUMMARY,
        )

    def _smooth(self) -> bool:
        return self.form in ("even", "square") or self.denominator is None

    @staticmethod
    def describe() -> Facts:
        """The claims about the family at its defaults."""
        return Facts(name="rational", paper=_PAPER, smoothness=INF, kinks=(), tags=("learnable", "rational"), summary=_SUMMARY)

    def expression(self, site: int = 0) -> Any:
        """P/Q of channel ``site`` as a sympy expression with float coefficients."""
        import sympy

        x = sympy.Symbol("x", real=True)
        a = self.of_site(self.numerator, site) if len(self.numerator) > 1 else self.numerator.detach().double()[0].tolist()
        top = sum((sympy.Float(c) * x**k for k, c in enumerate(a)), sympy.Integer(0))
        if self.denominator is None:
            return top
        b, exponents = self.of_site(self.denominator, site), denominator_form(self.form).exponents(self.degrees[1])
        base = sympy.Abs(x) if self.form == "per_term" else x
        inside = self.form in ("even", "per_term")
        s = sum((sympy.Float(abs(c) if inside else c) * base**e for c, e in zip(b, exponents, strict=True)), sympy.Integer(0))
        outer = {"joint": sympy.Abs, "square": lambda t: t**2}.get(self.form, lambda t: t)
        return top / (1 + outer(s))


_cached = lru_cache(maxsize=256)(fit_rational)
register(Rational)
