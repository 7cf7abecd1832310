"""The items of a data set, one by one, as arrays: those of torch, torchvision and Hugging Face have a length and indices in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from slaf.core import SlafError

__all__ = ["is_dataset", "items_of"]

_INPUT, _LABEL = ("image", "img", "pixel_values", "x"), ("label", "labels", "y")


def is_dataset(found: Any) -> bool:
    """Whether ``found`` has a length and items, and is not an array, a list or a mapping itself."""
    if isinstance(found, (Tensor, np.ndarray, list, tuple, str, bytes, Mapping)):
        return False
    return (
        hasattr(found, "__len__") and hasattr(found, "__getitem__") and (hasattr(found, "column_names") or not hasattr(found, "__array__"))
    )


def items_of(text: str, found: Any) -> tuple[np.ndarray, list[Any]]:
    """Inputs, stacked, and labels of all items of the data set ``found``; images of Pillow get their channels first.

    Raises:
        SlafError: no items, an item that cannot be fetched, has another form or another shape.
    """
    try:
        total = len(found)
    except Exception as error:
        raise SlafError(f"{text} returned a data set whose length is unknown: {type(error).__name__}: {error}") from None
    if not total:
        raise SlafError(f"{text} returned a data set without items")
    stacked, labels = np.empty(0), []
    for i in range(total):
        try:
            item = found[i]
        except Exception as error:
            raise SlafError(f"{text}: item {i} cannot be fetched: {type(error).__name__}: {' '.join(str(error).split())[:200]}") from None
        value, label = _taken(text, i, item)
        values = _as_array(text, i, value)
        if not i:
            stacked = np.empty((total, *values.shape), values.dtype)
        if values.shape != stacked.shape[1:]:
            raise SlafError(f"{text}: inputs must have one shape; item 0 has {stacked.shape[1:]}, item {i} has {values.shape}")
        if values.dtype != stacked.dtype:
            stacked = stacked.astype(np.result_type(stacked, values))
        stacked[i] = values
        labels.append(label.item() if isinstance(label, (Tensor, np.ndarray, np.generic)) and np.size(label) == 1 else label)
    return stacked, labels


def _taken(text: str, i: int, item: Any) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        names = [next((name for name in allowed if name in item), None) for allowed in (_INPUT, _LABEL)]
        if None in names:
            what, allowed = ("an input", _INPUT) if names[0] is None else ("a label", _LABEL)
            raise SlafError(f"{text}: item {i} needs {what} named {', '.join(allowed)}; it has {', '.join(map(str, item))}")
        return item[names[0]], item[names[1]]
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return item[0], item[1]
    raise SlafError(f"{text}: item {i} must be (input, label) or a dict; it is a {type(item).__name__}")


def _as_array(text: str, i: int, value: Any) -> np.ndarray:
    if hasattr(value, "convert") and hasattr(value, "mode"):  # an image of Pillow, which need not be imported for this
        grey = value.mode in ("1", "L")
        values = np.asarray(value.convert("L" if grey else "RGB"))
        return values[None] if grey else np.moveaxis(values, -1, 0)
    try:
        values = np.asarray(value.detach().cpu().numpy() if isinstance(value, Tensor) else value)
    except Exception as error:
        raise SlafError(f"{text}: the input of item {i} cannot be made an array: {' '.join(str(error).split())[:200]}") from None
    if values.dtype.kind not in "buif":
        raise SlafError(f"{text}: the input of item {i} must hold numbers; it is a {type(value).__name__}")
    return values
