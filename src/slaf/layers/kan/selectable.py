"""SelectableKAN: a pool of Kolmogorov–Arnold layers over different bases, of which training selects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
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
    that the selector weighs how well a basis fits, not how large it is. The weights tell which members learned fast next to the others;
    that need not be the one that would fit best alone.

    Args:
        layer: the class of the members: :class:`KANLinear`, :class:`KANConv1d` and so on.
        sizes, options: what it is made with: ``SelectableKAN(KANConv2d, 3, 8, kernel_size=3, padding=1)``.
        pool: basis → options of its own (``{"bspline": {"grid": 8}, "chebyshev": {"degree": 3}}``); :data:`POOL` if not given.

    Attributes:
        members: the layers, in the order of ``names``.
        selector: (members,), 0 at the start; ``None`` where one member is left.
        kept: a buffer (bases of the pool,) of booleans once members were dropped; otherwise ``None``.

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
        self._make: Callable[..., KANLayer] = partial(layer, *sizes, **options)
        self.pool = {name: dict(own) for name, own in pool.items()}
        self.names = list(pool)
        self.members = nn.ModuleList(self._make(basis=name, **own) for name, own in self.pool.items())  # type: ignore[call-arg]
        self.selector = self._even()
        self.register_buffer("kept", None)

    def _even(self) -> nn.Parameter | None:
        """A selector without preference for the members of now."""
        made = next(self.members.parameters())
        return nn.Parameter(made.new_zeros(len(self.members))) if len(self.members) > 1 else None

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
        weights = self.selector.softmax(0).to(outputs[0].dtype)
        return reduce(torch.add, [y * w for y, w in zip(outputs, weights, strict=True)])

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
        if len(stay) < len(self.names) and self.selector is not None:
            given = self.selector
            self.selector = nn.Parameter(given.detach()[stay], requires_grad=given.requires_grad) if len(stay) > 1 else None
            self._hold([self.names[i] for i in stay])
        return self

    def _hold(self, names: list[str]) -> None:
        """These members of the pool alone: those that are there as they are, others anew."""
        there, made = dict(zip(self.names, self.members, strict=True)), next(self.members.parameters())
        fresh = {"device": made.device, "dtype": made.dtype}
        self.members = nn.ModuleList(there[n] if n in there else self._make(basis=n, **{**self.pool[n], **fresh}) for n in names)
        self.names = names
        whole = len(names) == len(self.pool)
        self.kept = None if whole else torch.tensor([n in names for n in self.pool], device=made.device)

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        """A state after :meth:`keep` brings which members there are, one from before it all of them."""
        kept = state.get(prefix + "kept")
        stay = list(self.pool) if kept is None else [n for n, there in zip(self.pool, kept.tolist(), strict=False) if there]
        if kept is not None and (len(kept) != len(self.pool) or not stay):
            rest[-1].append(f"kept is for a pool of {len(kept)} bases; this layer has {len(self.pool)}: {', '.join(self.pool)}")
            return
        if stay != self.names:
            self._hold(stay)
            self.selector = self._even()
        super()._load_from_state_dict(state, prefix, *rest)

    def extra_repr(self) -> str:
        return f"pool={self.names}"
