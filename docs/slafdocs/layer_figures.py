"""What a layer computes, as one small picture each: trained in a moment on a toy, drawn in the page's colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from slaf.core import SlafError
from slaf.layers import (
    GRKANMLP,
    AFKANLinear,
    GRKANLinear,
    KANConv1d,
    KANConv2d,
    KANConv3d,
    KANLinear,
    RBFNetwork,
    SelectableKAN,
    SymbolicKANLinear,
)
from slaf.layers.kan import plot as diagram
from slaf.layers.rbf_network import RADIAL_FUNCTIONS
from slaf.plot.curve import COLORS, spread, style

from .figures import svg

__all__ = ["picture"]

WIDTH = 4.8
"""Inches; so narrow that words can be read on a phone."""
INK, QUIET = "#333333", "#b5b5b5"
DASHES = ("solid", (0, (5, 1.6)), (0, (1.2, 1.2)))


def picture(name: str) -> tuple[str, str]:
    """The picture of the layer ``name`` as SVG, and what it shows.

    Raises:
        SlafError: there is none.
    """
    if name not in PICTURES:
        raise SlafError(f"{name} has no picture: add one to PICTURES in docs/slafdocs/layer_figures.py")
    make, said = PICTURES[name]
    with torch.random.fork_rng(devices=[]), style():
        torch.manual_seed(0)
        return svg(make(), f"{name}: {said}"), said


# -- how they look and learn --------------------------------------------------------------------------------------------------------


def _panels(*titles: str) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(WIDTH, 2.3), layout="constrained")
    panels = list(figure.subplots(1, len(titles), squeeze=False)[0])
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, loc="left", color=INK, fontsize=9.5)
        axes.axhline(0, color=QUIET, linewidth=0.6, zorder=0)
        axes.locator_params(nbins=4)
    return figure, panels


def _line(axes: Any, x: Tensor, y: Tensor, n: int = 0, strong: bool = True, **look: Any) -> None:
    """The n-th line, its colours and dashes in turn."""
    given = {"color": COLORS[n % 3], "linestyle": DASHES[(n // 3) % 3], "linewidth": 2.0 if strong else 1.3} | look
    axes.plot(x.numpy(), y.detach().numpy(), **given)


def _names(axes: Any, ends: Sequence[tuple[float, str, int]]) -> None:
    """Names beside the lines' right ends, (value, name, number of the line) each, moved apart."""
    low, high = axes.get_ylim()
    ends = sorted(ends)
    places = spread([(value - low) / (high - low) for value, _, _ in ends], 0.085)
    for (_, name, n), at in zip(ends, places, strict=True):
        axes.text(1.03, at, name, transform=axes.transAxes, color=COLORS[n % 3], va="center", fontsize=8.5)


def _beyond(axes: Any, inner: float, outer: float) -> None:
    """The ground beyond ±inner is grey."""
    for side in (-1, 1):
        axes.axvspan(*sorted((side * inner, side * outer)), color="#777777", alpha=0.12, linewidth=0, zorder=-1)
    axes.set_xlim(-outer, outer)


