"""Named activations as a basis: an edge is a weighted sum of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from slaf.bases import Basis
from slaf.bases import basis as find_basis
from slaf.bases.base import check_order
from slaf.core import Activation, SlafError, Spec, make, parse

__all__ = ["NamedBasis", "as_basis"]

MIXTURE = "mixture"


@dataclass(frozen=True, repr=False)
class NamedBasis(Basis):
    """φ_k = the k-th of ``names``, elementwise activations without parameters: ``mixture(relu, sin, tanh)``.

    They are taken as they are on the whole line, beyond the domain too.

    Raises:
        SlafError: a member that is not elementwise or has something to learn.
    """

    names: tuple[str, ...] = ()

    name = MIXTURE

    def __post_init__(self) -> None:
        if not self.names:
            raise SlafError("basis mixture(…) needs one activation or more; got none")
        self.members()

    def members(self) -> list[Activation]:
        """The activations."""
        return [_member(name) for name in self.names]

    def check_terms(self, count: object) -> int:
        if count != len(self.names):
            raise SlafError(f"terms of basis {self} must be {len(self.names)}, one for each activation; got {count!r}")
        return len(self.names)

    def spec(self) -> Spec:
        return Spec(self.name, tuple(parse(n) for n in self.names))

    def derivative(self, u: Tensor, count: int, order: int = 1) -> Tensor:  # noqa: ARG002 - one term for each name
        order = check_order(order)
        return torch.stack([m.derivative(u, order) if order else m(u) for m in self.members()], -1)

    def antiderivative(self, u: Tensor, count: int) -> Tensor:  # noqa: ARG002
        return torch.stack([m.antiderivative(u) for m in self.members()], -1)

    def combine(self, u: Tensor, coefficients: Tensor, count: int) -> Tensor:  # noqa: ARG002
        return sum((c * m(u) for c, m in zip(coefficients.unbind(0), self.members(), strict=True)), torch.zeros_like(u))

    def expressions(self, x: Any, count: int) -> list[Any]:  # noqa: ARG002
        import sympy

        return [m.expression().subs(sympy.Symbol("x"), x) for m in self.members()]


@lru_cache(maxsize=256)
def _member(name: str) -> Activation:
    module = make(name)
    if not isinstance(module, Activation) or any(True for _ in module.parameters()):
        raise SlafError(f"activations of a basis must be elementwise and without parameters; {name} is not")
    return module.eval()


def as_basis(given: str | Spec | Basis | Sequence[str | Spec]) -> Basis:
    """The basis of a specification, ``mixture(relu, tanh)`` and sequences of activation names among them."""
    if not isinstance(given, (str, Spec, Basis)):
        return NamedBasis(tuple(str(parse(n) if isinstance(n, str) else n) for n in given))
    if isinstance(given, str) and given.strip().startswith(MIXTURE):
        given = parse(given)
    if isinstance(given, Spec) and given.name == MIXTURE:
        if given.kwargs:
            raise SlafError(f"basis mixture(…) takes names of activations alone; got {given}")
        return NamedBasis(tuple(str(a) for a in given.args))
    return find_basis(given)
