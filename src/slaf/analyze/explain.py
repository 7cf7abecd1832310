"""``explain``: what a polynomial network too large to expand computes: on a line, in each site, between its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from slaf.surgery.site import aligned

from .exact import Exact, samples
from .interactions import Interactions, interactions_of
from .line import Line, on_line
from .spectrum import SiteSpectrum, spectra_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True)
class Explanation:
    """What :func:`explain` found.

    Attributes:
        degree: the network's total degree in its inputs, that its graph implies.
        line: its outputs between two inputs.
        sites: its polynomials.
        interactions: mixed second derivatives.
    """

    degree: int
    line: Line
    sites: tuple[SiteSpectrum, ...]
    interactions: Interactions

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "degree": self.degree,
            "line": self.line.to_dict(),
            "sites": [site.to_dict() for site in self.sites],
            "interactions": self.interactions.to_dict(),
        }

    def plot(self) -> Figure:
        """One picture of the three."""
        from .figure import picture

        return picture(self)

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("site", "degree", "needed for 1 %", "inputs", "size of the coefficients 1, 2, …")]
        for s in self.sites:
            seen = f"[{s.low.min():.3g}, {s.high.max():.3g}]"
            sizes = " ".join(f"{v:.2g}" for v in s.sizes[1:9]) + " …" * (s.degree > 8)
            rows.append((s.name, str(s.degree), str(s.needed()), seen, sizes))
        line, found = self.line, self.interactions
        pairs = [f"  {a} and {b}: {v:.3g} ± {e:.1g}" for a, b, v, e in found.strongest(3)]
        return "\n".join(
            [
                *aligned(rows, left=(0, 4)),
                f"degree {self.degree}; along the line {line.effective_degree} with more than rounding, error {line.error:.1e}",
                f"interact most, of {len(found.names)} features over {found.count} inputs:",
                *pairs,
            ]
        )


def explain(
    model: nn.Module,
    data: Tensor,
    features: Sequence[int] | None = None,
    patch: int | None = None,
    count: int = 64,
    seed: int = 0,
    max_degree: int = 20_000,
) -> Explanation:
    """What a polynomial network computes, where :func:`slaf.expand` would have too many monomials.

    Exactly, the polynomials in t that its outputs are from ``data[0]`` (t = 0) to ``data[1]`` (t = 1); the Chebyshev series of every
    site on the inputs that it gets; sampled, how strongly pairs of inputs act together.

    Args:
        model: a network that is a polynomial of its input in evaluation, such as :func:`slaf.polynomialize` makes; left as it is.
        data: inputs (n, …), at least two.
        features, patch, count, seed: as in :func:`interactions`.
        max_degree: as in :func:`along_line`.

    Raises:
        SlafError: the model is no polynomial (the operations are named), or an argument that is not allowed.

    Example:
        >>> found = slaf.analyze.explain(network, images)
        >>> print(found)
        >>> found.plot().savefig("network.png")
    """
    x = samples(data, least=2)
    exact = Exact(model, x)
    return Explanation(
        exact.degree,
        on_line(exact, x[0], x[1] - x[0], max_degree=max_degree),
        spectra_of(exact, x),
        interactions_of(exact, x, features, patch, count, seed),
    )
