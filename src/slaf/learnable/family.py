"""What the learned families share: a config that makes an equal object, θ by layer, channel, group or unit, and one curve per site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from slaf.core import Activation, Sharing, Spec, activations
from slaf.core.elementwise import spread_over_sites
from slaf.core.sharing import broadcast

__all__ = ["Family"]


class Family(Activation):
    """A function with several learned numbers θ (count, K), shared by layer, channel, group or unit.

    A subclass sets ``name`` and ``defaults`` (its own arguments), calls ``super().__init__`` with what it was given, makes its
    parameters with ``self.sharing.count`` rows, and evaluates with :meth:`per_element`.
    """

    defaults: ClassVar[Mapping[str, Any]]

    def __init__(
        self,
        given: Mapping[str, Any],
        share: str | None = None,
        num_channels: int | None = None,
        groups: int | None = None,
        num_features: int | Sequence[int] | None = None,
        channel_dim: int = 1,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        self.refuse_inplace(inplace)
        self._given = {k: given[k] for k, default in self.defaults.items() if given[k] != default}
        natural = "unit" if num_features is not None else "layer" if num_channels is None else "channel"
        self.sharing = Sharing(share or natural, num_channels, groups, num_features, channel_dim)

    def config(self) -> dict[str, Any]:
        shared = self.sharing.config()
        natural = "unit" if "num_features" in shared else "channel" if "num_channels" in shared else "layer"
        if shared["share"] == natural:
            del shared["share"]
        return {k: str(v) if isinstance(v, Spec) else v for k, v in self._given.items()} | shared

    def spec(self) -> Spec:
        """The activation string; a function given as ``init`` is named, not stored."""
        config = {k: getattr(v, "__name__", "custom") if callable(v) else v for k, v in self.config().items()}
        return Spec(self.name, (), config)

    def per_element(self, theta: Tensor, x: Tensor) -> Tensor:
        """θ (count, K) as (K, …), each of the K broadcasting against ``x``; raises where ``x`` does not fit."""
        rows = self.sharing.per_site(theta)
        shape = self.sharing.shape(x, self.sharing.sites)
        return broadcast(rows, shape if rows.shape[0] > 1 else (1,) * x.dim())

    def of_site(self, theta: Tensor, site: int) -> list[float]:
        """The K numbers that channel or unit ``site`` uses, as float64."""
        rows = self.sharing.per_site(theta).detach().double()
        return rows[site if len(rows) > 1 else 0].tolist()

    def _spread(self, z: Tensor) -> Tensor:
        return z if self.sharing.num_channels is None else spread_over_sites(z, self.sharing)


def register(family: type[Family], aliases: tuple[str, ...] = ()) -> type[Family]:
    """Make a family known under its name."""
    activations.register(family.name, family, aliases)
    return family
