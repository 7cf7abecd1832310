"""``wrap``: somebody else's function or module as an ``Activation``, with everything that is derived generically."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from .activation import Activation
from .errors import SlafError
from .facts import Facts

__all__ = ["Wrapped", "wrap"]


class Wrapped(Activation):
    """A function of a tensor, elementwise, as an activation. Made by :func:`wrap`."""

    name = "wrapped"

    def __init__(self, function: Callable[[Tensor], Tensor], facts: Facts) -> None:
        super().__init__()
        self.function = function
        self.facts = facts

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)

    def reset_parameters(self) -> None:
        reset = getattr(self.function, "reset_parameters", None)
        if callable(reset):
            reset()

    def __repr__(self) -> str:
        return f"wrap({self.facts.name})"


def wrap(function: Callable[[Tensor], Tensor], facts: Facts | None = None) -> Activation:
    """``function`` as an activation: derivatives, integrals, moments, plots, fits; bounds where ``facts`` claim a formula.

    Args:
        function: a function of one tensor such as ``torch.sin``, an ``nn.Module`` or a lambda; elementwise. An ``Activation`` is returned
            as it is.
        facts: claims of your own, which :func:`slaf.testing.check_activation` checks. Without them nothing is claimed.

    Raises:
        SlafError: ``function`` cannot be called.

    Example:
        >>> slaf.wrap(torch.sin).derivative(torch.zeros(1))
        tensor([1.])
    """
    if isinstance(function, Activation):
        return function
    if not callable(function):
        raise SlafError(f"wrap needs a function of one tensor; got {type(function).__name__}")
    name: Any = getattr(function, "__name__", None) or type(function).__name__
    return Wrapped(function, Facts(str(name)) if facts is None else replace(facts, name=facts.name or str(name)))
