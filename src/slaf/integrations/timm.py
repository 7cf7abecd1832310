"""timm: ``act_layer=`` takes a class that is called without sizes; :func:`act_layer` makes one of an activation string."""

from __future__ import annotations

from typing import Any

from torch import nn

from slaf.core import activations, parse

from .unsized import make_without_sizes

__all__ = ["act_layer"]


def act_layer(string: str) -> ActLayer:
    """What timm's ``create_model(…, act_layer=…)`` and its layers take: called as ``act_layer()`` or ``act_layer(inplace=True)``.

    ``inplace=True`` is a permission: it is used where the activation can work in place, and else the result is computed apart, which
    is the same but for memory. ``num_parameters``, which some layers give to PReLU, is the number of channels and counts only where
    the string says ``share=channel``; else there is one set of parameters per layer. ``device`` and ``dtype`` are honoured.

    Args:
        string: an activation such as ``"rational(5,4)"``; :func:`slaf.make` builds it.

    Returns:
        An object that is called like a class and named after the string. It pickles, and two of one string are equal.

    Raises:
        SlafError: ``string`` is no activation; when called: it needs sizes that were not given.

    Example:
        >>> timm.create_model("resnet18", act_layer=slaf.integrations.timm.act_layer("rational(5,4)"))
    """
    return ActLayer(string)


class ActLayer:
    """Made by :func:`act_layer`."""

    def __init__(self, string: str) -> None:
        parsed = parse(string)
        self.string, self.__name__ = str(parsed), str(parsed)
        self._honours = bool(getattr(activations[parsed.name], "can_inplace", False))
        self._sized = parsed.kwargs.get("share", "layer") != "layer"

    def __call__(self, inplace: bool = False, num_parameters: int | None = None, device: Any = None, dtype: Any = None) -> nn.Module:
        place = {"inplace": bool(inplace) and self._honours, "num_channels": num_parameters if self._sized else None}
        return make_without_sizes(self.string, "timm's act_layer", device=device, dtype=dtype, **place)

    def __repr__(self) -> str:
        return f"act_layer({self.string!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActLayer) and other.string == self.string

    def __hash__(self) -> int:
        return hash(self.string)
