"""Every basis in every kind of SLAF that takes it: what the contract is run over and the documentation prints."""

from __future__ import annotations

from typing import Any

from slaf.bases import PolynomialBasis, bases, basis
from slaf.core import Spec, parse

__all__ = ["valid_pairs"]

_EVERY: tuple[dict[str, Any], ...] = (
    {},
    {"input": "identity", "share": "layer"},
    {"squash": "tanh", "share": "channel"},
    {"input": "batch", "share": "unit"},
)
# squashed: far outside the domain a steep polynomial turns half an ulp of its input into more than eight of its value
_POLYNOMIAL: tuple[dict[str, Any], ...] = ({"squash": "tanh", "normalize": "batch"},)


def valid_pairs() -> list[str]:
    """Activation strings for every registered basis × every kind of ``slaf``, and for the bases' other parameters at the default kind.

    Each is made with ``num_channels``. Kinds: as it is, without statistics, squashed, by batch statistics; sharing differs too. Terms
    are normalised over polynomial bases alone.
    """
    out = []
    for name in bases.names():
        made = basis(name)
        kinds = (*_EVERY, *_POLYNOMIAL) if isinstance(made, PolynomialBasis) else _EVERY
        out += [str(Spec("slaf", (), {"basis": name, **kind})) for kind in kinds]
        out += [str(Spec("slaf", (), {"basis": parse(example)})) for example in made.examples]
    return out
