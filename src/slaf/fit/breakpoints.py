"""Where the pieces of a piecewise polynomial begin and end, so that all of them err alike; and the pieces that interpolate there."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from slaf.core import SlafError

from .piecewise import chebyshev_points
from .target import Function

__all__ = ["equal_error_breaks", "interpolate", "single", "uniform_breaks"]

SAMPLES = 1536


def single(x: Tensor) -> Tensor:
    """Rounded to float32, held in float64."""
    return x.to(torch.float32).to(torch.float64)


def uniform_breaks(interval: tuple[float, float], pieces: int) -> Tensor:
    """Equal pieces, the breaks rounded to float32."""
    return single(torch.linspace(*interval, pieces + 1, dtype=torch.float64))


def equal_error_breaks(f: Function, interval: tuple[float, float], pieces: int, degree: int, kinks: Sequence[float] = ()) -> Tensor:
    """(pieces + 1,) breaks, kinks among them, at which interpolation by ``degree`` errs about alike on all pieces; float32 numbers.

    The density of breaks follows |f^(degree + 1)|^(1/(degree + 1)) (de Boor), then the errors that are found.

    Raises:
        SlafError: fewer pieces than the kinks make.
    """
    low, high = interval
    inside = single(torch.tensor(sorted({k for k in kinks if low < k < high}), dtype=torch.float64))
    segments = torch.cat([torch.tensor([low], dtype=torch.float64), inside, torch.tensor([high], dtype=torch.float64)]).unique()
    if pieces < len(segments) - 1:
        raise SlafError(f"pieces must be at least {len(segments) - 1}, as many as the kinks inside the interval make; got {pieces}")
    cells = [torch.linspace(a, b, SAMPLES + 1, dtype=torch.float64)[:-1] for a, b in itertools.pairwise(segments.tolist())]
    edges = torch.cat([*cells, segments[-1:]])
    weight = _smooth_weight(f, segments, degree)
    best, least = None, float("inf")
    for _ in range(6):
        breaks = _spread(edges, weight, segments, pieces)
        error = _piece_errors(f, breaks, degree)
        worst = float(error.max())
        if best is None or worst < least:
            best, least = breaks, worst
        # the density that the errors ask for
        wanted = (error + 0.03 * worst + 1e-300).pow(1 / (degree + 1)) / breaks.diff()
        piece = torch.bucketize((edges[1:] + edges[:-1]) / 2, breaks[1:-1].contiguous(), right=True)
        weight = wanted[piece]
    assert best is not None
    return best


def _smooth_weight(f: Function, segments: Tensor, degree: int) -> Tensor:
    out = []
    for a, b in itertools.pairwise(segments.tolist()):
        margin = (b - a) * 1e-6  # one-sided limits at kinks
        x = torch.linspace(a + margin, b - margin, SAMPLES + degree + 1, dtype=torch.float64)
        difference = f(x).diff(n=degree + 1).abs()
        out.append(difference.pow(1 / (degree + 1)) / (x[1] - x[0]))
    weight = torch.cat(out)
    return weight + 0.01 * weight.mean() + 1e-12


def _spread(edges: Tensor, weight: Tensor, segments: Tensor, pieces: int) -> Tensor:
    """Breaks that share out the integral of ``weight`` (one value a cell of ``edges``) evenly in every segment."""
    mass = torch.cat([weight.new_zeros(1), (weight * edges.diff()).cumsum(0)])
    at = mass[torch.searchsorted(edges, segments)]
    share = at.diff() / at[-1] * pieces
    counts = _whole_shares(share, pieces)
    out = [segments[:1]]
    for i, n in enumerate(counts.tolist()):
        wanted = at[i] + (at[i + 1] - at[i]) * torch.arange(1, n + 1, dtype=torch.float64) / n
        cell = torch.searchsorted(mass, wanted).clamp(1, len(mass) - 1)
        part = (wanted - mass[cell - 1]) / (mass[cell] - mass[cell - 1]).clamp(min=1e-300)
        inner = edges[cell - 1] + part.clamp(0, 1) * (edges[cell] - edges[cell - 1])
        out.append(torch.cat([single(inner[:-1]), segments[i + 1 : i + 2]]))
    breaks = torch.cat(out)
    if bool((breaks.diff() <= 0).any()):
        raise SlafError(f"{pieces} pieces are more than float32 can tell apart on this interval")
    return breaks


def _whole_shares(share: Tensor, total: int) -> Tensor:
    """Integers of at least 1 that sum to ``total``, near ``share``."""
    counts = share.floor().clamp(min=1)
    while int(counts.sum()) > total:
        counts[(counts - share - 1e9 * (counts <= 1)).argmax()] -= 1
    while int(counts.sum()) < total:
        counts[(share / counts).argmax()] += 1
    return counts.long()


def _piece_errors(f: Function, breaks: Tensor, degree: int) -> Tensor:
    center, coefficients = interpolate(f, breaks, degree)
    x, t = _samples(breaks, center, 24)
    value = sum(coefficients[:, k, None] * t**k for k in range(degree + 1))
    return (f(x.reshape(-1)).reshape(x.shape) - value).abs().amax(1)


def _samples(breaks: Tensor, center: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Points inside every piece (m, n), and their distance from its centre."""
    steps = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    x = breaks[:-1, None] + breaks.diff()[:, None] * steps
    return x, x - center[:, None]


def interpolate(f: Function, breaks: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    """Centres (m,) and power coefficients (m, degree + 1) of the pieces through f at Chebyshev points, their ends included.

    So the whole is continuous where f is; each piece errs by about twice the least possible at most.
    """
    middle, half = single((breaks[:-1] + breaks[1:]) / 2), breaks.diff() / 2
    x = (breaks[:-1, None] + breaks[1:, None]) / 2 + half[:, None] * chebyshev_points(degree + 1)
    # the next number inside: where f jumps, its limit
    x[:, 0], x[:, -1] = torch.nextafter(breaks[:-1], breaks[1:]), torch.nextafter(breaks[1:], breaks[:-1])
    y = f(x.reshape(-1)).reshape(x.shape)
    v = (x - middle[:, None]) / half[:, None]
    powers = torch.stack([v**k for k in range(degree + 1)], -1)
    local = torch.linalg.solve(powers, y[..., None])[..., 0]
    return middle, local / half[:, None] ** torch.arange(degree + 1, dtype=torch.float64)
