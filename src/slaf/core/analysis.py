"""What can be said of any activation from its description alone: ranges, slopes, turning points, moments, integrals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import SlafError
from .extremes import derivative_of, is_continuous, range_on
from .intervals import enclose
from .quadrature import gauss_legendre, standard_normal_nodes
from .sharing import Sharing, check_site

if TYPE_CHECKING:
    from .activation import Activation

__all__ = ["enclosed_range", "hermite_coefficients", "panel_integral", "steepest", "substituted", "turning_points"]

MAX_POINTS = 1000


def substituted(expression: Any, numbers: Mapping[str, float]) -> Any:
    """``expression`` with numbers put in for symbols."""
    # a whole number stays one: x**2.0 would be no polynomial
    values = {name: int(v) if float(v).is_integer() else v for name, v in numbers.items()}
    return expression.subs({s: values[s.name] for s in expression.free_symbols if s.name in values})


def _continuous(activation: Activation, expression: Any) -> bool:
    claimed = [facts.smoothness for facts in activation.facts_of_each()]
    return all(order >= 0 for order in claimed) if None not in claimed else is_continuous(expression)


def _parametric(activation: Activation, lower: Tensor) -> tuple[Any, dict[str, Tensor]]:
    """The formula, and its parameters where they differ between elements, in the shape of ``lower``."""
    if activation.facts.formula is None:
        raise SlafError(f"{activation.name} claims neither critical points nor a formula, so its bounds are not known")
    expression = activation._formula_expression()
    values = activation.parameters_at(lower)
    numbers = {n: v for n, v in values.items() if not isinstance(v, Tensor)}
    single = {n: float(v) for n, v in values.items() if isinstance(v, Tensor) and v.numel() == 1}
    tensors = {n: v.to(torch.float64).expand(lower.shape) for n, v in values.items() if isinstance(v, Tensor) and n not in single}
    return substituted(expression, numbers | single), tensors


def _per_site(activation: Activation, lower: Tensor) -> list[tuple[Any, dict[str, Tensor], Tensor]]:
    """Pairs of an expression and the elements (a mask) that it holds for."""
    everywhere = torch.ones(lower.shape, dtype=torch.bool)
    sharing = getattr(activation, "sharing", None)
    if activation.facts.formula is not None or not isinstance(sharing, Sharing):
        expression, tensors = _parametric(activation, lower)
        return [(expression, tensors, everywhere)]
    if sharing.sites == 1 or (sharing.count == 1 and not activation.normalizes):
        return [(activation.expression(), {}, everywhere)]
    site = torch.arange(sharing.sites).reshape(sharing.shape(lower, sharing.sites)).expand(lower.shape)
    masks: dict[Any, Tensor] = {}
    for i in range(sharing.sites):  # channels with the same function together
        expression = activation.expression(i)
        masks[expression] = masks.get(expression, ~everywhere) | (site == i)
    return [(expression, {}, mask) for expression, mask in masks.items()]


def enclosed_range(activation: Activation, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """The range on boxes by interval arithmetic over the expression, with room for the rounding of the module's own arithmetic."""
    low, high = torch.empty_like(lower, dtype=torch.float64), torch.empty_like(upper, dtype=torch.float64)
    for expression, parameters, mask in _per_site(activation, lower):
        a, b = lower[mask].double(), upper[mask].double()
        own = {name: t[mask] for name, t in parameters.items()}
        continuous = _continuous(activation, expression)
        lo, hi = range_on(expression, a, b, own, continuous, **_claimed(activation, own))
        if continuous:  # an argument that is off by an ulp moves the value by the slope
            slope = torch.stack(enclose(derivative_of(expression), a, b, own)).abs().amax(0)
            ulp = 2 * torch.finfo(lower.dtype).eps * torch.maximum(a.abs(), b.abs())
            room = (ulp * slope).nan_to_num(nan=0.0, posinf=0.0)
            lo, hi = lo - room, hi + room
        low[mask], high[mask] = lo, hi
    return low.to(lower.dtype), high.to(lower.dtype)


