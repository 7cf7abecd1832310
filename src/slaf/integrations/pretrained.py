"""Swapped transformers models through ``save_pretrained`` and ``from_pretrained``: the recipe travels in ``config.json``."""

from __future__ import annotations

from typing import Any

from slaf.core import SlafError
from slaf.surgery import rebuild

__all__ = ["rebuilt"]


def rebuilt(model_class: type) -> Any:
    """``model_class`` whose instances are rebuilt by the recipe in their configuration, if it holds one.

    A model that :func:`slaf.swap` has changed writes its recipe into ``config.json`` when it is saved with ``save_pretrained``; this
    class reads it back: weights and learned activations are loaded by ``from_pretrained`` as usual.

    Args:
        model_class: a subclass of ``transformers.PreTrainedModel``, such as ``BertForSequenceClassification``.

    Raises:
        SlafError: ``model_class`` has no ``from_pretrained``.

    Example:
        >>> slaf.swap(model, {"gelu": "rational(5,4)"}, example=batch).save_pretrained("folder")
        >>> model = rebuilt(BertForSequenceClassification).from_pretrained("folder")
    """
    if not isinstance(model_class, type) or not hasattr(model_class, "from_pretrained"):
        raise SlafError(f"model_class must be a class of transformers with from_pretrained; got {model_class!r}")

    def build(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        model_class.__init__(self, config, *args, **kwargs)  # type: ignore[misc]
        recipe = getattr(config, "slaf_recipe", None)
        if recipe is not None:
            rebuild(self, recipe)

    names = {"__init__": build, "__module__": model_class.__module__, "__qualname__": model_class.__qualname__}
    return type(model_class.__name__, (model_class,), names)
