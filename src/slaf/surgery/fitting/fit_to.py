"""``fit_to``: an activation from the mini-language that computes the same as an old one on a site's measured inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from slaf.core import Activation, SlafError, Spec, activations, make, one_of, parse
from slaf.learnable.extended import Extended

from .families import Start, fitter_of, is_fixed, named
from .region import Inputs, Region, region_of

__all__ = ["Fitted", "fit_to"]

NEAR, FAIR, GAIN = 1e-3, 1e-2, 0.8
"""A relative error that is near enough; one for which no interval is tried that leaves more than 4 % of the inputs to straight lines; what
another interval's error must fall below, relative to the last.
"""
OUTSIDE = ("linear", "clamp", "extrapolate")


@dataclass(frozen=True)
class Fitted:
    """An activation that was fitted to another one.

    Attributes:
        module: the activation, in float32, with the sizes it was asked for.
        spec: the string that makes one like it; its parameters are in the state dict.
        low, high: the interval of the fit; the range of the inputs where the activation has none.
        outside: how it goes on beyond: ``"linear"``, ``"clamp"``, or ``"extrapolate"``: by itself.
        max_error: the largest |new - old| on the range of the inputs (with a margin of 5 %) in float32.
        weighted_error: the root mean square of new - old on the inputs, relative to the standard deviation of old.
    """

    module: Activation
    spec: str
    low: float
    high: float
    outside: str
    max_error: float
    weighted_error: float


def fit_to(
    spec: str | Spec,
    target: Any,
    inputs: Inputs,
    *,
    num_channels: int | None = None,
    channel_dim: int = 1,
    num_features: int | Sequence[int] | None = None,
    kinks: Iterable[float] = (),
    outside: str = "linear",
) -> Fitted:
    """The activation ``spec`` with the parameters with which it computes what ``target`` does on ``inputs``.

    Learned families are fitted in least squares, 90 % of the weight as the inputs are distributed and 10 % spread over the interval,
    which is where all but 0.1 % of the inputs lie and where the target is curved. Where the family is not near enough on it, narrower ones
    are tried, which leave up to 20 % of the inputs to the straight lines beyond. What the string says stays: an interval, an ``init``
    (then nothing is fitted), a denominator. Where it does not, the denominator of a rational is ``"even"`` if that errs by 5e-3 or
    less, else the best; a spline has knots at the target's kinks; a slaf takes the interval in place of statistics. With statistics
    (``slaf(input=affine)``, ``normalize=batch``) these start as those of all channels together, and follow each channel in training.
    Of other activations all parameters are fitted, up to 64; those without parameters are taken as they are.

    Args:
        spec: an activation string.
        target: the old function: a string, a module or a function of one tensor, elementwise; it is not changed.
        inputs: ``min``, ``max`` and ``density()`` of the inputs.
        num_channels, channel_dim, num_features: the site's sizes; used as ``slaf.make`` does, ``num_features`` only for ``share=unit``.
        kinks: of the target, where it is no activation of slaf that says them itself.
        outside: beyond the interval ``"linear"``: straight lines with the slopes that the target has far away; ``"clamp"``: the value at
            the end; ``"extrapolate"``: as the family does. Activations without an interval go on by themselves.

    Raises:
        SlafError: an unknown name or argument, a target that is not elementwise or not finite, inputs that are all the same.
    """
    parsed = spec if isinstance(spec, Spec) else parse(spec)
    one_of("outside", outside, OUTSIDE)
    region = region_of(target, inputs, kinks, width=not is_fixed(parsed))
    start, outside, worst, mean = _best(parsed, region, outside)
    module = _sized(start, num_channels, channel_dim, num_features)
    domain = start.interval or start.module.domain or region.seen
    return Fitted(module, str(module.spec()), *domain, outside, worst, mean)


def _best(spec: Spec, region: Region, outside: str) -> tuple[Start, str, float, float]:
    """The fit on the widest interval, or on a narrower one where that is much nearer on the inputs."""
    start, chosen = _start(spec, region, outside)
    best = start, chosen, *_errors(start.module, region)
    last = start.interval
    for k, interval in enumerate(region.narrower if outside == "linear" and last is not None else ()):
        if best[3] <= (NEAR if k < 2 else FAIR):
            break
        other, chosen = _start(spec, region.on(*interval), outside)
        if other.interval == last:  # the string says the interval
            break
        last = other.interval
        errors = _errors(other.module, region)
        if errors[1] < GAIN * best[3]:
            best = other, chosen, *errors
    return best


def _start(spec: Spec, region: Region, outside: str) -> tuple[Start, str]:
    if activations.canonical(spec.name) == Extended.name:
        return _given_extension(spec, region)
    start = fitter_of(spec)(spec, region)
    if start.interval is None or outside == "extrapolate":
        return start, "extrapolate"
    if start.straight and outside == "linear":
        return start, outside
    region = region.on(*start.interval)
    slopes = (0.0, 0.0) if outside == "clamp" else (region.left_slope, region.right_slope)
    return _extended(start, *start.interval, *slopes), outside


def _given_extension(spec: Spec, region: Region) -> tuple[Start, str]:
    given = named(spec, ("of", "low", "high", "left_slope", "right_slope"))
    inner = given.get("of", "rational")
    inner = inner if isinstance(inner, Spec) else parse(inner)
    region = region.on(given.get("low"), given.get("high"))
    start = fitter_of(inner)(inner, region)
    slopes = given.get("left_slope", region.left_slope), given.get("right_slope", region.right_slope)
    sizes = {k: v for k, v in given.items() if k not in ("of", "low", "high", "left_slope", "right_slope")}
    return _extended(start, region.low, region.high, *slopes, **sizes), "linear" if any(slopes) else "clamp"


def _extended(start: Start, low: float, high: float, left: float, right: float, **sizes: Any) -> Start:
    arguments = {"low": low, "high": high, "left_slope": left, "right_slope": right}
    module = Extended(start.module, low, high, left, right)
    return Start(Spec(Extended.name, (start.spec,), arguments | sizes), module, (low, high))


def _copy(source: Activation, into: torch.nn.Module) -> None:
    """One θ, and one channel's statistics, for all."""
    state = source.state_dict()
    with torch.no_grad():
        for name, tensor in into.state_dict().items():
            tensor.copy_(state[name].expand_as(tensor))


