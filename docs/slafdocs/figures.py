"""Pictures as SVG inside the page, painted by the page's colours: any figure, the plot of an entry, and its thumbnail."""

from __future__ import annotations

import html
import re
from typing import Any

import numpy as np
import torch

from slaf.core import Activation
from slaf.plot import curve
from slaf.plot.curve import COLORS, figure_bytes

__all__ = ["plot", "svg", "thumbnail"]

_PAINT = {
    COLORS[0]: "var(--slaf-f)",
    COLORS[1]: "var(--slaf-f1)",
    COLORS[2]: "var(--slaf-f2)",
    "#333333": "var(--slaf-ink)",
    "#555555": "var(--slaf-ink)",
    "#9a9a9a": "var(--slaf-axis)",
    "#b5b5b5": "var(--slaf-axis)",
    "#ffffff": "var(--md-default-bg-color)",
}


def svg(figure: Any, label: str) -> str:
    """A figure of slaf's style as an element of the page, ``label`` for who does not see it."""
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    text = figure_bytes(figure, "svg").decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    width = f"max-width: {125 * figure.get_figwidth():.0f}px"  # a small figure stays small
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # several pictures of a page would have the same
    for color, paint in _PAINT.items():
        text = text.replace(color, paint)
    text = re.sub(r"font: ([\d.]+)px 'DejaVu Sans'[^;\"]*", r"font: \1px var(--md-text-font-family, sans-serif)", text)
    # no empty lines: they would end a block of HTML in Markdown
    text = re.sub(r"\s*\n\s*", "\n", text).strip()
    return text.replace("<svg ", f'<svg class="slaf-plot" style="{width}" role="img" aria-label="{html.escape(label)}" ', 1)


def plot(spec: str, name: str, low: float = -4.0, high: float = 4.0) -> str:
    """f, f′ and f″ of ``spec`` over [low, high], as the picture of the entry ``name``."""
    figure = curve([spec], low, high, derivatives=2)
    axes = figure.axes[0]
    axes.set_title("", loc="left")
    figure.set_layout_engine("none")  # all of these have the same margins, and to find them out is to draw everything twice
    axes.set_position((0.07, 0.11, 0.88, 0.87))
    return svg(figure, f"{name}, its first and its second derivative over [{low:g}, {high:g}]")


def thumbnail(module: object, low: float = -4.0, high: float = 4.0, width: int = 96, height: int = 64) -> str:
    """A line of the first function, without axes' labels; a sign of its own for what has no curve."""
    if not isinstance(module, Activation):
        middle = f'<text x="{width / 2}" y="{height / 2}" text-anchor="middle" dominant-baseline="middle">mixes elements</text>'
        return f'<svg class="slaf-thumb" viewBox="0 0 {width} {height}" aria-hidden="true">{middle}</svg>'
    x = torch.linspace(low, high, 97, dtype=torch.float64)
    y = module.eval().double().curves(x)[:, 0].numpy()
    bottom, top = min(-0.3, max(-4.0, float(np.nanmin(y)))), max(0.3, min(4.0, float(np.nanmax(y))))
    margin = 0.08 * (top - bottom)
    bottom, top = bottom - margin, top + margin
    across, down = (x.numpy() - low) / (high - low) * width, (top - y) / (top - bottom) * height
    zero = top / (top - bottom) * height
    path, pen = [], "M"
    for n, (a, d) in enumerate(zip(across, down, strict=True)):
        if not np.isfinite(d) or not -height <= d <= 2 * height:
            pen = "M"
            continue
        jumps = n > 0 and np.isfinite(y[n - 1]) and abs(y[n] - y[n - 1]) > 0.3 * (top - bottom)
        path.append(f"{'M' if jumps else pen}{a:.0f} {d:.1f}" if pen == "M" or jumps else f"L{a:.0f} {d:.1f}")
        pen = "L"
    axes = f'<path class="slaf-axes" d="M0 {zero:.1f}H{width}M{width / 2:g} 0V{height}"/>'
    return f'<svg class="slaf-thumb" viewBox="0 0 {width} {height}" aria-hidden="true">{axes}<path d="{"".join(path)}"/></svg>'
