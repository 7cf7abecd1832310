"""The cheap forms that an activation folds to: modules with fixed buffers, a proven error and a stated behaviour outside."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import Activation, Facts, SlafError
from slaf.core.quadrature import standard_normal_nodes
from slaf.kernels.folded import Derived, Ends, Forms, folded, on_pieces, on_series
from slaf.kernels.series import series, working_dtype

from .enclosures import ChebyshevForm, FoldedForm, PowerForm
from .piecewise import CHEBYSHEV
from .proof import Proof

__all__ = ["Folded", "FoldedPieces", "FoldedPolynomial"]

Common = tuple[str, tuple[float, float], str, tuple[float, float]]
"""What was folded, the interval, the behaviour outside, and the slopes of the lines there."""


class OnKernels(nn.Module):
    """A module of fixed buffers on an ``interval``, with something ``outside``, from which the kernels' numbers are made once."""

    interval: tuple[float, float]
    outside: str

    def _forms(self) -> Forms | None:
        """What the kernels read; ``None`` where none does."""
        raise NotImplementedError

    def _for_kernels(self) -> Forms | None:
        derived = self.__dict__.get("_derived") or self.__dict__.setdefault("_derived", Derived())
        return derived(tuple(b for b in self._buffers.values() if b is not None), self._forms)

    def _with_ends(self, slopes: Tensor) -> Ends:
        low, high = (-math.inf, math.inf) if self.outside == "extrapolate" else self.interval
        return Ends(low, high, slopes)


class Folded(OnKernels, Activation):
    """An activation replaced by a cheap form on an interval.

    Attributes:
        of: what was folded, as a string.
        interval: (low, high), float32 numbers: where the error is proven.
        error_bound: on the interval |f(x) - module(x)| is nowhere larger for float32 x, rounding included.
        proof: how the bound came about.
        outside: ``"clamp"``, ``"linear"``, ``"asymptote"`` or ``"extrapolate"``, see :func:`slaf.fit.fold`.
        slopes: of the straight lines on the left and on the right of the interval.

    Buffers never get narrower than float32: half types and autocast compute inside in float32.
    """

    name = "folded"
    error_bound: float
    proof: Proof

    def __init__(self, of: str, interval: tuple[float, float], outside: str, slopes: tuple[float, float]) -> None:
        super().__init__()
        self.of, self.interval, self.outside, self.slopes = of, interval, outside, slopes
        self._initial: dict[str, Tensor] = {}

    def _keep(self, **buffers: Tensor) -> None:
        for name, value in buffers.items():
            stored = value.to(torch.float32) if value.is_floating_point() else value
            self.register_buffer(name, stored.contiguous().clone())
            self._initial[name] = stored.clone()

    def reset_parameters(self) -> None:
        for name, value in self._initial.items():
            getattr(self, name).copy_(value)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Folded:
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.dtype in (torch.float16, torch.bfloat16):
                self._buffers[name] = old.to(new.device)
        return self

    @property
    def form(self) -> str:
        """``"polynomial"``, ``"piecewise_linear"``, ``"piecewise_polynomial"`` or ``"int8"``."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Degree, number of pieces, or entries of the table."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        return {
            "of": self.of,
            "to": self.form,
            "low": self.interval[0],
            "high": self.interval[1],
            "size": self.size,
            "outside": self.outside,
        }

    def inside(self, x: Tensor) -> Tensor:
        """The form at ``x`` in the interval, in the working dtype."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        y = folded(x, self._for_kernels, (1,) * x.dim(), self._defined)
        return self._defined(x) if y is None else y

    def _ends(self) -> Ends:
        return self._with_ends(torch.tensor([self.slopes]))

    def _defined(self, x: Tensor) -> Tensor:
        wide = x.to(working_dtype(x.dtype))
        if self.outside == "extrapolate":
            return self.inside(wide).to(x.dtype)
        inner = wide.clamp(*self.interval)
        y, beyond = self.inside(inner), wide - inner
        if self.slopes[0]:
            y = y + self.slopes[0] * beyond.clamp(max=0)
        if self.slopes[1]:
            y = y + self.slopes[1] * beyond.clamp(min=0)
        return y.to(x.dtype)

    def form_of(self) -> FoldedForm:
        """The form as real mathematics over the stored numbers."""
        raise NotImplementedError

    def _marks(self) -> Tensor:
        """Where two formulas meet, and every extreme inside them, float64."""
        raise NotImplementedError

    def _joints(self) -> Tensor:
        """Where two formulas meet, float64."""
        return torch.tensor([] if self.outside == "extrapolate" else self.interval, dtype=torch.float64)

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """The kinks are those joints at which value or a derivative visibly jumps."""
        joints = self._joints()
        sides = [self._jet(joints, after) for after in (False, True)]
        jump = (sides[0] - sides[1]).abs() > 1e-7 * (1 + torch.maximum(sides[0].abs(), sides[1].abs()))
        return Facts(
            name=self.name,
            kinks=tuple(joints[jump.any(0)].tolist()),
            smoothness=-1 if bool(jump[0].any()) else None,
            tags=("folded",),
            summary=f"{self.of} as {self.form.replace('_', ' ')}.",
        )

    def _jet(self, x: Tensor, after: bool) -> Tensor:
        """Value and three derivatives just before or just after ``x``: (4, n)."""
        raise NotImplementedError

    def _lines(self, x: Tensor, after: bool, jet: Tensor) -> Tensor:
        """A jet with the straight lines outside the interval put in."""
        low, high = self.interval
        for slope, out in ((self.slopes[0], (x <= low) & (not after)), (self.slopes[1], (x >= high) & after)):
            line = torch.zeros_like(jet)
            line[0], line[1] = jet[0], slope
            jet = torch.where(out, line, jet)
        return jet

    def second_moment(self) -> float:
        z, w = standard_normal_nodes(self._joints().tolist())
        with torch.no_grad():
            return float((self(z) ** 2 * w).sum())

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """The values at the ends, at every joint (both sides) and at every extreme inside, widened by the rounding."""
        if bool((lower > upper).any()):
            raise SlafError("lower must not exceed upper anywhere")
        with torch.no_grad():
            info = torch.finfo(lower.dtype)
            ends = torch.stack([self(lower), self(upper)])
            low, high = ends.amin(0), ends.amax(0)
            marks = self._marks().to(lower.device)
            step = marks.abs() * info.eps + info.tiny
            for mark in torch.stack([marks - step, marks, marks + step], 1):
                points = mark.to(lower.dtype)
                value, inside = self(points), (lower <= points.amax()) & (points.amin() <= upper)
                low = torch.where(inside, torch.minimum(low, value.amin()), low)
                high = torch.where(inside, torch.maximum(high, value.amax()), high)
            slack = self._slack(torch.maximum(lower.abs(), upper.abs()).clamp(min=1), info.eps)
            return low - slack - 4 * info.eps * low.abs(), high + slack + 4 * info.eps * high.abs()

    def _slack(self, reach: Tensor, eps: float) -> Tensor:
        """How far rounding in arithmetic of precision ``eps`` moves values for inputs up to ``reach``."""
        form = self.form_of()
        edges = form.breaks
        pieces = torch.arange(len(edges) - 1)
        rounding = float(form.rounding(pieces, edges[:-1], edges[1:]).max()) / (torch.finfo(torch.float32).eps / 2)
        return (rounding + 2 * max(abs(s) for s in (*self.slopes, 0.0)) * reach) * eps


