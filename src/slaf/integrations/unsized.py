"""Activations where a library asks for one without saying how many channels there are."""

from __future__ import annotations

from typing import Any

from torch import nn

from slaf.core import SlafError, make

__all__ = ["make_without_sizes"]


def make_without_sizes(string: str, asker: str, **context: Any) -> nn.Module:
    """``slaf.make(string)`` with one set of parameters per layer, unless the string or ``context`` says more.

    Raises:
        SlafError: as ``slaf.make``; if sizes are missing it says that ``asker`` does not tell them, and what to do.
    """
    try:
        return make(string, share="layer", **context)
    except SlafError as error:
        if "num_channels" not in str(error) and "num_features" not in str(error):
            raise
        advice = "use an activation with share=layer, or put it in with slaf.swap"
        raise SlafError(f"{error}; {asker} does not tell sizes: {advice}") from None