def _claimed(activation: Activation, parameters: Mapping[str, Tensor]) -> dict[str, Any]:
    """Range and Lipschitz constant, where they are claimed for the one θ there is."""
    facts = activation.facts
    if parameters or activation._several():
        return {}
    claims = {} if facts.range is None else {"within": facts.range}
    return claims if facts.lipschitz is None else claims | {"steepest": facts.lipschitz}


def steepest(activation: Activation, lower: Tensor, upper: Tensor) -> Tensor:
    """An upper bound of the difference quotients on each box."""
    facts = activation.facts
    with torch.no_grad():
        try:
            pieces = _per_site(activation, lower)
        except SlafError:
            if facts.lipschitz is None:
                raise SlafError(f"{activation.name} claims neither a formula nor a Lipschitz constant") from None
            return torch.full_like(lower, facts.lipschitz)
        out = torch.empty_like(lower, dtype=torch.float64)
        for expression, parameters, mask in pieces:
            a, b = lower[mask].double(), upper[mask].double()
            own = {name: t[mask] for name, t in parameters.items()}
            slope = torch.stack(range_on(derivative_of(expression), a, b, own, continuous=None, tolerance=1e-7)).abs().amax(0)
            slope = slope.clamp(max=_claimed(activation, own).get("steepest", math.inf))
            if not _continuous(activation, expression):
                slope = torch.where(_jump_inside(activation, expression, a, b), math.inf, slope)
            out[mask] = slope
        return (out * (1 + 4 * torch.finfo(lower.dtype).eps)).to(lower.dtype)


def _jump_inside(activation: Activation, expression: Any, a: Tensor, b: Tensor) -> Tensor:
    """Where a box may hold a jump: at a kink, or anywhere if the kinks are not known."""
    if is_continuous(expression):
        return torch.zeros_like(a, dtype=torch.bool)
    kinks = activation.facts.kinks
    if kinks is None:
        return torch.ones_like(a, dtype=torch.bool)
    return torch.stack([(a <= k) & (k <= b) for k in kinks]).any(0) if kinks else torch.zeros_like(a, dtype=torch.bool)


def turning_points(activation: Activation, lower: float, upper: float, site: int | None = None) -> list[float]:
    """The isolated points of [lower, upper] where f' = 0 or changes sign, of the function of ``site``."""
    site = _the_site(activation, lower, upper, site)
    alone = getattr(activation, "alone", None)
    if alone is not None and activation._several():
        return turning_points(alone(site), lower, upper)
    facts = activation.facts
    kinks = [float(k) for k in facts.kinks or () if lower <= k <= upper]
    if facts.critical_points is not None:
        inside = (float(p) for p in facts.critical_points if lower <= p <= upper)
        return sorted({*inside, *(k for k in kinks if _turns(activation, k, site))})
    expression = activation.expression(site)
    slope = derivative_of(expression)
    found = _zeros(slope, lower, upper)
    if len(found) > MAX_POINTS:
        raise SlafError(
            f"{activation.name} has more than {MAX_POINTS} critical points on [{lower:g}, {upper:g}]; ask for a shorter interval"
        )
    return sorted({*found, *(k for k in kinks if _turns(activation, k, site))})


def _the_site(activation: Activation, lower: float, upper: float, site: int | None) -> int:
    """The one that is given, or 0 where all have the same function."""
    values = activation.curves(torch.linspace(lower, upper, 65, dtype=torch.float64, device=_device(activation)))
    sites = values.shape[1]
    if site is not None:
        return check_site(site, sites)
    if not torch.equal(values, values[:, :1].expand_as(values)):
        raise SlafError(f"{activation.name} has {sites} functions that differ; choose one with site=0 … {sites - 1}")
    return 0


