"""How each kind of activation is fitted in a region: the string that makes it, and its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slaf.core import Activation, Facts, SlafError, Spec, activations, make
from slaf.fit.rational_forms import denominator_form
from slaf.fit.rational_solve import Problem, least_squares_fit
from slaf.learnable.gp import GP
from slaf.learnable.piecewise import Grid
from slaf.learnable.rational import Rational
from slaf.learnable.slaf import SLAF
from slaf.learnable.spline import UniformSpline, bspline_pieces

from .grid import grid_with_knots_at
from .parameters import descend
from .region import Region, Weighted

__all__ = ["Start", "bare", "fitter_of"]

SIZES = ("share", "groups", "num_channels", "num_features", "channel_dim")
GOOD, BETTER = 5e-3, 0.7
"""The smooth denominator is taken where it errs by 5e-3 or less, or the other errs by more than 0.7 of it."""


@dataclass(frozen=True)
class Start:
    """A fitted activation.

    Attributes:
        spec: makes one like it.
        module: one with a single θ, in float64.
        interval: where it was fitted; None for what knows no interval, and for a start that the string itself says.
        straight: it goes on straight beyond the interval by itself.
    """

    spec: Spec
    module: Activation
    interval: tuple[float, float] | None = None
    straight: bool = False


def bare(spec: Spec) -> Spec:
    """Without sizes and sharing, also in its arguments: one θ serves them all."""

    def plain(value: Any) -> Any:
        if isinstance(value, Spec):
            return bare(value)
        return tuple(plain(v) for v in value) if isinstance(value, tuple) else value

    return Spec(spec.name, tuple(plain(a) for a in spec.args), {k: plain(v) for k, v in spec.kwargs.items() if k not in SIZES})


def single(spec: Spec) -> Activation:
    """One θ, in float64."""
    module = make(bare(spec), num_channels=1, dtype=torch.float64)
    if not isinstance(module, Activation):
        raise SlafError(f"{spec.name} mixes elements, so it cannot take the place of an elementwise function")
    return module.double()


def fitter_of(spec: Spec) -> Callable[[Spec, Region], Start]:
    """The way of fitting that belongs to the entry; raises on an unknown name, with the nearest."""
    factory: Any = activations[spec.name]
    for kind, fitter in _FITTERS:
        if isinstance(factory, type) and issubclass(factory, kind):
            return fitter
    return _parametric


def is_fixed(spec: Spec) -> bool:
    """Whether the entry has no parameters to fit."""
    claims = getattr(activations[spec.name], "claims", None)
    return isinstance(claims, Facts) and not any(p.learnable for p in claims.params.values())


def named(spec: Spec, order: tuple[str, ...]) -> dict[str, Any]:
    """The arguments by name."""
    return dict(zip(order, spec.args, strict=False)) | dict(spec.kwargs)


def with_arguments(spec: Spec, arguments: Mapping[str, Any]) -> Spec:
    """``spec`` with arguments put in."""
    return Spec(spec.name, spec.args, dict(spec.kwargs) | dict(arguments))


def _interval_of(region: Region, given: object) -> Region:
    return region if given is None else region.on(*given)  # type: ignore[misc]


# -- rational -----------------------------------------------------------------------------------------------------------------


def _rational(spec: Spec, region: Region) -> Start:
    given = named(spec, ("numerator_degree", "denominator_degree", "denominator", "init", "preset", "interval"))
    if given.keys() & {"init", "preset"}:
        return Start(spec, single(spec))
    region = _interval_of(region, given.get("interval"))
    arguments: dict[str, Any] = {"interval": (region.low, region.high)}
    module = single(with_arguments(spec, arguments | {"init": "identity"}))  # the arguments are checked
    assert isinstance(module, Rational)
    forms = [given["denominator"]] if given.get("denominator") else _forms(module.degrees[1], region)
    form, a, b = _best_rational(region, module.degrees, forms)
    if form != module.form:
        arguments["denominator"] = form
        module = single(with_arguments(spec, arguments | {"init": "identity"}))
        assert isinstance(module, Rational)
    with torch.no_grad():
        module.numerator.copy_(torch.from_numpy(a))
        if module.denominator is not None:
            module.denominator.copy_(torch.from_numpy(b))
    return Start(with_arguments(spec, arguments), module, (region.low, region.high))


def _forms(degree: int, region: Region) -> list[str]:
    """Only ``"per_term"`` has a kink, at 0; ``"joint"`` and ``"square"`` are hardly ever nearer than these two, and slower to fit."""
    kinked = any(k == 0 and region.low < k < region.high for k in region.kinks)
    return ["per_term"] if degree % 2 or (kinked and degree) else ["even", "per_term"]


def _best_rational(region: Region, degrees: tuple[int, int], forms: list[str]) -> tuple[str, np.ndarray, np.ndarray]:
    """The first form that is good, else the best, an earlier one preferred."""
    points = region.points()
    x, weight = (t.numpy() for t in points.nodes())
    y = region.target(points.x).numpy()
    best, least = None, math.inf
    for name in forms:
        form = denominator_form(name)
        # where Q is linear in b, the linearised fit leads to the best valley
        a, b = least_squares_fit(Problem.of(x, y, weight, *degrees, form), starts=1 if form.nonnegative else None)
        q, _ = form.evaluate(form.terms(x, degrees[1]), b)
        error = float(np.sqrt(weight @ (np.polyval(a[::-1], x) / q - y) ** 2)) / region.spread
        if best is None or error < BETTER * least:
            best, least = (name, a, b), error
        if least < GOOD:
            break
    assert best is not None
    return best


# -- families that are linear in θ --------------------------------------------------------------------------------------------


def _spline(spec: Spec, region: Region) -> Start:
    factory: Any = activations[spec.name]
    given = named(spec, tuple(factory.defaults))
    if "init" in given:
        return Start(spec, single(spec))
    region = region.on(given.get("low"), given.get("high"))
    knots = given.get("knots", factory.defaults["knots"])
    arguments: dict[str, Any] = {"low": region.low, "high": region.high}
    if not given.keys() & {"low", "high"}:
        single(with_arguments(spec, arguments))  # knots are checked
        arguments = dict(zip(("low", "high"), grid_with_knots_at(region.kinks, region.low, region.high, knots), strict=True))
    module = single(with_arguments(spec, arguments))
    assert isinstance(module, UniformSpline)
    with torch.no_grad():
        module.coefficients.copy_(_spline_coefficients(module.grid, module.degree, region))
    return Start(with_arguments(spec, arguments), module, (module.grid.low, module.grid.high), straight=True)


def _spline_coefficients(grid: Grid, degree: int, region: Region) -> Tensor:
    """Least squares, the slopes at the ends those of the lines beyond."""
    region = region.on(grid.low, grid.high) if not region.low <= grid.low < grid.high <= region.high else region
    points = region.points(grid.dense(max(2, 512 // grid.cells)))
    basis = bspline_pieces(torch.eye(grid.knots + degree - 1, dtype=torch.float64), grid, degree)
    root = points.weight.sqrt()
    left, right = basis.at_knots()
    ends = torch.stack([right[0, :, 0], left[0, :, -1]]) * (1e3 * (grid.high - grid.low))
    slopes = torch.tensor([region.left_slope, region.right_slope], dtype=torch.float64) * (1e3 * (grid.high - grid.low))
    design = torch.cat([basis.all_at(points.x).T * root[:, None], ends])
    wanted = torch.cat([region.target(points.x) * root, slopes])
    return torch.linalg.lstsq(design, wanted[:, None], driver="gelsd").solution[:, 0]


def _gp(spec: Spec, region: Region) -> Start:
    given = named(spec, tuple(GP.defaults))
    if "init" in given:
        return Start(spec, single(spec))
    region = region.on(given.get("low"), given.get("high"))
    arguments = {"low": region.low, "high": region.high}
    module = single(with_arguments(spec, arguments))
    assert isinstance(module, GP)
    points = region.points()
    root = points.weight.sqrt()
    design = module.process.kernel(points.x) @ module.process.inverse()
    heights = torch.linalg.lstsq(design * root[:, None], (region.target(points.x) * root)[:, None], driver="gelsd").solution[:, 0]
    with torch.no_grad():
        module.heights.copy_(heights)
    return Start(with_arguments(spec, arguments), module, (region.low, region.high))


def _slaf(spec: Spec, region: Region) -> Start:
    order = ("degree", "basis", "share", "normalize", "input", "input_scale", "squash", "init")
    given = named(spec, order)
    statistics = given.keys() & {"normalize", "input", "input_scale", "preset"}
    region = _interval_of(region, given.get("interval"))
    arguments = {} if statistics or "init" in given else {"interval": (region.low, region.high)}
    module = single(with_arguments(spec, arguments))
    assert isinstance(module, SLAF)
    module.eval()
    points = region.points()
    if module.interval is not None:
        density = Weighted(points.x, points.weight, points.mean, points.std / 3)
    else:
        density = Weighted(points.x, points.weight, region.measured.mean, region.measured.std)
        _calibrate(module, density)
    if "init" in given:
        return Start(with_arguments(spec, arguments), module)
    with torch.no_grad():  # also where a preset would draw the coefficients
        if module.gate is not None:
            module.gate.zero_()
        module._fit(region.target, density)  # type: ignore[arg-type]
    if module.term_statistics is not None:
        module.term_statistics.num_batches_tracked.fill_(_warm(module.term_statistics.momentum))
    return Start(with_arguments(spec, arguments), module, (region.low, region.high))


def _calibrate(module: SLAF, density: Weighted) -> None:
    """The statistics of all channels together: their θ is one function of the input, so they must be standardised alike."""
    kept = module.input_statistics
    if kept is not None:
        kept.mean.fill_(density.mean)
        kept.var.fill_(max(density.std**2 - kept.eps, 0.0))
        kept.num_batches_tracked.fill_(_warm(kept.momentum))


def _warm(momentum: float) -> int:
    """As many batches as make the next one count no more than ``momentum``."""
    return math.ceil(1 / momentum)


# -- everything else ----------------------------------------------------------------------------------------------------------


def _parametric(spec: Spec, region: Region) -> Start:
    module = single(spec)
    if "init" in spec.kwargs or not any(p.numel() for p in module.parameters()):
        return Start(spec, module)
    best = descend(module, region)
    if best > 1e-3 * region.spread and hasattr(module, "init"):
        try:  # from the family's own fit, over N(0, 1)
            other = single(with_arguments(spec, {"init": region.target}))
        except SlafError:
            return Start(spec, module)
        if descend(other, region) < best:
            module = other
    return Start(spec, module)


_FITTERS: tuple[tuple[type, Callable[[Spec, Region], Start]], ...] = (
    (Rational, _rational),
    (UniformSpline, _spline),
    (GP, _gp),
    (SLAF, _slaf),
)