def _fitted(layer: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
    """Least squares, to the end for what is linear in its weights."""
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.mse_loss(layer(x), y)
        loss.backward()
        return loss

    optimizer.step(closure)
    return layer


def _centred(y: Tensor) -> Tensor:
    """An edge's constant is in the bias: shown without."""
    return y - y.mean(0)


# -- the pictures -------------------------------------------------------------------------------------------------------------------


def _kan_linear() -> Figure:
    x = 2 * torch.rand(300, 2) - 1
    targets = (lambda t: torch.sin(torch.pi * t), torch.square)
    layer = _fitted(KANLinear(2, 1, grid=6), x, sum(f(x[:, i : i + 1]) for i, f in enumerate(targets)))
    t = torch.linspace(-1.5, 1.5, 121)
    inside = t.abs() <= 1
    edges = layer.edges(t[:, None].expand(-1, 2))[..., 0]
    figure, (terms, *panels) = _panels("terms of an input", "edge from x₁", "edge from x₂")
    for k, values in enumerate(layer.terms(t).unbind(1)):
        _line(terms, t, values, k, strong=False)
    for i, axes in enumerate(panels):
        moved = edges[:, i] - edges[inside, i].mean()
        _line(axes, t, moved)
        _line(axes, t[inside], _centred(targets[i](t[inside])), 1, linestyle=DASHES[2])
    for axes in (terms, *panels):
        _beyond(axes, 1.0, 1.5)
    return figure


SHAPES: tuple[Callable[[Tensor], Tensor], ...] = (
    torch.square,
    lambda t: -t.abs(),
    lambda t: torch.tanh(3 * t),
    lambda t: torch.sin(torch.pi * t),
)
"""What the toy of the convolutions has at the centre, beside it, and further away."""


def _kernel(layer: nn.Module, x: Tensor) -> Figure:
    """Every function of a kernel of one channel in a box of its own, after it learned Σ_d SHAPES[distance of d](x at d)."""
    kernel = layer.kernel_size
    offsets = torch.cartesian_prod(*(torch.arange(k) - k // 2 for k in kernel)).reshape(-1, len(kernel))
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(kernel)]
    shifted = convolve(x, torch.eye(len(offsets)).reshape(-1, 1, *kernel))  # the input at every offset, as channels
    distances = offsets.abs().sum(1).tolist()
    wanted = sum(SHAPES[r](shifted[:, n : n + 1]) for n, r in enumerate(distances))
    _fitted(layer, x, wanted)
    t = torch.linspace(-1, 1, 61)
    curves = _centred(layer.expand(t[:, None])[..., 0] @ layer.weight[0, :, 0].flatten(1)).unbind(1)
    slices, rows, columns = (1, 1, *kernel)[-3:]
    figure = Figure(figsize=(WIDTH, 0.8 * rows), layout="constrained")
    parts = figure.subfigures(1, slices, squeeze=False, wspace=0.06)[0]
    boxes = [axes for part in parts for axes in part.subplots(rows, columns, squeeze=False).flatten()]
    for axes, curve, distance in zip(boxes, curves, distances, strict=True):
        axes.axhline(0, color=QUIET, linewidth=0.6, zorder=0)
        axes.axvline(0, color=QUIET, linewidth=0.6, zorder=0)
        _line(axes, t, _centred(SHAPES[distance](t)), 1, linestyle=DASHES[2])
        _line(axes, t, curve)
        axes.set(xticks=[], yticks=[], ylim=(-1.15, 1.15))
        axes.spines[["top", "right"]].set(visible=True, color="#9a9a9a")
    return figure


def _grkan() -> Figure:
    figure, (functions, errors) = _panels("F at its starts", "F less that function")
    t = torch.linspace(-4, 4, 161)
    named = {"swish": F.silu, "gelu": F.gelu, "tanh": torch.tanh, "relu": torch.relu, "identity": lambda t: t}
    for axes, less in ((functions, 0), (errors, 1)):
        ends = []
        for n, (start, f) in enumerate(named.items()):
            if less and start in ("relu", "identity"):
                continue
            y = GRKANLinear(8, 8, start=start).activation(t[:, None].expand(-1, 8))[:, 0].detach() - less * f(t)
            _line(axes, t, y, n)
            ends.append((float(y[-1]), start, n))
        axes.set_ylim(*((-1.5, 5.5) if not less else axes.get_ylim()))
        _names(axes, ends)
    _beyond(errors, 3, 4)
    return figure


def _grkan_mlp() -> Figure:
    layer = GRKANMLP(4, 16, groups=4, start="swish")
    x = torch.randn(512, 4)
    optimizer = torch.optim.Adam(layer.parameters(), 1e-2)
    for _ in range(200):
        loss = F.mse_loss(layer(x), torch.stack([x[:, 0] * x[:, 1], x[:, 1].sin(), x[:, 2].abs(), x.square().mean(1)], 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    figure, panels = _panels("first F, from the identity", "second F, from Swish")
    t = torch.linspace(-3, 3, 121)
    for axes, part, start in zip(panels, (layer.first, layer.second), (t, F.silu(t)), strict=True):
        values = part.activation(t[:, None].expand(-1, part.linear.in_features))[:, :: part.linear.in_features // 4]
        _line(axes, t, start, color=INK, linestyle=DASHES[2], linewidth=1.2)
        for k, y in enumerate(values.unbind(1)):
            _line(axes, t, y, k)
    return figure


def _af_kan() -> Figure:
    figure, panels = _panels("combine=quad1", "combine=sum", "combine=prod")
    t = torch.linspace(-2, 3, 121)
    for axes in panels:
        layer = AFKANLinear(1, 1, combine=axes.get_title(loc="left").partition("=")[2])
        for k, values in enumerate(layer.features(t[:, None])[:, 0].unbind(1)):
            _line(axes, t, values, k, strong=False)
    return figure


def _rbf_network() -> Figure:
    figure, (kernels, fit) = _panels("k(r)", "a sum of bells")
    r, t = torch.linspace(0, 2.2, 121), torch.linspace(-3, 3, 121)
    ends = []
    for k, (name, of) in enumerate(RADIAL_FUNCTIONS.items()):
        values = of(r.square())
        _line(kernels, r, values, k, strong=False)
        ends.append((min(float(values[-1]), 3.0), name.replace("_", " "), k))
    kernels.set_ylim(-0.4, 3)
    _names(kernels, ends)
    target = torch.sin(2 * t) + 0.5 * t
    layer = _fitted(RBFNetwork(1, 8, 1).place(t[:, None]), t[:, None], target[:, None])
    for k, part in enumerate((layer.hidden(t[:, None]) * layer.linear.weight[0]).unbind(1)):
        _line(fit, t, part, k, strong=False)
    _line(fit, t, target, color=INK, linestyle=DASHES[2])
    _line(fit, t, layer(t[:, None])[:, 0], color=INK)
    fit.set_ylim(-3, 3)
    return figure


def _selectable() -> Figure:
    pool = {"chebyshev": {"degree": 3}, "mixture(relu)": {}, "fourier": {"terms": 4}}
    layer, x, steps = SelectableKAN(KANLinear, 1, 1, pool=pool, base=None), torch.linspace(-1, 1, 100)[:, None], 250
    optimizer = torch.optim.Adam(layer.parameters(), 2e-2)
    seen = []
    for _ in range(steps):
        loss = F.mse_loss(layer(x), x.relu())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(layer.selector.detach().softmax(0))
    figure, (weights, sums) = _panels("softmax(selector) by step", "what each adds, and their sum")
    table = torch.stack(seen)
    parts = [w * _centred(member(x).detach())[:, 0] for w, member in zip(table[-1], layer.members, strict=True)]
    for n, part in enumerate(parts):
        _line(weights, torch.arange(steps), table[:, n], n)
        _line(sums, x[:, 0], part, n, strong=False)
    _line(sums, x[:, 0], layer(x)[:, 0], color=INK)
    weights.set_ylim(0, None)
    _names(weights, [(float(table[-1, n]), name, n) for n, name in enumerate(layer.names)])
    return figure


def _symbolic() -> Figure:
    layer = SymbolicKANLinear([["sin", "0"], ["x^2", "exp"], ["0", "abs"]])
    with torch.no_grad():
        layer.rate[0] = torch.pi
    return diagram(layer, 2 * torch.rand(200, 3) - 1)


def _noise(*shape: int) -> Tensor:
    return 2 * torch.rand(shape) - 1


TOLD = "Every entry of a kernel is a function. Here {what} learned x² at the centre, −|x| beside it, then tanh 3x{more} (dotted)."
PICTURES: dict[str, tuple[Callable[[], Figure], str]] = {
    "KANLinear": (
        _kan_linear,
        "The terms of one input, and the two edges of a layer that learned sin πx₁ + x₂² on [−1, 1] (dotted); beyond, they are straight.",
    ),
    "KANConv1d": (lambda: _kernel(KANConv1d(1, 1, 5, grid=8), _noise(40, 1, 12)), TOLD.format(what="five in a row", more="")),
    "KANConv2d": (lambda: _kernel(KANConv2d(1, 1, 3, grid=8), _noise(40, 1, 6, 6)), TOLD.format(what="three by three", more="")),
    "KANConv3d": (
        lambda: _kernel(KANConv3d(1, 1, 3), _noise(60, 1, 5, 5, 5)),
        TOLD.format(what="three slices of three by three", more=" and sin πx"),
    ),
    "GRKANLinear": (_grkan, "Where its rational may start, and how far that is from the function it stands for; grey beyond [−3, 3]."),
    "GRKANMLP": (_grkan_mlp, "What its four groups learned of a toy; dotted, where they started."),
    "AFKANLinear": (_af_kan, "The six features of an input at the start, for three ways to combine two activations."),
    "RBFNetwork": (_rbf_network, "Its radial functions; and a function of one number (dotted) as the sum of eight bells and a constant."),
    "SelectableKAN": (_selectable, "Learning max(x, 0) with three bases: the one that it is in comes to weigh most."),
    "SymbolicKANLinear": (_symbolic, "Every edge has a named function, or there is none."),
}
