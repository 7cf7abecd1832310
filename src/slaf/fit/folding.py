"""``fold``: one activation replaced by a cheap form, with a proven bound of the error."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from slaf.core import Activation, SlafError, one_of

from .breakpoints import equal_error_breaks, interpolate, single, uniform_breaks
from .folded import Folded, FoldedPieces, FoldedPolynomial
from .minimax import minimax
from .piecewise import chebyshev_points, piecewise_linear_terms, polynomial_terms
from .proof import Target, prove
from .tables import fold_table
from .target import Function, as_activation, curve, of_site

__all__ = ["fold"]

FORMS = ("polynomial", "piecewise_polynomial", "piecewise_linear", "int8")
OUTSIDE = ("asymptote", "linear", "clamp", "extrapolate")
MAX_DEGREE, MAX_PIECE_DEGREE, MAX_PIECES, PROGRAM_PIECES = 24, 8, 2048, 128


def fold(
    activation: str | Activation,
    to: str = "piecewise_linear",
    interval: tuple[float, float] = (-4.0, 4.0),
    *,
    degree: int | None = None,
    pieces: int | None = None,
    tolerance: float | None = None,
    outside: str | None = None,
    breakpoints: str = "equal_error",
    site: int | None = None,
    input_scale: float | None = None,
    input_zero: int | None = None,
    output_scale: float | None = None,
    output_zero: int | None = None,
) -> Folded:
    """Replace an activation by a cheap form on an interval; how far it is off at most is proven by interval arithmetic.

    Args:
        activation: an activation string or module; in evaluation mode it must be a function of one number. It is not changed.
        to: ``"polynomial"``: one polynomial, minimax (least squares at Chebyshev points without scipy);
            ``"piecewise_linear"``: a continuous broken line, minimax for its breaks up to 128 pieces (by balanced chords beyond, or
            without scipy); ``"piecewise_polynomial"``: each piece through f at Chebyshev points, its ends included, so continuous
            where f is; ``"int8"``: a table from 256 input codes to output codes.
        interval: (low, high), where the bound holds; rounded to float32.
        degree: of the polynomial (1 to 24, 7 by default) or of each piece (1 to 8, 3 by default).
        pieces: their number, by default 32 (8 for piecewise polynomials) or as many as the kinks make; f's kinks are breaks too.
        tolerance: instead of ``degree`` (polynomial) or ``pieces``: the smallest size whose proven bound is not above it. For
            ``"int8"``, refuse a table with a larger bound.
        outside: beyond the interval, ``"asymptote"``: a straight line from the end on, with the slope that f has far away;
            ``"linear"``: with f's slope at the end; ``"clamp"``: the value at the end; ``"extrapolate"``: the (last) polynomial
            itself. By default the asymptote where f has one on both sides, else linear; a table always clamps.
        breakpoints: ``"equal_error"``: dense where f bends; ``"uniform"``: equal pieces, whatever f's kinks.
        site: the channel or unit, where a module has several functions.
        input_scale, input_zero, output_scale, output_zero: of the table; by default from the interval and f's range on it, both
            widened to contain 0.

    Returns:
        A module with ``error_bound`` (for float32 input in the interval, all rounding included), ``proof``, ``interval``, ``size``.

    Raises:
        SlafError: a value that is not allowed; f is not finite on the interval; nothing is known that a proof could rest on (no
            expression, no bounds); no size reaches ``tolerance``.

    Example:
        >>> cheap = slaf.fit.fold("gelu", to="piecewise_linear", interval=(-6, 6), tolerance=1e-3)
        >>> cheap.error_bound <= 1e-3
        True
    """
    one_of("to", to, FORMS)
    one_of("breakpoints", breakpoints, ("equal_error", "uniform"))
    module, site = of_site(as_activation(activation), site)
    request = _Request(module, site, _interval(interval), to, outside)
    if tolerance is not None and not (isinstance(tolerance, (int, float)) and tolerance > 0):
        raise SlafError(f"tolerance must be a positive number; got {tolerance!r}")
    quantizers = {"input_scale": input_scale, "input_zero": input_zero, "output_scale": output_scale, "output_zero": output_zero}
    if to == "int8":
        _refuse(to, {"degree": degree, "pieces": pieces})
        inputs, outputs = (input_scale, input_zero), (output_scale, output_zero)
        return _within(fold_table(request.target, request.f, request.interval, str(module.spec()), inputs, outputs), tolerance)
    _refuse(to, quantizers | ({"pieces": pieces} if to == "polynomial" else {}) | ({"degree": degree} if to == "piecewise_linear" else {}))
    if to == "polynomial":
        _not_both(tolerance, "degree", degree)
        return request.sized(_Size("degree", 7, MAX_DEGREE), degree, tolerance, request.polynomial)
    _not_both(tolerance, "pieces", pieces)
    order = 1 if to == "piecewise_linear" else _whole("degree", 3 if degree is None else degree, MAX_PIECE_DEGREE)
    least = request.least_pieces(breakpoints)
    size = _Size("pieces", max(32 if order == 1 else 8, least), MAX_PIECES, least, order + 1)
    return request.sized(size, pieces, tolerance, lambda n: request.pieces(n, order, breakpoints))


class _Size(NamedTuple):
    """A size's name, default, maximum and minimum, and the power of it with which errors fall."""

    name: str
    default: int
    most: int
    least: int = 1
    order: int = 4


