"""SelectableKAN: a pool of Kolmogorov–Arnold layers over different bases, of which training selects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import SlafError

from .layer import KANLayer

__all__ = ["POOL", "SelectableKAN"]

POOL: dict[str, dict[str, Any]] = {
    "bspline": {"grid": 5},
    "rbf": {"terms": 8},
    "chebyshev": {"degree": 4},
    "wavelet": {"terms": 8},
}
"""The bases of a pool that is not given, with their options."""


class SelectableKAN(nn.Module):
    """y = Σ_m w_m·layer_m(x), w = softmax(selector): S-KAN over ``KANLinear``, S-ConvKAN over ``KANConv2d``.

    Three stages: train everything; drop the weak members (:meth:`keep` with a threshold) and train on; keep the best one and fine-tune.
    Make the optimiser anew after :meth:`keep`, which takes parameters away. Every member starts with outputs of the same variance, so
    that the selector weighs how well a basis fits, not how large it is.

    Args:
        layer: the class of the members: :class:`KANLinear`, :class:`KANConv1d` and so on.
        sizes, options: what it is made with: ``SelectableKAN(KANConv2d, 3, 8, kernel_size=3, padding=1)``.
        pool: basis → options of its own (``{"bspline": {"grid": 8}, "chebyshev": {"degree": 3}}``); :data:`POOL` if not given.

    Attributes:
        members: the layers, in the order of ``names``.
        selector: (members,), 0 at the start; ``None`` where one member is left.

    Shapes: those of the members.

    Raises:
        SlafError: no pool, another class of layers, or an argument that a member does not allow.

    Source: Yang et al. (2024), arXiv:2408.08338. The selection is [secondary] and its exact parametrisation [unconfirmed], as no code for
    it is published: here one softmax selects for the layer, not one for every output. Members are layers over slaf's bases, without the
    squashing and the norms of the authors' layers. Their architectures, data sets and numbers are [unconfirmed].

    Example:
        >>> net = slaf.layers.SelectableKAN(slaf.layers.KANLinear, 4, 3)
        >>> net(torch.randn(8, 4)).shape
        torch.Size([8, 3])
    """

    def __init__(self, layer: type[KANLayer], *sizes: Any, pool: Mapping[str, Mapping[str, Any]] | None = None, **options: Any) -> None:
        super().__init__()
        if not (isinstance(layer, type) and issubclass(layer, KANLayer)):
            raise SlafError(f"layer must be a class such as KANLinear or KANConv2d; got {layer!r}")
        pool = POOL if pool is None else pool
        if not isinstance(pool, Mapping) or not pool:
            raise SlafError(f"pool must have a basis or more, each with its options, as {{'bspline': {{'grid': 5}}}}; got {pool!r}")
        self.names = list(pool)
        self.members = nn.ModuleList(layer(*sizes, basis=name, **{**options, **own}) for name, own in pool.items())  # type: ignore[misc]
        made = next(self.members[0].parameters())
        self.selector = nn.Parameter(made.new_zeros(len(pool))) if len(pool) > 1 else None

    def reset_parameters(self) -> None:
        """Every member anew, no preference."""
        for member in self.members:
            member.reset_parameters()  # type: ignore[operator]
        if self.selector is not None:
            nn.init.zeros_(self.selector)

    @property
    def selection(self) -> dict[str, float]:
        """w by basis."""
        return dict(zip(self.names, self._weights().tolist(), strict=True))

    def _weights(self) -> Tensor:
        return torch.ones(1) if self.selector is None else self.selector.detach().softmax(0)

    def forward(self, x: Tensor) -> Tensor:
        if self.selector is None:
            return self.members[0](x)
        outputs = [member(x) for member in self.members]
        return torch.stack(outputs, -1) @ self.selector.softmax(0).to(outputs[0].dtype)

    def keep(self, best: int = 1, *, threshold: float = 0.0) -> SelectableKAN:
        """Drop, in place, all but the ``best`` members by weight, and those whose weight is below ``threshold``; one always stays.

        The weights of those that stay are a softmax over fewer. Returns this module.

        Raises:
            SlafError: best is no positive integer, or threshold not from 0 to 1.
        """
        if isinstance(best, bool) or not isinstance(best, int) or best < 1:
            raise SlafError(f"best must be a positive integer; got {best!r}")
        if not 0 <= threshold <= 1:
            raise SlafError(f"threshold must be from 0 to 1; got {threshold!r}")
        weights = self._weights()
        order = weights.argsort(descending=True, stable=True).tolist()
        stay = sorted(i for rank, i in enumerate(order[:best]) if rank == 0 or weights[i] >= threshold)
        self.names = [self.names[i] for i in stay]
        self.members = nn.ModuleList(self.members[i] for i in stay)
        if self.selector is not None:
            given = self.selector
            self.selector = nn.Parameter(given.detach()[stay], requires_grad=given.requires_grad) if len(stay) > 1 else None
        return self

    def extra_repr(self) -> str:
        return f"pool={self.names}"
