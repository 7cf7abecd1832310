"""``curve``: f, f′ and f″ of one or several activations as a matplotlib figure."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slaf.core import SlafError, one_of, split

from .sampling import Sampled, Subject, sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLORS", "FORMATS", "curve", "figure_bytes", "style"]

COLORS = ("#1f5fa8", "#b8480a", "#007a5a", "#8f4596", "#333333", "#7d6400", "#00738c", "#a62b50")
"""Lines and their labels: told apart with any colour vision by the line's style too; every one has a contrast of 4.5 on white."""
_DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.6, 1.4, 1.6)))
FORMATS = ("pdf", "png", "svg")
_THIN = 32
"""At most so many of a learned module's functions are drawn as light lines."""
_STYLE: Mapping[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.parse_math": False,  # names come from outside
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9a9a9a",
    "axes.labelcolor": "#333333",
    "axes.titlesize": 10.5,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "svg.fonttype": "none",
    "svg.hashsalt": "slaf",
}


def curve(
    activations: Subject | Sequence[Subject],
    low: float = -4.0,
    high: float = 4.0,
    derivatives: int = 0,
    ax: Axes | Sequence[Axes] | None = None,
) -> Figure:
    """Draw f over [low, high], and with ``derivatives`` 1 or 2 also f′ and f″.

    Lines are broken at jumps and at the claimed kinks of a derivative. A learned module with several functions is a light line for
    each of (at most 32 of) them and a strong one for their mean; beyond its ``domain`` the ground is grey.

    Args:
        activations: an activation string (``"relu,gelu"`` for several), a module, a function of a tensor, or a sequence of them;
            modules are copied, not changed, and drawn in evaluation mode and float64.
        low, high: the interval.
        derivatives: how many derivatives to draw, 0 to 2.
        ax: axes to draw into: one, or for several activations with derivatives one for every order.

    Returns:
        The matplotlib figure; it shows itself in a notebook, and ``figure.savefig(path)`` writes it.

    Raises:
        SlafError: an unknown name, an interval or order that is not allowed, a module that mixes elements and so has no curve, or
            matplotlib is not installed.

    Example:
        >>> slaf.plot.curve("relu,gelu", derivatives=1).savefig("curves.svg")
    """
    require_matplotlib()
    if isinstance(derivatives, bool) or derivatives not in (0, 1, 2):
        raise SlafError(f"derivatives must be 0, 1 or 2; got {derivatives!r}")
    subjects = _listed(activations)
    sampled = [sample(s, low, high, derivatives) for s in subjects]
    orders = range(derivatives + 1)
    # one activation: its derivatives share the axes; several: one panel for each order
    panels = [[(s, n) for n in orders] for s in sampled] if len(sampled) == 1 else [[(s, n) for s in sampled] for n in orders]
    with style():
        longest = max(len(s.label) for s in sampled) if len(sampled) > 1 else 0
        axes = _new_axes(len(panels), longest) if ax is None else _given_axes(ax, len(panels))
        for n, (panel, lines) in enumerate(zip(axes, panels, strict=True)):
            labels = [_NAMES[order] if len(sampled) == 1 else s.label for s, order in lines]
            title = sampled[0].label if len(sampled) == 1 else _NAMES[n]
            _draw(panel, lines, labels if len(lines) > 1 else [""], title if len(panels) > 1 or len(sampled) == 1 else "")
            panel.set_xlim(low, high)
    return axes[0].figure


_NAMES = ("f", "f′", "f″")


def _listed(activations: Subject | Sequence[Subject]) -> list[Subject]:
    given: Any = split(activations) if isinstance(activations, str) else activations
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    if not listed:
        raise SlafError("there is no activation to draw: give a name such as 'gelu', or several")
    return listed


def require_matplotlib() -> None:
    """Raise with the command that installs matplotlib unless it is there."""
    if importlib.util.find_spec("matplotlib") is None:
        raise SlafError('a plot needs matplotlib, which is not installed: pip install "slaf[plot]"')


@contextmanager
def style() -> Iterator[None]:
    """Within, figures look like all of slaf's."""
    import matplotlib as mpl

    with mpl.rc_context(dict(_STYLE)):
        yield