class FoldedPolynomial(Folded):
    """y = Σ_k c_k T_k((x - center)·rscale) on the interval, by Clenshaw's rule: a polynomial of one formula."""

    coefficients: Tensor

    def __init__(self, common: Common, coefficients: Tensor, center: float, rscale: float) -> None:
        super().__init__(*common)
        self.center, self.rscale = center, rscale
        self._keep(coefficients=coefficients)

    @property
    def form(self) -> str:
        return "polynomial"

    @property
    def size(self) -> int:
        return len(self.coefficients) - 1

    @property
    def degree(self) -> int:
        """The formal degree."""
        return self.size

    def inside(self, x: Tensor) -> Tensor:
        c = self.coefficients.to(x.dtype).reshape(-1, *(1,) * x.dim())
        u = x * self.rscale if self.center == 0 else (x - self.center) * self.rscale
        return series(u, c, None, None, CHEBYSHEV)

    def _forms(self) -> Forms | None:
        if self.outside == "extrapolate":  # a series has kernels of its own
            return None
        return on_series(self._ends(), self.coefficients[None], self.center, self.rscale, CHEBYSHEV)

    def form_of(self) -> ChebyshevForm:
        return ChebyshevForm(self.interval, self.center, self.rscale, self.coefficients.detach().cpu().double())

    def _powers(self, order: int = 0) -> Tensor:
        """Coefficients of the derivative in u, Chebyshev."""
        c = self.coefficients.detach().cpu().double()
        for _ in range(order):
            c = c @ torch.from_numpy(CHEBYSHEV.derivative(len(c) - 1)) * self.rscale
        return c

    def _jet(self, x: Tensor, after: bool) -> Tensor:
        from .piecewise import chebyshev_values

        values = chebyshev_values((x - self.center) * self.rscale, self.size)
        jet = torch.stack([values @ self._powers(k) for k in range(4)])
        return self._lines(x, after, jet)

    def _marks(self) -> Tensor:
        import numpy as np

        slope = np.trim_zeros(self._powers(1).numpy(), "b")
        roots = np.polynomial.chebyshev.chebroots(slope).real if len(slope) > 1 else np.zeros(0)
        x = torch.from_numpy(np.ascontiguousarray(roots)) / self.rscale + self.center
        return torch.cat([x if self.outside == "extrapolate" else x.clamp(*self.interval), self._joints()])

    def expression(self, site: int = 0) -> Any:  # noqa: ARG002
        import sympy

        x = sympy.Symbol("x", real=True)
        u = (x - sympy.Rational(self.center)) * sympy.Rational(self.rscale)
        terms = zip(self.coefficients.tolist(), _chebyshev_expressions(u, self.size), strict=True)
        return _with_lines(self, sum((sympy.Rational(c) * t for c, t in terms), sympy.Integer(0)), x)


