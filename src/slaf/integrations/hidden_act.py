"""transformers: ``hidden_act="rational(5,4)"`` in any config."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from slaf.core import Activation, NormActivation, SlafError, make, names

from .unsized import make_without_sizes

__all__ = ["register", "transformers_library"]


def register(*strings: str) -> list[str]:
    """Make activations of slaf available in transformers as ``hidden_act="…"`` and wherever else a config names an activation.

    They go into ``transformers.activations.ACT2FN``, so a config that is saved with such a name loads wherever ``register`` was called
    before. transformers does not say how many channels there are: every activation has one set of parameters per layer. Parameters
    that a checkpoint does not hold start at their initial values, also in ``from_pretrained``.

    Args:
        strings: activation strings such as ``"rational(5,4)"``, spelled as the config will. None: all registered names that
            transformers does not have itself.

    Returns:
        What was added; nothing of transformers' own is replaced.

    Raises:
        SlafError: transformers is not installed, a string is no activation, needs the number of channels, or is transformers' own name.

    Example:
        >>> slaf.integrations.transformers.register("rational(5,4)")
        >>> model = BertModel(BertConfig(hidden_act="rational(5,4)"))
    """
    library = transformers_library()
    known = library.activations.ACT2FN
    for string in strings:
        _Entry(string)()  # its errors come here, not when a model is built
        if string in known and not isinstance(dict.__getitem__(known, string), _Entry):
            raise SlafError(f"{string!r} is transformers' own; to have slaf's write {string + '()'!r}")
    added = list(strings) or [name for name in names() if name not in known]
    for string in added:
        known[string] = _Entry(string)
    _initialize_ours(library.PreTrainedModel)
    return added


class _Entry:
    """What ACT2FN calls to make a module."""

    def __init__(self, string: str) -> None:
        self.string = string

    def __call__(self) -> nn.Module:
        device, dtype = torch.get_default_device(), torch.get_default_dtype()
        with _plain_defaults():
            module = make_without_sizes(self.string, "transformers' hidden_act")
        return module.to(device, dtype)

    def __repr__(self) -> str:
        return f"slaf.make({self.string!r}, share='layer')"


@contextmanager
def _plain_defaults() -> Iterator[None]:
    """float32 on the CPU: from_pretrained builds on the meta device and in the checkpoint's dtype, no place to compute initial values."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)


def _initialize_ours(model_class: Any) -> None:
    """Let transformers, which leaves parameters of modules that it does not know uninitialised, give ours their initial values."""
    theirs = model_class._initialize_weights
    if getattr(theirs, "knows_slaf", False):
        return

    @functools.wraps(theirs)
    def initialize(self: Any, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if isinstance(module, (Activation, NormActivation)) and not getattr(module, "_is_hf_initialized", False):
            _set_missing(module)
        return theirs(self, module, *args, **kwargs)

    initialize.knows_slaf = True  # type: ignore[attr-defined]
    model_class._initialize_weights = initialize


def _set_missing(module: Any) -> None:
    held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    missing = {n: t for n, t in held.items() if not getattr(t, "_is_hf_initialized", False) and t.device.type != "meta"}
    if missing:
        with _plain_defaults(), torch.no_grad():
            initial = make(str(module.spec()))
            values = {**dict(initial.named_parameters()), **dict(initial.named_buffers())}
            for name, tensor in missing.items():
                tensor.copy_(values[name])


def transformers_library() -> Any:
    """transformers, imported; a SlafError that says how to install it if it is not there."""
    try:
        import transformers
        import transformers.activations
    except ImportError as error:
        raise SlafError("slaf.integrations.transformers needs transformers; install it with: pip install transformers") from error
    return transformers