def _new_axes(count: int, longest: int) -> list[Any]:
    """New axes side by side, with room for the longest label at the right of each."""
    from ._figure import Shown

    width = count * ((6.2 if count == 1 else 3.9) + 0.085 * longest)
    figure = Shown(figsize=(width, 4.0 if count == 1 else 3.6), layout="constrained", facecolor="white")
    return list(figure.subplots(1, count, squeeze=False)[0])


def _given_axes(ax: Any, count: int) -> list[Any]:
    axes = list(np.asarray(ax, dtype=object).reshape(-1))
    if len(axes) != count:
        raise SlafError(f"ax must be {'one Axes' if count == 1 else f'a sequence of {count} Axes, one for each order'}; got {len(axes)}")
    return axes


def _draw(axes: Any, lines: Sequence[tuple[Sampled, int]], labels: Sequence[str], title: str) -> None:
    """One panel: every line in its colour and style, its name beside its right end."""
    axes.axhline(0, color="#b5b5b5", linewidth=0.6, zorder=0)
    axes.axvline(0, color="#b5b5b5", linewidth=0.6, zorder=0)
    for n, (sampled, order) in enumerate(lines):
        color, values = COLORS[n % len(COLORS)], sampled.values[order]
        strong = values.mean(1)
        if values.shape[1] > 1:
            thin = values[:, :: math.ceil(values.shape[1] / _THIN)]
            axes.plot(sampled.x, thin, color=color, linewidth=0.7, alpha=0.35)
        dash = _DASHES[n % len(_DASHES)]
        axes.plot(sampled.x, strong, color=color, linewidth=2.0, linestyle=dash, dash_capstyle="round", solid_capstyle="round")
    for low, high in {span for sampled, _ in lines for span in sampled.outside}:
        axes.axvspan(low, high, color="#777777", alpha=0.12, linewidth=0, zorder=-1)
    axes.set_ylim(*_limits([sampled.values[order] for sampled, order in lines]))
    axes.set_title(title, loc="left")
    axes.set_xlabel("x")
    _label(axes, [sampled.values[order].mean(1) for sampled, order in lines], labels)


def _limits(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """The range of all values, or of most where a few would flatten all else."""
    together = np.concatenate([v.reshape(-1) for v in values])
    together = together[np.isfinite(together)]
    if not len(together):
        return -1.0, 1.0
    low, high = float(together.min()), float(together.max())
    first, last = (float(q) for q in np.quantile(together, (0.01, 0.99)))
    if high - low > 4 * max(last - first, 1e-3):
        low, high = first, last
    low, high = min(low, 0.0), max(high, 0.0)
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _label(axes: Any, lines: Sequence[np.ndarray], labels: Sequence[str]) -> None:
    """Names to the right of the lines' ends, moved apart where they would touch."""
    bottom, top = axes.get_ylim()
    gap = 14 / (72 * axes.figure.get_figheight() * 0.78)
    wanted = []
    for n, (line, label) in enumerate(zip(lines, labels, strict=True)):
        finite = line[np.isfinite(line)]
        if label and len(finite):
            wanted.append((min(max((float(finite[-1]) - bottom) / (top - bottom), 0.0), 1.0), n, label))
    wanted.sort()
    for (_, n, label), at in zip(wanted, spread([place for place, _, _ in wanted], gap), strict=True):
        axes.text(1.015, at, label, transform=axes.transAxes, color=COLORS[n % len(COLORS)], va="center", ha="left", clip_on=False)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Sorted places moved as little as needed to lie ``gap`` apart, by merging neighbours that touch into evenly spaced runs."""
    runs: list[tuple[float, int]] = []  # (centre, how many)
    for place in places:
        centre, count = place, 1
        while runs and runs[-1][0] + gap * (runs[-1][1] + count) / 2 > centre:
            before, many = runs.pop()
            centre, count = (before * many + centre * count) / (many + count), many + count
        runs.append((centre, count))
    return [centre + gap * (k - (count - 1) / 2) for centre, count in runs for k in range(count)]


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """A figure as a file's content: ``"png"``, ``"svg"`` or ``"pdf"``; the same figure gives the same bytes."""
    one_of("format", kind, FORMATS)
    undated: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=kind, dpi=170, metadata=undated[kind])
    return buffer.getvalue()


def file_format(path: Path) -> str:
    """The format that a file's ending names.

    Raises:
        SlafError: it is none of png, svg and pdf.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise SlafError(f"a figure's file must end in .{', .'.join(FORMATS)}; got {path.name!r}")
    return kind