def _interval(interval: Any) -> tuple[float, float]:
    try:
        low, high = (float(single(torch.tensor(float(end), dtype=torch.float64))) for end in interval)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SlafError(f"interval must be (low, high) with low < high, finite; got {interval!r}")
    return low, high


def _refuse(to: str, given: dict[str, Any]) -> None:
    stray = next((name for name, value in given.items() if value is not None), None)
    if stray:
        raise SlafError(f"{stray} is not for to={to}")


def _not_both(tolerance: float | None, name: str, value: int | None) -> None:
    if tolerance is not None and value is not None:
        raise SlafError(f"give tolerance or {name}, not both")


def _whole(name: str, value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise SlafError(f"{name} must be an integer from 1 to {most}; got {value!r}")
    return value


def _within(module: Folded, tolerance: float | None) -> Folded:
    if tolerance is not None and module.error_bound > tolerance:
        raise SlafError(f"the table's error bound is {module.error_bound:.3g}, above tolerance={tolerance!r}; choose a smaller interval")
    return module


def _smallest(request: _Request, build: Callable[[int], Folded], size: _Size, tolerance: float) -> Folded:
    """The smallest size whose proven bound is within ``tolerance``, as far as errors fall with the size, about as size^-order."""
    low, high, most, order = size.least - 1, size.least, size.most, size.order
    while (seen := request.observed(build(high))) > tolerance:
        if high == most:
            raise SlafError(f"no size up to {most} reaches tolerance={tolerance!r} here; the largest errs by {seen:.3g}")
        low, high = high, min(most, max(high + 1, min(4 * high, round(1.1 * high * (seen / tolerance) ** (1 / order)))))
    while high - low > 1:
        guess = round(high * (seen / tolerance) ** (1 / order)) if seen else low + 1
        middle = min(max(guess, low + 1 + (high - low) // 8), high - 1 - (high - low) // 8)
        again = request.observed(build(middle))
        if again > tolerance:
            low = middle
        else:
            high, seen = middle, again
    for n in range(high, min(high + 8, most) + 1):
        module = request.proven(build(n))
        if module.error_bound <= tolerance:
            return module
    raise SlafError(f"tolerance={tolerance!r} is too near to float32's rounding here: the proven bound is {module.error_bound:.3g}")


class _Request:
    """What is folded, where, and how it goes on outside."""

    def __init__(self, module: Activation, site: int | None, interval: tuple[float, float], to: str, outside: str | None) -> None:
        self.module, self.interval = module, interval
        self.f: Function = curve(module, site)
        self.target = Target(module, site)
        ends = self.f(torch.linspace(*interval, 257, dtype=torch.float64))
        if not bool(torch.isfinite(ends).all()):
            raise SlafError(f"{module.name} is not finite on [{interval[0]:g}, {interval[1]:g}]")
        if to == "int8":
            if outside not in (None, "clamp"):
                raise SlafError(f"a table holds its end's entry outside: outside must be clamp; got {outside!r}")
            return
        self.outside, self.slopes = self._outside(None if outside is None else one_of("outside", outside, OUTSIDE))

    def _outside(self, outside: str | None) -> tuple[str, tuple[float, float]]:
        if outside in ("clamp", "extrapolate"):
            return outside, (0.0, 0.0)
        far = None if outside == "linear" else _far_slopes(self.f)
        if far is not None:
            return "asymptote", far
        if outside == "asymptote":
            raise SlafError(f"{self.module.name} does not approach a straight line on both sides; use outside=linear or outside=clamp")
        low, high = self.interval
        h = (high - low) * 1e-6
        y = self.f(torch.tensor([low, low + h, high - h, high], dtype=torch.float64))
        return "linear", (_float32(float(y[1] - y[0]) / h), _float32(float(y[3] - y[2]) / h))

    @property
    def marks(self) -> list[float]:
        """The kinks and their neighbours, so that a fit sees both sides of a jump."""
        return [t for k in self.target.kinks for t in (math.nextafter(k, -math.inf), k, math.nextafter(k, math.inf))]

    def common(self) -> tuple[str, tuple[float, float], str, tuple[float, float]]:
        """The arguments that every form takes."""
        return str(self.module.spec()), self.interval, self.outside, self.slopes

    def polynomial(self, degree: int) -> FoldedPolynomial:
        """The polynomial of ``degree`` with the least maximum error."""
        low, high = self.interval
        center = _float32((low + high) / 2)
        half = max(high - center, center - low)
        rscale = _float32(1 / half)
        while max(abs(low - center), abs(high - center)) * rscale > 1:  # T_k is bounded on [-1, 1] only
            rscale = _float32(math.nextafter(rscale, 0) * (1 - 2.0**-24))
        terms = polynomial_terms(degree, center - 1 / rscale, center + 1 / rscale)
        if find_spec("scipy"):
            weights = minimax(self.f, terms, self.interval, self.marks).coefficients
        else:
            x = (low + high) / 2 + (high - low) / 2 * chebyshev_points(16 * degree + 33)
            weights = torch.linalg.lstsq(terms(x), self.f(x)[:, None]).solution[:, 0]
        return FoldedPolynomial(self.common(), weights, center, rscale)

    def least_pieces(self, breakpoints: str) -> int:
        """As many pieces as the kinks make."""
        low, high = self.interval
        return 1 if breakpoints == "uniform" else 1 + sum(low < k < high for k in self.target.kinks)

    def pieces(self, count: int, degree: int, breakpoints: str) -> FoldedPieces:
        """A continuous piecewise polynomial."""
        if breakpoints == "uniform":
            breaks = uniform_breaks(self.interval, count)
        else:
            breaks = equal_error_breaks(self.f, self.interval, count, degree, self.target.kinks)
        if degree > 1:
            return FoldedPieces(self.common(), breaks, *interpolate(self.f, breaks, degree))
        values = self._node_values(breaks)
        slopes = values.diff() / breaks.diff()
        # about the end that is nearer to 0, so that a line through the origin stays one
        left = breaks[:-1].abs() <= breaks[1:].abs()
        center, value = torch.where(left, breaks[:-1], breaks[1:]), torch.where(left, values[:-1], values[1:])
        return FoldedPieces(self.common(), breaks, center, torch.stack([value, slopes], 1))

    def _node_values(self, breaks: Tensor) -> Tensor:
        if find_spec("scipy") and len(breaks) <= PROGRAM_PIECES + 1:
            return minimax(self.f, piecewise_linear_terms(breaks), self.interval, self.marks).coefficients
        y = self.f(breaks)
        steps = torch.linspace(0, 1, 33, dtype=torch.float64)
        x = breaks[:-1, None] + breaks.diff()[:, None] * steps
        error = self.f(x.reshape(-1)).reshape(x.shape) - (y[:-1, None] + y.diff()[:, None] * steps)
        worst = error.gather(1, error.abs().argmax(1, keepdim=True))[:, 0]
        # a chord that errs by e on one side only is balanced by moving its ends by e/2
        around = torch.cat([worst[:1], worst]), torch.cat([worst, worst[-1:]])
        return y + torch.where(around[0] * around[1] > 0, torch.stack([t.abs() for t in around]).amin(0) * around[0].sign() / 2, 0.0)

    def sized(self, size: _Size, given: int | None, tolerance: float | None, build: Callable[[int], Folded]) -> Folded:
        """Of the given size, or the smallest that reaches the tolerance."""
        if tolerance is not None:
            return _smallest(self, build, size, tolerance)
        return self.proven(build(_whole(size.name, size.default if given is None else given, size.most)))

    def observed(self, module: Folded) -> float:
        """The largest error on a dense sample, the numbers as stored."""
        x = single(torch.linspace(*self.interval, 8193, dtype=torch.float64))
        with torch.no_grad():
            return float((self.f(x) - module.double()(x)).abs().max())

    def proven(self, module: Folded) -> Folded:
        """With ``error_bound`` and ``proof``."""
        module = module.float()
        module.proof = prove(self.target, module.form_of())
        module.error_bound = module.proof.bound
        if not math.isfinite(module.error_bound):
            raise SlafError(f"no finite error bound can be proved for {self.module.name} on this interval")
        return module.eval()


def _float32(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float32))


def _far_slopes(f: Function) -> tuple[float, float] | None:
    """The slopes of the straight lines that f approaches at -∞ and ∞; None where it approaches none."""
    out = []
    for sign in (-1.0, 1.0):
        x = sign * torch.tensor([2.0**k for k in (14, 15, 19, 20)], dtype=torch.float64)
        y = f(x)
        if not bool(torch.isfinite(y).all()):
            return None
        near, far = float((y[1] - y[0]) / (x[1] - x[0])), float((y[3] - y[2]) / (x[3] - x[2]))
        if abs(near - far) > 1e-7 * max(1.0, abs(far)):
            return None
        out.append(_float32(round(far) if abs(far - round(far)) < 1e-7 else far))
    return out[0], out[1]
