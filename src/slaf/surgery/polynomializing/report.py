"""What ``polynomialize`` says of its work."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from slaf.surgery.site import aligned

__all__ = ["PolynomialReport", "PolynomialSite", "Quality"]


@dataclass(frozen=True)
class PolynomialSite:
    """One activation that became a polynomial.

    Attributes:
        name, before: the site, and what it was.
        degree, depth: of the polynomial, and the levels that evaluating it alone takes, ⌈log2(degree + 1)⌉.
        seen: the least and the largest input on the data, in the result.
        interval: the range [-R, R] that the polynomial is made for.
        outside_share: the share of the inputs on the test data beyond it.
        fit_error: root mean square of polynomial - old function on the measured inputs before any training, relative to the old one's
            standard deviation.
    """

    name: str
    before: str
    degree: int
    depth: int
    seen: tuple[float, float]
    interval: tuple[float, float]
    outside_share: float
    fit_error: float


@dataclass(frozen=True)
class Quality:
    """On the test data: the loss, and where targets are classes the share that is right."""

    loss: float
    accuracy: float | None

    def __str__(self) -> str:
        return f"loss {self.loss:.4g}" + ("" if self.accuracy is None else f", accuracy {self.accuracy:.2%}")


@dataclass(frozen=True)
class PolynomialReport:
    """What became of a model.

    Attributes:
        sites: the activations, in the order of the data.
        pools: what became average pooling, by name.
        depth: of the network, as :func:`slaf.surgery.multiplicative_depth` and encrypted inference count it: less than the sum over layers
            where linear layers take the factors of what lies beside them.
        original, replaced, trained: the given model, the fitted polynomials before training, and the result.
        held_out: whether the test data are other data than those trained on.
        unfolded: the batch norms that stay beside the layers as fixed scales, with the reason.
    """

    sites: tuple[PolynomialSite, ...]
    pools: tuple[str, ...]
    depth: int
    original: Quality
    replaced: Quality
    trained: Quality
    held_out: bool
    unfolded: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def __str__(self) -> str:
        """A table at most 120 columns wide, and the network's numbers."""
        rows: list[tuple[str, ...]] = [("site", "before", "degree", "depth", "inputs", "made for", "outside", "fit error")]
        for s in self.sites:
            seen, made = (f"[{low:.3g}, {high:.3g}]" for low, high in (s.seen, s.interval))
            rows.append((s.name, s.before, str(s.degree), str(s.depth), seen, made, f"{s.outside_share:.2%}", f"{s.fit_error:.2e}"))
        where = "held-out data" if self.held_out else "the training data itself (valid= gives a fair number)"
        lines = aligned(rows, left=(0, 1))
        lines.append(f"multiplicative depth {self.depth}; on {where}:")
        lines += [f"  {name}: {quality}" for name, quality in self._stages()]
        lines += [f"average pooling instead of {pool}" for pool in self.pools]
        return "\n".join([*lines, *(f"not folded: {path}, {reason}" for path, reason in self.unfolded.items())])

    def _stages(self) -> list[tuple[str, Quality]]:
        return [("original", self.original), ("replaced", self.replaced), ("trained", self.trained)]
