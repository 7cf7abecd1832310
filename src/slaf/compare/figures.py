"""The report's figures, drawn from stored records alone, as PNG on white so that they can be used anywhere."""

from __future__ import annotations

import importlib.util
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from slaf.core import SlafError

from .table import Comparison
from .words import SHARES

__all__ = ["colors", "draw_learned", "draw_learning_curves", "draw_metric", "limits", "plot_learned", "require_matplotlib", "where_used"]

# Okabe and Ito's palette for all kinds of colour vision, without its yellow, which is lost on white.
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#5B3A8E", "#7A5230")
_GREY = "#7f7f7f"
_STYLES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
_WIDTH = 5.4
"""Inches. Small enough that the text is still read when a phone scales a figure to its screen."""


def colors(activations: Sequence[str]) -> dict[str, str]:
    """A colour for each activation, the same in every figure: ``identity`` is grey, the others follow the palette in the order given."""
    others = [a for a in activations if a != "identity"]
    return {a: _PALETTE[i % len(_PALETTE)] for i, a in enumerate(others)} | {"identity": _GREY}


def draw_learning_curves(records: Sequence[Mapping[str, Any]], color: Mapping[str, str]) -> bytes | None:
    """Training loss by epoch: one thin line per seed, a thick one for their mean; ``None`` if no trial has a history."""
    groups: dict[str, list[list[float]]] = {}
    for record in records:
        losses = [math.nan if v is None else v for v in record["history"].get("loss", [])]
        if losses:
            groups.setdefault(record["activation"], []).append(losses)
    if not groups:
        return None
    with _figure(_WIDTH, 3.3 + 0.2 * ((len(groups) + 2) // 3)) as (figure, axes, buffer):
        for number, (name, curves) in enumerate(sorted(groups.items(), key=lambda item: list(color).index(item[0]))):
            style = _STYLES[number // len(_PALETTE) % len(_STYLES)]
            for curve in curves:
                axes.plot(range(1, len(curve) + 1), curve, color=color[name], linewidth=0.7, alpha=0.35, linestyle=style)
            shortest = min(len(c) for c in curves)
            mean = np.mean([c[:shortest] for c in curves], axis=0)
            alone = {"marker": "o"} if shortest == 1 else {}
            axes.plot(range(1, shortest + 1), mean, color=color[name], linewidth=1.9, linestyle=style, label=_short(name), **alone)
        _log_if_wide(axes.set_yscale, axes.yaxis, [v for curves in groups.values() for c in curves for v in c])
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylabel("training loss")
        figure.legend(loc="outside upper left", ncols=3, edgecolor="none", handlelength=1.6, columnspacing=1.2)
        return _png(figure, buffer)


def draw_metric(comparison: Comparison, color: Mapping[str, str]) -> bytes | None:
    """The primary metric of every seed as a dot, the mean as a bar with its 95 % bootstrap interval; ``None`` without results."""
    rows = [r for r in comparison.rows if r.mean is not None]
    if not rows:
        return None
    with _figure(_WIDTH, 0.9 + 0.42 * len(rows)) as (figure, axes, buffer):
        for y, row in enumerate(rows):
            shade = color[row.activation]
            seeds = list(row.values.values())
            spread = np.linspace(-0.16, 0.16, len(seeds)) if len(seeds) > 1 else [0.0]
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [y, y], color=shade, linewidth=6, alpha=0.28, solid_capstyle="butt")
            axes.plot([row.mean, row.mean], [y - 0.28, y + 0.28], color=shade, linewidth=2)
            axes.scatter(seeds, y + np.asarray(spread), s=20, color=shade, edgecolors="white", linewidths=0.6, zorder=3)
        axes.set_yticks(range(len(rows)), [_short(r.activation) for r in rows])
        axes.set_ylim(len(rows) - 0.45, -0.55)
        axes.grid(axis="x", color="#e4e4e4", linewidth=0.7)
        axes.tick_params(axis="y", length=0)
        if not (comparison.metric in SHARES and _as_percent(axes)):
            _log_if_wide(axes.set_xscale, axes.xaxis, [v for r in rows for v in r.values.values()])
        better = "more" if comparison.direction == "max" else "less"
        axes.set_xlabel(f"{comparison.metric} ({better} is better)")
        return _png(figure, buffer)


def draw_learned(learned: Mapping[str, Any], shade: str) -> bytes:
    """One activation site: its curves before and after training over the histogram of the inputs it sees."""
    with _figure(3.7, 2.7) as (figure, axes, buffer):
        plot_learned(axes, learned, shade)
        return _png(figure, buffer)


def plot_learned(axes: Any, learned: Mapping[str, Any], shade: str) -> None:
    """The same on matplotlib ``axes``: channel 0 bold, a few others thin, each over its own inputs."""
    x = _array(learned["x"])
    before, after = ([where_used(_array(c), x, r) for c, r in zip(learned[k], learned["ranges"], strict=True)] for k in ("before", "after"))
    edges, counts = _array(learned["histogram"]["edges"]), np.asarray(learned["histogram"]["counts"], dtype=float)
    behind = axes.twinx()
    behind.bar(edges[:-1], counts, np.diff(edges), align="edge", color="#dcdcdc", linewidth=0)
    behind.set_ylim(0, 1.25 * max(float(counts.max()), 1.0))
    behind.axis("off")
    axes.set_zorder(behind.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.axhline(0, color="#b5b5b5", linewidth=0.6)
    for curve in after[1:]:
        axes.plot(x, curve, color=shade, linewidth=0.8, alpha=0.5)
    axes.plot(x, after[0], color=shade, linewidth=2.4, label="after")
    axes.plot(x, before[0], color="#222222", linewidth=1.4, linestyle=(0, (4, 2)), label="before")
    axes.set_xlim(float(x[0]), float(x[-1]))
    axes.set_ylim(*limits([before[0], after[0]], after[1:], counts, edges, x))
    axes.set_xlabel("input")
    axes.set_ylabel("output")
    axes.legend(loc="best", framealpha=0.85, edgecolor="none", handlelength=1.8)


def where_used(curve: np.ndarray, x: np.ndarray, used: Sequence[float]) -> np.ndarray:
    """The curve over the inputs that its own channel sees; what it would do elsewhere says nothing."""
    step = x[1] - x[0]
    return np.where((x >= used[0] - step) & (x <= used[1] + step), curve, math.nan)


def limits(
    main: Sequence[np.ndarray], others: Sequence[np.ndarray], counts: np.ndarray, edges: np.ndarray, x: np.ndarray
) -> tuple[float, float]:
    """The range of the main curves, and of most of the others, where inputs are common; polynomials' tails would flatten all else."""
    share = np.cumsum(counts) / max(counts.sum(), 1.0)
    first, last = (min(int(np.searchsorted(share, part)), len(counts) - 1) for part in (0.02, 0.98))
    inside = (x >= edges[first]) & (x <= edges[last + 1])
    bold = np.concatenate([c[inside] for c in main])
    thin = np.concatenate([c[inside] for c in others]) if others else bold
    bold, thin = bold[np.isfinite(bold)], thin[np.isfinite(thin)]
    if len(bold) == 0 or len(thin) == 0:
        return -1.0, 1.0
    bottom = float(min(bold.min(), np.quantile(thin, 0.02), 0.0))
    top = float(max(bold.max(), np.quantile(thin, 0.98), 0.0))
    margin = 0.08 * (top - bottom) or 1.0
    return bottom - margin, top + margin


def _array(numbers: Sequence[float | None]) -> np.ndarray:
    return np.asarray([math.nan if v is None else v for v in numbers], dtype=float)


def _log_if_wide(set_scale: Any, axis: Any, values: Sequence[float]) -> None:
    """A logarithmic axis, with plain numbers, for values that span more than a factor of 20."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    finite = [v for v in values if math.isfinite(v)]
    if not finite or min(finite) <= 0 or max(finite) / min(finite) <= 20:
        return
    set_scale("log")
    decades = math.log10(max(finite) / min(finite))
    axis.set_major_locator(LogLocator(subs=(1.0,) if decades > 3 else (1.0, 2.0, 5.0), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda v, _: _plain(v)))
    axis.set_minor_formatter(NullFormatter())


def _plain(value: float) -> str:
    return f"{value:g}" if 1e-3 <= value < 1e4 else re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.0e}")


def _as_percent(axes: Any) -> bool:
    from matplotlib.ticker import FuncFormatter

    low, high = axes.get_xlim()
    digits = 0 if high - low > 0.04 else 1 if high - low > 0.004 else 2
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.{digits}f} %"))
    return True


def _short(name: str, limit: int = 30) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def require_matplotlib() -> None:
    """Raise with the command that installs matplotlib unless it is there: before hours of training, not after."""
    if importlib.util.find_spec("matplotlib") is None:
        raise SlafError('the report\'s figures need matplotlib, which is not installed: pip install "slaf[compare]"')


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Any, Any, io.BytesIO]]:
    require_matplotlib()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9.5,
        "text.parse_math": False,  # names come from outside
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#9a9a9a",
        "axes.labelcolor": "#333333",
        "xtick.color": "#555555",
        "ytick.color": "#333333",
        "legend.fontsize": 8.5,
        "axes.unicode_minus": True,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)  # drawn in memory: no window system and no global state is touched
        yield figure, figure.add_subplot(), io.BytesIO()


def _png(figure: Any, buffer: io.BytesIO) -> bytes:
    figure.savefig(buffer, format="png", dpi=170, metadata={"Software": None})
    return buffer.getvalue()
