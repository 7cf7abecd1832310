"""KANLinear: a learned function on every edge of a dense layer, as one expansion and one matrix product."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from slaf.bases import Basis
from slaf.bases.bspline import BSpline
from slaf.core import SlafError, Spec, one_of
from slaf.kernels.kan import MAX_DEGREE, Splines, spline_layer

from .initialization import INITS, start
from .layer import Base, Interval, KANLayer, checked_size
from .recompute import expanded_product

__all__ = ["KANLinear"]


class KANLinear(KANLayer):
    """y_o = Σ_i [w_oi·base(x_i) + Σ_k c_oik φ_k(u_i)] + b_o, u_i = x_i mapped from its interval to the domain of the basis.

    x is expanded to (…, in_features·columns), and one matrix product gives y; only x is kept for backward.

    Args:
        in_features, out_features: sizes of the last dimension of input and output.
        basis: φ, one of :data:`slaf.bases.bases` as ``slaf(basis=…)`` takes it, ``"bspline(degree=3)"``; or ``"mixture(relu, sine)"``, or a
            sequence of names: then φ_k are these activations.
        grid: the number of intervals of a piecewise basis (B-splines, piecewise linear), 5 if not given; K follows from it.
        degree: K of a polynomial basis.
        terms: K of any other basis, or of a piecewise one in place of grid.
        interval: of every input, mapped to the domain of the basis. Beyond it every φ_k goes on as a straight line. See :meth:`refit`.
        base: any activation, or ``None``.
        bias: learn b. The constant of every edge is in it: without it a B-spline layer is no whole spline space.
        init: ``"variance"``, ``"zero"``, ``"kan"``, ``"fast_kan"`` or ``"chebykan"``, see
            :data:`slaf.layers.kan.initialization.INITS`.
        track_range: remember the range of every input in training, for :meth:`refit` without data.

    Attributes:
        weight: (columns, in_features, out_features): c, and w last; ``coefficients`` and ``base_weight`` are views of it.
        bias: (out_features,) or ``None``.
        kept: a buffer (in_features, out_features) of booleans where edges were pruned, whose weights are and stay 0; otherwise ``None``.

    Shapes: (…, in_features) → (…, out_features), dtype kept; half types are expanded in float32.

    Raises:
        SlafError: an argument that is not allowed, or an input that does not fit.

    Source: Liu et al. (2024), KAN: Kolmogorov–Arnold Networks, arXiv:2404.19756 [from memory].

    Example:
        >>> slaf.layers.KANLinear(64, 10, basis="bspline(degree=3)", grid=8)(torch.randn(32, 64)).shape
        torch.Size([32, 10])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        basis: str | Spec | Basis | Sequence[str | Spec] = "bspline",
        *,
        grid: int | None = None,
        terms: int | None = None,
        degree: int | None = None,
        interval: Interval = (-1.0, 1.0),
        base: Base = "silu",
        bias: bool = True,
        init: str = "variance",
        track_range: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        made = {"device": device, "dtype": dtype}
        super().__init__(checked_size("in_features", in_features), basis, grid, terms, degree, interval, base, track_range, made)
        self.in_features, self.out_features = in_features, checked_size("out_features", out_features)
        self.init = one_of("init", init, INITS)
        self.weight = nn.Parameter(torch.empty(self.columns, in_features, out_features, **made))
        self.bias = nn.Parameter(torch.empty(out_features, **made)) if bias else None
        self.register_buffer("kept", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as ``init`` says, on the intervals of the constructor."""
        self.reset_inputs()
        fan = (self.in_features, self.out_features)
        start(self.coefficients, self.base_weight, fan, self.init, self.basis, self.base, self.interval)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def coefficients(self) -> Tensor:
        """c, a view of ``weight``: (num_terms, in_features, out_features)."""
        return self.weight[: self.num_terms]

    @property
    def base_weight(self) -> Tensor | None:
        """w, a view of ``weight``: (in_features, out_features); ``None`` without a base activation."""
        return None if self.base is None else self.weight[self.num_terms]

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        self._see(x)
        weight = self.weight if self.kept is None else self.weight * self.kept
        y = self._by_kernels(x, weight)
        if y is not None:
            return y
        if self.base is not None and any(True for _ in self.base.parameters()):
            return self._defined(x, weight, self.bias)  # the base learns too
        flat = expanded_product(lambda t: self.expand(t).flatten(-2), x.reshape(-1, self.in_features), weight.flatten(0, 1))
        y = flat.reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def _by_kernels(self, x: Tensor, weight: Tensor) -> Tensor | None:
        """y where the kernels have this layer: B-splines of degree 1 to 3 with SiLU; another base is a product of its own."""
        if torch.compiler.is_compiling() or not isinstance(self.basis, BSpline):
            return None
        silu = getattr(self.base, "name", None) == "silu"
        splines = splines_of(self.basis, self.num_terms, silu)
        if splines is None:
            return None
        center, scale = (self.low + self.high) / 2, splines.cells / (self.high - self.low)
        fused = weight if silu or self.base is None else weight[: self.num_terms]
        y = spline_layer(x.reshape(-1, self.in_features), fused, self.bias, splines, center, scale, self._defined)
        if y is None:
            return None
        y = y.reshape(*x.shape[:-1], self.out_features)
        return y if len(fused) == self.columns else y + self.base(x) @ weight[self.num_terms]  # type: ignore[misc]

    def _defined(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """y in plain torch; ``weight`` may lack the base activation's."""
        columns = self.expand(x) if len(weight) == self.columns else self.expand_terms(x)
        y = columns.flatten(-2) @ weight.flatten(0, 1)
        return y if bias is None else y + bias.to(y.dtype)

    def to_edges(self, weight: Tensor) -> Tensor:
        return weight

    def from_edges(self, edges: Tensor) -> Tensor:
        return edges

    def summed(self, constants: Tensor) -> Tensor:
        return constants.sum(0)

    def edges(self, x: Tensor) -> Tensor:
        """The function of every edge at ``x`` (…, in_features), without the bias: (…, in_features, out_features)."""
        self._check(x)
        return torch.einsum("...ki,kio->...io", self.expand(x), self.weight)

    def present(self) -> Tensor:
        """Which edges there are, (in_features, out_features)."""
        return torch.ones_like(self.weight[0], dtype=torch.bool) if self.kept is None else self.kept

    @torch.no_grad()
    def restricted(self, kept: Tensor, inputs: Tensor, outputs: Tensor) -> KANLinear:
        """A new layer with only the edges where ``kept`` (in_features, out_features), of only these inputs and outputs, by number."""
        new = copy.deepcopy(self)
        stay = (kept & self.present())[inputs][:, outputs]
        new.kept = None if bool(stay.all()) else stay
        new.weight = nn.Parameter(self.weight[:, inputs][:, :, outputs] * stay, requires_grad=self.weight.requires_grad)
        if self.bias is not None:
            new.bias = nn.Parameter(self.bias[outputs], requires_grad=self.bias.requires_grad)
        for name in ("low", "high", "seen_low", "seen_high"):
            value = getattr(self, name)
            setattr(new, name, None if value is None else value[inputs])
        new.in_features, new.out_features = len(inputs), len(outputs)
        return new

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        """A state of a pruned layer brings which edges are kept; one of a whole layer makes it whole."""
        given = state.get(prefix + "kept")
        self.kept = None if given is None else torch.ones_like(self.weight[0], dtype=torch.bool)
        super()._load_from_state_dict(state, prefix, *rest)

    def _check(self, x: Tensor) -> None:
        if x.dim() < 1 or x.shape[-1] != self.in_features:
            raise SlafError(f"KANLinear takes an input of (…, {self.in_features}); got shape {tuple(x.shape)}")
        if not x.is_floating_point():
            raise SlafError(f"KANLinear takes an input of floating point; got {x.dtype}")

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, {self._described()}"


@lru_cache(maxsize=64)
def splines_of(basis: BSpline, count: int, base: bool) -> Splines | None:
    """What the kernels need of the basis; ``None`` where they have no such splines."""
    if basis.degree > MAX_DEGREE:
        return None
    pieces = torch.from_numpy(basis.on_a_cell()).float()
    return Splines(basis.degree, basis.cells(count), basis.left_out(count), base, pieces)