def _chebyshev_expressions(u: Any, degree: int) -> list[Any]:
    import sympy

    return [sympy.chebyshevt(k, u) for k in range(degree + 1)]


def _with_lines(module: Folded, inner: Any, x: Any) -> Any:
    import sympy

    if module.outside == "extrapolate":
        return inner
    low, high = (sympy.Rational(end) for end in module.interval)
    left = inner.subs(x, low) + sympy.Rational(module.slopes[0]) * (x - low)
    right = inner.subs(x, high) + sympy.Rational(module.slopes[1]) * (x - high)
    return sympy.Piecewise((left, x < low), (inner, x <= high), (right, True))


class FoldedPieces(Folded):
    """y = Σ_k c_k[i]·(x - center[i])^k on piece i, by Horner's rule; the piece is found by comparing x with the breaks.

    Buffers: ``breaks`` (m + 1,), ``center`` (m,), ``coefficients`` (degree + 1, m).
    """

    breaks: Tensor
    center: Tensor
    coefficients: Tensor

    def __init__(self, common: Common, breaks: Tensor, center: Tensor, coefficients: Tensor) -> None:
        super().__init__(*common)
        self._keep(breaks=breaks, center=center, coefficients=coefficients.T)

    @property
    def form(self) -> str:
        return "piecewise_linear" if self.degree == 1 else "piecewise_polynomial"

    @property
    def size(self) -> int:
        return len(self.center)

    @property
    def degree(self) -> int:
        """Of the pieces."""
        return len(self.coefficients) - 1

    def config(self) -> dict[str, Any]:
        return super().config() | ({"degree": self.degree} if self.degree > 1 else {})

    def inside(self, x: Tensor) -> Tensor:
        inner = self.breaks[1:-1].to(x.dtype)
        if torch.compiler.is_exporting():  # simpler for other runtimes than a search
            piece = (x.detach()[..., None] >= inner).sum(-1)
        else:
            piece = torch.bucketize(x.detach().contiguous(), inner, right=True)
        t, c = x - self.center.to(x.dtype)[piece], self.coefficients.to(x.dtype)
        y = c[-1][piece]
        for row in c[:-1].flip(0):
            y = t * y + row[piece]  # in this order the memory format of x is kept
        return y

    def _forms(self) -> Forms | None:
        return on_pieces(self._ends(), self.breaks[None], self.center[None], self.coefficients[:, None])

    def form_of(self) -> PowerForm:
        breaks, center, coefficients = (t.detach().cpu().double() for t in (self.breaks, self.center, self.coefficients))
        return PowerForm(breaks, center, coefficients.T.contiguous())

    def _joints(self) -> Tensor:
        inner = self.breaks[1:-1].detach().cpu().double()
        return torch.cat([super()._joints(), inner]).sort().values

    def _jet(self, x: Tensor, after: bool) -> Tensor:
        form = self.form_of()
        piece = torch.bucketize(x, form.breaks[1:-1].contiguous(), right=after)
        jet = torch.stack([form._point(piece, x, k)[0] for k in range(4)])
        return jet if self.outside == "extrapolate" else self._lines(x, after, jet)

    def _marks(self) -> Tensor:
        form = self.form_of()
        inside = []
        if self.degree == 2:
            inside.append(form.center - form.coefficients[:, 1] / (2 * form.coefficients[:, 2]))
        elif self.degree > 2:
            inside.append(_stationary(form))
        x = torch.cat([*inside, self._joints()])
        return x[torch.isfinite(x) & (x >= self.interval[0]) & (x <= self.interval[1])]

    def expression(self, site: int = 0) -> Any:  # noqa: ARG002
        import sympy

        x = sympy.Symbol("x", real=True)
        form = self.form_of()
        parts = []
        for right, center, row in zip(form.breaks[1:].tolist(), form.center.tolist(), form.coefficients.tolist(), strict=True):
            t = x - sympy.Rational(center)
            parts.append((sum((sympy.Rational(c) * t**k for k, c in enumerate(row)), sympy.Integer(0)), right))
        low, high = (sympy.Rational(end) for end in self.interval)
        left = parts[0][0].subs(x, low) + sympy.Rational(self.slopes[0]) * (x - low)
        last = parts[-1][0].subs(x, high) + sympy.Rational(self.slopes[1]) * (x - high)
        inner = [(p, x < sympy.Rational(right)) for p, right in parts[:-1]]
        return sympy.Piecewise((left, x < low), *inner, (parts[-1][0], x <= high), (last, True))


def _stationary(form: PowerForm) -> Tensor:
    """The real parts of the zeros of every piece's derivative, as x; those outside the piece do no harm."""
    import numpy as np

    out = []
    for center, row in zip(form.center.tolist(), form.coefficients.tolist(), strict=True):
        slope = [k * c for k, c in enumerate(row)][1:]
        out.extend((np.roots(slope[::-1]).real + center).tolist())
    return torch.tensor(out, dtype=torch.float64)
