"""A Kolmogorov–Arnold layer whose edges are named functions, each with an affine map before and after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from slaf.core import SlafError

from .functions import find

if TYPE_CHECKING:
    from slaf.layers.kan.linear import KANLinear

__all__ = ["SymbolicKANLinear"]


class SymbolicKANLinear(nn.Module):
    """y_o = Σ_i a_io f_io(b_io x_i + c_io) + d_o, over those edges that have a function f_io.

    Only these edges have parameters. A layer of which some edges are still splines holds them as ``rest``, a :class:`KANLinear` whose
    other edges are 0, and adds what it gives.

    Args:
        functions: a row for every input with a name for every output, of :data:`slaf.layers.kan.symbolic.LIBRARY` or an activation with a
            closed form; ``"0"`` for no edge.
        rest: a layer of the same sizes to be added.

    Attributes:
        scale, rate, shift: a, b, c of (edges,), 1, 1 and 0 at first; edges with the same function are neighbours, see ``functions``.
        bias: d, (out_features,).
        functions: (input, output, name) of every edge.

    Shapes: (…, in_features) → (…, out_features), dtype kept.

    Raises:
        SlafError: rows of unequal length, an unknown function, or a rest of another size.

    Source: the affine maps and the snapping of edges are those of Liu et al. (2024), KAN, arXiv:2404.19756, section 2.5 [from memory].

    Example:
        >>> slaf.layers.SymbolicKANLinear([["sin", "0"], ["x^2", "exp"]])(torch.randn(32, 2)).shape
        torch.Size([32, 2])
    """

    def __init__(
        self, functions: Sequence[Sequence[str]], rest: KANLinear | None = None, *, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        rows = [list(row) for row in functions]
        if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
            raise SlafError(f"functions must be a row of names for every input, all of one length; got {functions!r}")
        self.in_features, self.out_features = len(rows), len(rows[0])
        if rest is not None and (rest.in_features, rest.out_features) != (self.in_features, self.out_features):
            sizes = f"{rest.in_features} to {rest.out_features}"
            raise SlafError(f"rest must map {self.in_features} to {self.out_features} features as functions do; got one of {sizes}")
        if rest is not None and rest.bias is not None:
            raise SlafError("rest must have no bias of its own, for the layer has one; got one with a bias")
        named = [(i, o, name) for i, row in enumerate(rows) for o, name in enumerate(row) if name != "0"]
        order = list(dict.fromkeys(name for _, _, name in named))
        self.functions = sorted(named, key=lambda edge: order.index(edge[2]))
        self._apart = [(find(name).torch, sum(edge[2] == name for edge in named)) for name in order]
        count, made = len(self.functions), {"device": device, "dtype": dtype}
        self.register_buffer("inputs", torch.empty(count, device=device, dtype=torch.long), persistent=False)
        self.register_buffer("to_outputs", torch.empty(count, self.out_features, **made), persistent=False)
        for name in ("scale", "rate", "shift"):
            setattr(self, name, nn.Parameter(torch.empty(count, **made)))
        self.bias = nn.Parameter(torch.empty(self.out_features, **made))
        self.rest: KANLinear | None = None
        self.reset_parameters()
        self.rest = rest

    inputs: Tensor
    to_outputs: Tensor
    scale: nn.Parameter
    rate: nn.Parameter
    shift: nn.Parameter

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Every edge f(x), d = 0, and the rest as it starts."""
        for values, start in ((self.scale, 1.0), (self.rate, 1.0), (self.shift, 0.0), (self.bias, 0.0)):
            values.fill_(start)
        ends = torch.tensor([edge[:2] for edge in self.functions], dtype=torch.long).reshape(-1, 2)
        self.inputs.copy_(ends[:, 0])
        self.to_outputs.copy_(nn.functional.one_hot(ends[:, 1], self.out_features))
        if self.rest is not None:
            self.rest.reset_parameters()

    def values(self, x: Tensor) -> Tensor:
        """a f(b x + c) of every edge of ``functions``: (…, edges)."""
        t = x[..., self.inputs] * self.rate + self.shift
        if not self._apart:
            return t
        parts = t.split([count for _, count in self._apart], -1)
        return torch.cat([f(part) for (f, _), part in zip(self._apart, parts, strict=True)], -1) * self.scale

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 1 or x.shape[-1] != self.in_features:
            raise SlafError(f"SymbolicKANLinear takes an input of (…, {self.in_features}); got shape {tuple(x.shape)}")
        y = self.values(x) @ self.to_outputs + self.bias
        return y if self.rest is None else y + self.rest(x)

    def edges(self, x: Tensor) -> Tensor:
        """The function of every edge at ``x`` (…, in_features), without the bias: (…, in_features, out_features)."""
        values = self.values(x)
        out = values.new_zeros(*x.shape[:-1], self.in_features, self.out_features)
        for k, (i, o, _) in enumerate(self.functions):
            out[..., i, o] = values[..., k]
        return out if self.rest is None else out + self.rest.edges(x)

    def present(self) -> Tensor:
        """Which edges there are, (in_features, out_features)."""
        has = torch.zeros(self.in_features, self.out_features, dtype=torch.bool, device=self.inputs.device)
        for i, o, _ in self.functions:
            has[i, o] = True
        return has if self.rest is None else has | self.rest.present()

    @torch.no_grad()
    def restricted(self, kept: Tensor, inputs: Tensor, outputs: Tensor) -> SymbolicKANLinear:
        """A new layer with only the edges where ``kept`` (in_features, out_features), of only these inputs and outputs, by number."""
        to_input, to_output = ({int(n): k for k, n in enumerate(numbers)} for numbers in (inputs, outputs))
        stay = [k for k, (i, o, _) in enumerate(self.functions) if i in to_input and o in to_output and bool(kept[i, o])]
        names = [["0"] * len(to_output) for _ in to_input]
        for i, o, name in (self.functions[k] for k in stay):
            names[to_input[i]][to_output[o]] = name
        rest = None if self.rest is None else self.rest.restricted(kept, inputs, outputs)
        new = SymbolicKANLinear(names, rest, device=self.bias.device, dtype=self.bias.dtype)
        old = {self.functions[k][:2]: k for k in stay}
        back_input, back_output = inputs.tolist(), outputs.tolist()
        order = [old[back_input[i], back_output[o]] for i, o, _ in new.functions]
        for name in ("scale", "rate", "shift"):
            getattr(new, name).copy_(getattr(self, name)[order])
        new.bias.copy_(self.bias[outputs])
        return new

    def extra_repr(self) -> str:
        shown = ", ".join(f"{i}→{o}: {name}" for i, o, name in self.functions[:8]) + (", …" if len(self.functions) > 8 else "")
        return f"in_features={self.in_features}, out_features={self.out_features}, functions=({shown})"
