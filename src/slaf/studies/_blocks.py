"""Blocks that stand in the place of a perceptron, with as many parameters at most (``gr_kan``: with its own few on top).

Each is a function of the linear layers in whose place it stands: their sizes, and where it says so their weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from slaf.compare.study import Block
from slaf.core import SlafError, make
from slaf.layers import GRKANLinear, KANLinear

__all__ = ["BLOCKS", "Gated"]


class Gated(nn.Module):
    """y = W (gate(A x) ⊙ (B x)) + b, and so on for more hidden layers.

    W is divided by √E gate(z)², z ~ N(0, 1), as the weights of the perceptrons it is compared with.

    Source: N. Shazeer (2020), GLU variants improve transformer, arXiv:2002.05202 [from memory].
    """

    def __init__(self, sizes: Sequence[int], gate: str = "silu") -> None:
        super().__init__()
        activation: Any = make(gate)
        self.gate = activation
        hidden = [nn.Linear(before, 2 * after) for before, after in pairwise(sizes[:-1])]
        self.hidden, self.last = nn.ModuleList(hidden), nn.Linear(sizes[-2], sizes[-1])
        scale = 1 / math.sqrt(activation.second_moment())
        with torch.no_grad():
            for layer in (*hidden[1:], self.last):
                layer.weight.mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            gate, value = layer(x).chunk(2, -1)
            x = self.gate(gate) * value
        y: Tensor = self.last(x)
        return y


def _sizes(linears: Sequence[nn.Linear]) -> tuple[int, ...]:
    return (linears[0].in_features, *(linear.out_features for linear in linears))


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def equally_large(build: Callable[[Sequence[int]], nn.Module], linears: Sequence[nn.Linear]) -> nn.Module:
    """``build(sizes)``, the hidden sizes those of ``linears`` times the greatest factor at which it has no more parameters than they.

    Raises:
        SlafError: it has more even with one hidden unit.
    """
    first, *hidden, last = _sizes(linears)
    most = sum(map(_parameters, linears))

    def sizes(width: int) -> tuple[int, ...]:
        return (first, *(max(1, width * h // hidden[0]) for h in hidden), last)

    def fits(width: int) -> bool:
        with torch.random.fork_rng(devices=[]):
            return _parameters(build(sizes(width))) <= most

    low, high = 0, 2 * hidden[0] + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    if low == 0:
        raise SlafError(f"no such block has as few parameters as the perceptron in its place, which has {most:,}")
    return build(sizes(low))


def gated(linears: Sequence[nn.Linear], gate: str = "silu") -> nn.Module:
    """Gated linear units; with hidden layers of two thirds the width parameters are equal."""
    return equally_large(lambda sizes: Gated(sizes, gate), linears)


def gr_kan(
    linears: Sequence[nn.Linear], start: str = "swish", groups: int = 8, numerator: str = "layer", from_mlp: bool = False
) -> nn.Module:
    """GR-KAN layers of the same sizes: the first starts as the identity, the others as ``start``; ``from_mlp``: with the same weights."""
    layers = []
    for number, linear in enumerate(linears):
        shared = math.gcd(groups, linear.in_features)
        layer = GRKANLinear(linear.in_features, linear.out_features, shared, start if number else "identity", numerator)
        if from_mlp:
            layer.linear.load_state_dict(linear.state_dict())
        layers.append(layer)
    return nn.Sequential(*layers)


def kan(
    linears: Sequence[nn.Linear],
    basis: Any = "bspline",
    grid: int | None = None,
    terms: int | None = None,
    degree: int | None = None,
    interval: tuple[float, float] = (-3.0, 3.0),
    base: Any = "silu",
    init: str = "variance",
) -> nn.Module:
    """Kolmogorov–Arnold layers, as wide as the parameters of the perceptron allow; the arguments are those of ``KANLinear``."""
    how: dict[str, Any] = {"grid": grid, "terms": terms, "degree": degree, "interval": interval, "base": base, "init": init}
    return equally_large(lambda sizes: nn.Sequential(*(KANLinear(a, b, basis, **how) for a, b in pairwise(sizes))), linears)


def swiglu(linears: Sequence[nn.Linear]) -> nn.Module:
    """Gated by SiLU."""
    return gated(linears)


BLOCKS: Mapping[str, Block] = {"swiglu": swiglu, "glu": gated, "gr_kan": gr_kan, "kan": kan}
