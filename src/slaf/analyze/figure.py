"""The picture of an explanation: outputs along the line, coefficients by degree, pairs of inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.plot.curve import COLORS, require_matplotlib, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .explain import Explanation

__all__ = ["picture"]

DRAWN = 10
"""Outputs, and sites, that are drawn."""
_DASHES = ("-", (0, (4, 1.5)))
_FLOOR = 1e-6
"""Sizes below this share of the largest are left out of the picture."""


def picture(found: Explanation) -> Figure:
    """Three panels side by side.

    Raises:
        SlafError: matplotlib is not installed.
    """
    require_matplotlib()
    from slaf.plot._figure import Shown

    with style():
        figure = Shown(figsize=(12.6, 3.9), layout="constrained", facecolor="white")
        left, middle, right = figure.subplots(1, 3)
        _line(left, found)
        _spectra(middle, found)
        _pairs(right, found)
    return figure


def _look(number: int) -> dict[str, Any]:
    return {"color": COLORS[number % len(COLORS)], "linestyle": _DASHES[number // len(COLORS) % len(_DASHES)]}


def _legend(axes: Any) -> None:
    """Beside the curves, which fill their panel."""
    axes.legend(fontsize=7.5, frameon=False, handlelength=1.6, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0)


def _line(axes: Any, found: Explanation) -> None:
    line = found.line
    t = np.linspace(line.low, line.high, 401)
    for number, y in enumerate(line(t).T[:DRAWN]):
        axes.plot(t, y, linewidth=1.6, label=str(number), **_look(number))
    axes.set_title(f"From one input to another: degree {line.degree}, error {line.error:.0e}", loc="left")
    axes.set_xlabel("t")
    axes.set_ylabel("output")
    _legend(axes)


def _spectra(axes: Any, found: Explanation) -> None:
    axes.set_title("Coefficients on the measured inputs", loc="left")
    axes.set_xlabel("degree")
    axes.set_ylabel("size")
    if not found.sites:
        axes.text(0.5, 0.5, "no site", transform=axes.transAxes, ha="center", color="#555555")
        return
    axes.set_yscale("log")
    top = max(float(s.sizes.max()) for s in found.sites)
    for number, site in enumerate(found.sites[:DRAWN]):
        degrees, floor = np.arange(1, site.degree + 1), _FLOOR * top
        each, sizes = (np.where(v > floor, v, np.nan) for v in (np.abs(site.coefficients[:, 1:]), site.sizes[1:]))
        look = _look(number)
        axes.plot(degrees, each.T[:, :32], color=look["color"], linewidth=0.7, alpha=0.35)
        axes.plot(degrees, sizes, marker="o", markersize=3.5, linewidth=1.8, label=site.name or "model", **look)
    axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(axes)


def _pairs(axes: Any, found: Explanation) -> None:
    pairs = found.interactions
    shown = pairs.mean.copy()
    np.fill_diagonal(shown, np.nan)  # bending is no interaction
    axes.set_facecolor("#dddddd")
    image = axes.imshow(shown, cmap="magma_r", vmin=0.0, interpolation="nearest")
    axes.figure.colorbar(image, ax=axes, shrink=0.85)
    axes.spines[["top", "right"]].set_visible(True)
    axes.set_title(f"E|∂²f/∂x∂x′| over {pairs.count} inputs", loc="left")
    count = len(pairs.names)
    places = list(range(0, count, pairs.grid[1] if pairs.grid and pairs.grid[1] > 1 else max(1, -(-count // 8))))
    axes.set_xticks(places, [pairs.names[i] for i in places], rotation=45, ha="right", rotation_mode="anchor", fontsize=7.5)
    axes.set_yticks(places, [pairs.names[i] for i in places], fontsize=7.5)
