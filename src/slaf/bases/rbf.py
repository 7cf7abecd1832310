"""Gaussian radial basis functions on uniform centres."""

from __future__ import annotations

from dataclasses import dataclass

from .base import check_number, register_basis
from .gaussian import GaussianBasis, Place, uniform_centres

__all__ = ["RBF"]


@register_basis
@dataclass(frozen=True, repr=False)
class RBF(GaussianBasis):
    """φ_k(u) = exp(-(u - c_k)²/(2w²)), c_k uniform from end to end of the domain, w = ``width`` spacings.

    Every term falls to 0 outside: a combination tends to the bias. Condition number of [1, φ] for 11 terms and width 1: below 400
    (uniform density on the domain); it grows fast with the width.

    Args:
        width: in spacings of the centres, 0.1 to 3.
    """

    width: float = 1.0

    name = "rbf"
    examples = ("rbf(width=0.7)",)

    def __post_init__(self) -> None:
        check_number("width of rbf", self.width, 0.1, 3)
        object.__setattr__(self, "width", float(self.width))

    def places(self, count: int) -> list[Place]:
        centres, spacing = uniform_centres(self.domain, count)
        return [(c, self.width * spacing, 1.0) for c in centres]