def _device(activation: Activation) -> torch.device | None:
    return next((t.device for t in (*activation.parameters(), *activation.buffers())), None)


def _turns(activation: Activation, kink: float, site: int) -> bool:
    """Whether f' has different signs on the two sides."""
    h = 1e-6 * max(1.0, abs(kink))
    sides = torch.tensor([kink - h, kink + h], dtype=torch.float64, device=_device(activation))
    slopes = activation.derivative(activation._spread(sides)).detach().reshape(2, -1)[:, site]
    left, right = slopes.sign().tolist()
    return left != right


def _zeros(slope: Any, lower: float, upper: float) -> list[float]:
    """Where ``slope`` vanishes at isolated points: cells whose enclosure excludes 0 are thrown away until the rest are tiny."""
    edges = torch.linspace(lower, upper, 257, dtype=torch.float64)
    a, b = edges[:-1], edges[1:]
    for _ in range(40):
        low, high = enclose(slope, a, b)
        flat = torch.maximum(low.abs(), high.abs()) < 1e-200  # a plateau is no isolated point
        keep = (low <= 0) & (high >= 0) & ~flat
        a, b = a[keep], b[keep]
        if not len(a) or bool((b - a).max() < 1e-12 * max(1.0, abs(lower), abs(upper))):
            break
        if len(a) > 8 * MAX_POINTS:
            break
        middle = a + (b - a) / 2
        a, b = torch.cat([a, middle]), torch.cat([middle, b])
    a, order = a.sort()
    b = b[order]
    starts = torch.cat([torch.ones(1, dtype=torch.bool), a[1:] > b[:-1] + 1e-9]) if len(a) else a.bool()
    group = starts.cumsum(0) - 1
    count = int(group.max()) + 1 if len(a) else 0
    first = torch.full((count,), math.inf, dtype=torch.float64).scatter_reduce(0, group, a, "amin")
    last = torch.full((count,), -math.inf, dtype=torch.float64).scatter_reduce(0, group, b, "amax")
    return ((first + last) / 2).tolist()


def hermite_coefficients(activation: Activation, count: int) -> Tensor:
    """E f(z) h_n(z), n = 0 … count - 1, by quadrature."""
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 200:
        raise SlafError(f"count must be an integer from 1 to 200; got {count!r}")
    z, w = standard_normal_nodes(activation.facts.kinks or ())
    parameter = next(activation.parameters(), None)
    y = activation.curves(z if parameter is None else z.to(parameter.device, parameter.dtype)).to("cpu", torch.float64)
    h = [torch.ones_like(z), z]
    for n in range(1, count - 1):
        h.append((z * h[n] - math.sqrt(n) * h[n - 1]) / math.sqrt(n + 1))
    out = torch.stack(h[:count]) * w @ y
    return out[:, 0] if out.shape[1] == 1 else out


def panel_integral(activation: Activation, x: Tensor, kinks: Iterable[float]) -> Tensor:
    """∫₀ˣ f by Gauss–Legendre quadrature on panels that split at the kinks."""
    nodes, weights = gauss_legendre(24)
    nodes, weights = nodes.to(x.device, torch.float64), weights.to(x.device, torch.float64)
    edges = {0.0, *(s * 2.0**e for e in range(-2, 21) for s in (-1, 1)), *(float(k) for k in kinks)}
    wide, total = x.to(torch.float64), torch.zeros_like(x, dtype=torch.float64)
    work = torch.float64 if x.dtype == torch.float64 else torch.float32
    for low, high in itertools.pairwise(sorted(edges)):
        a, b = (wide.clamp(low, high), wide.new_full((), low)) if low >= 0 else (wide.clamp(low, high), wide.new_full((), high))
        half, middle = (a - b) / 2, (a + b) / 2
        if bool((half == 0).all()):
            continue
        for node, weight in zip(nodes, weights, strict=True):
            total = total + half * weight * activation((middle + half * node).to(work)).to(torch.float64)
    return total.to(x.dtype)
