"""A network of Kolmogorov–Arnold layers as a diagram: its nodes, and on every edge the function it computes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from slaf.core import SlafError
from slaf.plot.curve import COLORS, require_matplotlib, style

from .layer import checked_size
from .network import Edges, layers_of, scores, signals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot"]

POINTS = 101
ROW, BOX, GAP = 2.0, 0.62, 0.2
"""Inches: the height of a layer, the side of a function's box, the space between boxes."""
WIDEST, NARROWEST = 40.0, 2.4


def plot(
    model: nn.Module, x: Tensor, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None, *, most: int = 40
) -> Figure:
    """Draw the network: inputs below, outputs above, each edge's function over the range that it gets in a box on the edge.

    The darker and the wider an edge, the greater its score (:func:`slaf.layers.kan.scores`); edges that were pruned are not drawn.
    Functions of symbolic layers are in another colour, and their names above the box.

    Args:
        model: a :class:`KANLinear`, or an ``nn.Sequential`` of such and of symbolic layers.
        x: inputs of the model, (n, in_features).
        inputs, outputs: names of the features; x₁, x₂, … and y₁, … without.
        most: of each layer at most so many functions get a box, those with the greatest scores; the others are lines.

    Returns:
        The matplotlib figure; it shows itself in a notebook, and ``figure.savefig(path)`` writes it.

    Raises:
        SlafError: another module, inputs or names that do not fit, or matplotlib is not installed.
    """
    require_matplotlib()
    from slaf.plot._figure import Shown

    layers = layers_of(model)
    found, score = signals(model, x), scores(model, x)
    names = [_names("inputs", inputs, layers[0].in_features, "x"), _names("outputs", outputs, layers[-1].out_features, "y")]
    drawn = [_drawn(layer, edges, checked_size("most", most)) for layer, edges in zip(layers, score.edges, strict=True)]
    widest = max([len(boxed) for boxed, _ in drawn] + [len(nodes) for nodes in score.nodes])
    width, height = min(max(widest * (BOX + GAP), NARROWEST) + GAP, WIDEST), len(layers) * ROW + 0.7
    with style():
        figure = Shown(figsize=(width, height), facecolor="white")
        canvas = figure.add_axes((0, 0, 1, 1))
        canvas.set(xlim=(0, width), ylim=(0, height))
        canvas.axis("off")
        places = [[width * (k + 0.5) / len(nodes) for k in range(len(nodes))] for nodes in score.nodes]
        for n, layer in enumerate(layers):
            low = 0.35 + n * ROW
            _layer(figure, canvas, layer, found[n], score.edges[n], drawn[n], (places[n], places[n + 1]), low)
        for n, row in enumerate(places):
            canvas.scatter(row, [0.35 + n * ROW] * len(row), s=26, color="#333333", zorder=4)
        for row, low, labels in ((places[0], 0.08, names[0]), (places[-1], height - 0.2, names[1])):
            for at, label in zip(row, labels, strict=True):
                canvas.text(at, low, label, ha="center", va="bottom" if low < 1 else "center")
    return figure


def _names(argument: str, given: Sequence[str] | None, count: int, letter: str) -> list[str]:
    if given is None:
        return [letter + (str(k + 1).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")) if count > 1 else "") for k in range(count)]
    if isinstance(given, str) or len(given) != count:
        raise SlafError(f"{argument} must be {count} names; got {given!r}")
    return [str(name) for name in given]


def _drawn(layer: Edges, score: Tensor, most: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The edges with a box, in the order of their inputs, and those without."""
    present = [(int(i), int(o)) for i, o in torch.nonzero(layer.present())]
    ranked = sorted(present, key=lambda edge: -float(score[edge]))
    return sorted(ranked[:most]), ranked[most:]


def _layer(
    figure: Any, canvas: Any, layer: Edges, x: Tensor, score: Tensor, drawn: Any, ends: tuple[list[float], list[float]], low: float
) -> None:
    """Edges from the nodes at height ``low`` to those a row above, with their boxes between."""
    boxed, lines = drawn
    below, above = ends
    width = canvas.get_xlim()[1]
    step = width / max(len(boxed), 1)
    side = min(BOX, 0.92 * step)
    names = {(i, o): name for i, o, name in getattr(layer, "functions", [])}
    with torch.no_grad():
        grid = x.amin(0) + torch.linspace(0, 1, POINTS, dtype=x.dtype, device=x.device)[:, None] * (x.amax(0) - x.amin(0))
        curves = layer.edges(grid).double().cpu().numpy()
        at_inputs = grid.double().cpu().numpy()
    for i, o in lines:
        canvas.plot([below[i], above[o]], [low, low + ROW], **_look(float(score[i, o]), "#333333"))
    for k, (i, o) in enumerate(boxed):
        at, middle, color = (k + 0.5) * step, low + ROW / 2, COLORS[1] if (i, o) in names else COLORS[0]
        look = _look(float(score[i, o]), "#333333")
        canvas.plot([below[i], at], [low, middle - side / 2], **look)
        canvas.plot([at, above[o]], [middle + side / 2, low + ROW], **look)
        box = _box(figure, canvas, (at - side / 2, middle - side / 2, side))
        box.plot(at_inputs[:, i], curves[:, i, o], color=color, linewidth=1.5, alpha=look["alpha"])
        if (i, o) in names:
            text = {"ha": "center", "va": "bottom", "fontsize": 7.5, "color": color}
            canvas.text(at, middle + side / 2 + 0.03, names[i, o], bbox={"fc": "white", "ec": "none", "pad": 0.6}, zorder=5, **text)


def _look(score: float, color: str) -> dict[str, Any]:
    """Faint and thin to dark and thick: as tanh, so that a score of a third is seen well."""
    strength = math.tanh(3 * score) if math.isfinite(score) else 1.0
    return {"color": color, "alpha": 0.15 + 0.85 * strength, "linewidth": 0.4 + 1.1 * strength}


def _box(figure: Any, canvas: Any, place: tuple[float, float, float]) -> Any:
    """Axes for a curve at (left, bottom, side) in inches."""
    left, bottom, side = place
    width, height = canvas.get_xlim()[1], canvas.get_ylim()[1]
    box = figure.add_axes((left / width, bottom / height, side / width, side / height))
    box.set(xticks=[], yticks=[], facecolor="white")
    for spine in box.spines.values():
        spine.set(visible=True, color="#b5b5b5", linewidth=0.8)
    return box
