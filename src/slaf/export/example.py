"""Examples: what a model is called with, how their batch size is changed, and random inputs like them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from slaf.core import SlafError

__all__ = ["Example", "examples"]


@dataclass(frozen=True)
class Example:
    """Positional and keyword arguments of one call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def call(self, model: Callable[..., Any]) -> list[Tensor]:
        """The tensors that ``model`` returns, flattened."""
        with torch.no_grad():
            return [leaf for leaf in pytree.tree_leaves(model(*self.args, **self.kwargs)) if isinstance(leaf, Tensor)]

    def tensors(self) -> list[Tensor]:
        """The tensors in the order in which an exported graph takes them."""
        return [leaf for leaf in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]

    def map(self, change: Callable[[Tensor], Tensor]) -> Example:
        """With every tensor changed."""
        args, kwargs = pytree.tree_map(lambda t: change(t) if isinstance(t, Tensor) else t, (self.args, self.kwargs))
        return Example(args, kwargs)

    @property
    def batch(self) -> int | None:
        """The size of the first dimension of the first tensor; None where there is none."""
        first = next(iter(self.tensors()), None)
        return None if first is None or first.dim() == 0 else first.shape[0]

    def is_batched(self, tensor: Tensor) -> bool:
        """Whether the tensor's first dimension is the batch: as long as the first tensor's."""
        return tensor.dim() > 0 and tensor.shape[0] == self.batch

    def resized(self, batch: int) -> Example:
        """With ``batch`` samples, repeated or cut."""
        return self.map(lambda t: t[torch.arange(batch, device=t.device) % t.shape[0]] if self.is_batched(t) else t)

    def like(self, generator: torch.Generator) -> Example:
        """Random: normal with the mean and standard deviation of each tensor; integers, and floats of few values, drawn from its own."""
        return self.map(lambda t: _like(t, generator))

    def named(self, model: nn.Module) -> tuple[Example, dict[str, Any]]:
        """With keyword arguments in the order of ``forward``, and its values by the parameters' names.

        Raises:
            SlafError: ``forward`` cannot be called so.
        """
        signature = inspect.signature(model.forward)
        try:
            bound = signature.bind(*self.args, **self.kwargs)
        except TypeError as error:
            raise SlafError(f"example does not fit the model's forward{signature}: {error}") from None
        values: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            values |= value if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD else {name: value}
        return Example(self.args, {name: self.kwargs[name] for name in values if name in self.kwargs}), values


def examples(given: Any) -> list[Example]:
    """A tensor, a tuple (positional arguments), a dict (keyword arguments), or a list of those.

    Raises:
        SlafError: it is anything else, or holds no tensor.
    """
    several = list(given) if isinstance(given, list) and given else [given]
    return [_one(each) for each in several]


def _one(given: Any) -> Example:
    if isinstance(given, Tensor):
        out = Example((given,), {})
    elif isinstance(given, Mapping):
        out = Example((), dict(given))
    elif isinstance(given, Sequence) and not isinstance(given, (str, list)):
        out = Example(tuple(given), {})
    else:
        raise SlafError(f"example must be a tensor, a tuple, a dict of keyword arguments or a list of those; got {type(given).__name__}")
    if not out.tensors():
        raise SlafError("example holds no tensor")
    return out.map(lambda t: t.detach().cpu())


def _like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    flat = tensor.reshape(-1)
    if not flat.numel():
        return tensor
    few = not tensor.is_floating_point() or not bool(flat.isfinite().all()) or len(flat.unique()) <= min(2, flat.numel() - 1)
    if few:
        return flat[torch.randint(flat.numel(), (flat.numel(),), generator=generator)].reshape(tensor.shape)
    wide = flat.double()
    spread = float(wide.std()) if flat.numel() > 1 else 0.0
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    return (float(wide.mean()) + (spread or 1.0) * noise).to(tensor.dtype)
