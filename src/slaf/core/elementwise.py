"""From a bare function with Facts to a module: the short way to write a zoo entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .activation import Activation
from .catalogue import activations
from .errors import SlafError, nearest
from .facts import Facts
from .sharing import Sharing, broadcast, check_site

__all__ = ["Elementwise", "activation"]


class Elementwise(Activation):
    """The module of a function ``f(x, **params)`` with :class:`Facts`; learnable parameters are shared as ``share`` says.

    ``share`` defaults to ``"channel"`` where ``num_channels`` is given and to ``"layer"`` otherwise.

    Raises:
        SlafError: a parameter outside its interval, an unknown one, or ``inplace=True`` for a function that cannot.
    """

    function: Callable[..., Tensor]
    claims: Facts
    can_inplace = False
    kernel: ClassVar[Callable[..., Tensor | None] | None] = None

    def __init__(
        self,
        *,
        num_channels: int | None = None,
        share: str | None = None,
        groups: int | None = None,
        num_features: int | tuple[int, ...] | None = None,
        channel_dim: int = 1,
        inplace: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **params: float,
    ) -> None:
        super().__init__()
        if inplace and not self.can_inplace:
            self.refuse_inplace(inplace)
        self.inplace = bool(inplace)
        self._values = {name: params.pop(name, p.default) for name, p in self.claims.params.items()}
        if params:
            unknown = next(iter(params))
            takes = ", ".join(self.claims.params) or "none"
            raise SlafError(f"{self.name} has no argument {unknown!r}; it takes {takes}{nearest(unknown, self.claims.params)}")
        for name, p in self.claims.params.items():
            if not p.allows(self._values[name]):
                raise SlafError(f"{self.name}: {name} must be a number in {p.interval}; got {self._values[name]!r}")
            if p.below and not self._values[name] < self._values[p.below]:
                got = f"{self._values[name]!r} and {self._values[p.below]!r}"
                raise SlafError(f"{self.name}: {name} must be less than {p.below}; got {got}")
        self.sharing: Sharing | None = None
        learnable = [n for n, p in self.claims.params.items() if p.learnable]
        if learnable:
            share = share or ("unit" if num_features is not None else "layer" if num_channels is None else "channel")
            self.sharing = Sharing(share, num_channels, groups, num_features, channel_dim)
            for name in learnable:
                setattr(self, name, nn.Parameter(torch.empty(self.sharing.count, device=device, dtype=dtype)))
        for name in self._values:
            if name not in learnable:
                setattr(self, name, self._values[name])
        self.reset_parameters()

    def reset_parameters(self) -> None:
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.fill_(self._values[name])

    @property
    def facts(self) -> Facts:  # type: ignore[override]
        """The claims, evaluated at this module's parameters (at their mean value where a learnable one has several)."""
        values = {}
        for name in self.claims.params:
            value = getattr(self, name)
            values[name] = float(value.detach().double().mean()) if isinstance(value, Tensor) else value
        return self.claims.at(**values)

    def config(self) -> dict[str, Any]:
        out: dict[str, Any] = {n: v for n, v in self._values.items() if v != self.claims.params[n].default}
        if self.sharing is not None:
            shared = self.sharing.config()
            natural = "unit" if "num_features" in shared else "channel" if "num_channels" in shared else "layer"
            if shared["share"] == natural:
                del shared["share"]
            out |= shared
        if self.inplace:
            out["inplace"] = True
        return out

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel is not None and (y := self.kernel(x)) is not None:
            return y
        values = self.parameters_at(x)
        if self.inplace:
            values["inplace"] = True
        return type(self).function(x, **values)

    def parameters_at(self, x: Tensor) -> dict[str, Any]:
        values = {}
        for name in self.claims.params:
            value = getattr(self, name)
            if isinstance(value, Tensor) and self.sharing is not None:
                theta = self.sharing.per_site(value)
                value = broadcast(theta, self.sharing.shape(x, theta.shape[0])).to(x.dtype)
            values[name] = value
        return values

    def alone(self, site: int = 0) -> Elementwise:
        """The function of one channel or unit as a module of its own, for input of any shape.

        Raises:
            SlafError: there is no such site.
        """
        check_site(site, 1 if self.sharing is None else self.sharing.sites)
        values: dict[str, Any] = {"inplace": self.inplace, **self._values}
        twin = type(self)(**values)
        for name, value in self.named_parameters():
            rows = value.detach() if self.sharing is None else self.sharing.per_site(value.detach())
            parameter = getattr(twin, name)
            parameter.data = rows[site if len(rows) > 1 else 0].clone().reshape(parameter.shape)
            parameter.requires_grad_(value.requires_grad)
        return twin.train(self.training)

    def expression(self, site: int | None = None) -> Any:
        """f as a sympy expression in ``x``; without ``site``, learnable parameters that differ between channels are symbols."""
        return super().expression() if site is None else super(Elementwise, self.alone(site)).expression()

    def facts_of_each(self) -> list[Facts]:
        learned = {n: p.detach().double().tolist() for n, p in self.named_parameters()}
        fixed = {n: getattr(self, n) for n in self.claims.params if n not in learned}
        rows = zip(*learned.values(), strict=True) if learned else [()]
        return [self.claims.at(**fixed, **dict(zip(learned, row, strict=True))) for row in dict.fromkeys(rows)]

    def _several(self) -> bool:
        return self.sharing is not None and self.sharing.count > 1

    def _spread(self, z: Tensor) -> Tensor:
        if self.sharing is None or self.sharing.num_channels is None:
            return z
        return spread_over_sites(z, self.sharing)


def spread_over_sites(z: Tensor, sharing: Sharing) -> Tensor:
    """Repeat a vector so that every channel or unit of ``sharing`` sees all of it: shape (len(z), …), channels where declared."""
    own = sharing.num_features if sharing.share == "unit" else (sharing.num_channels,)
    before = sharing.channel_dim if sharing.channel_dim >= 0 else 1
    return z.reshape(-1, *(1,) * (before - 1 + len(own))).expand(-1, *(1,) * (before - 1), *own)  # type: ignore[arg-type, misc]


def activation(
    facts: Facts, inplace: bool = False, kernel: Callable[[Elementwise, Tensor], Tensor | None] | None = None
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register ``f(x, **params)`` under ``facts.name``; the function itself stays usable (and is ``slaf.functional.<name>``).

    Args:
        facts: the claims.
        inplace: the function takes ``inplace=`` and can honour it.
        kernel: (module, x) → f(x) by a shorter way, or ``None`` where there is none.

    Example::

        @activation(Facts(name="squared_relu", formula="max(x, 0)**2", range=(0, inf), ...))
        def squared_relu(x):
            return torch.relu(x).square()
    """

    def build(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        class_name = "".join(part.capitalize() for part in facts.name.split("_"))
        module = type(
            class_name,
            (Elementwise,),
            {
                "name": facts.name,
                "claims": facts,
                "function": staticmethod(function),
                "can_inplace": inplace,
                "kernel": kernel,
                "__doc__": function.__doc__,
                "__module__": function.__module__,
                "__reduce_ex__": _reduce,
            },
        )
        activations.register(facts.name, module, facts.aliases)
        return function

    return build


def _reduce(self: Elementwise, _protocol: Any) -> Any:
    # The class lives in the registry, not in a module, so pickle finds it by its registered name.
    return _blank, (self.name,), self.__getstate__()


def _blank(name: str) -> Elementwise:
    return activations[name].__new__(activations[name])  # type: ignore[return-value]