def _sized(start: Start, num_channels: int | None, channel_dim: int, num_features: int | Sequence[int] | None) -> Activation:
    context: dict[str, Any] = {}
    if num_channels is not None:
        context = {"num_channels": num_channels, "channel_dim": channel_dim}
    if num_features is not None and _asks_for_units(start.spec):
        context |= {"num_features": num_features, "channel_dim": channel_dim}
    module = make(start.spec, **context)
    assert isinstance(module, Activation)
    _copy(start.module, module)
    return module


def _asks_for_units(spec: Spec) -> bool:
    values = (*spec.args, *spec.kwargs.values())
    return spec.kwargs.get("share") == "unit" or any(isinstance(v, Spec) and _asks_for_units(v) for v in values)


def _errors(module: Activation, region: Region) -> tuple[float, float]:
    """The largest error on the range of the inputs, and the relative root mean square on them, both in float32."""
    module.float().eval()
    x, weight = region.measured.nodes()
    even = torch.linspace(*region.seen, 2001, dtype=torch.float64)
    both = torch.cat([even, x, torch.tensor(region.kinks, dtype=torch.float64)]).float()
    both = both.clamp(*region.seen)
    wanted = region.target(both.double())
    got = module.curves(both)[:, 0].double()
    if not bool(torch.isfinite(got).all()):
        raise SlafError(f"{module} is not finite on the inputs, [{region.seen[0]:g}, {region.seen[1]:g}]")
    error = (got - wanted).abs()
    inputs = error[len(even) : len(even) + len(x)]
    return float(error.max()), float((weight * inputs.square()).sum().sqrt()) / region.spread
