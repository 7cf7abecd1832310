"""A batch norm and the activation after it, replaced together by one layer that normalises and activates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import NormActivation, SlafError, activations, make, parse

from .edits import paths
from .fitting.fit_to import Fitted
from .replacements import Replacement, number_format
from .site import Site
from .targets import Slot, Target
from .watching.kinds import is_batch_norm

__all__ = ["NORMS", "Normed", "affine_norms", "joined", "normalizes", "with_norms"]

NORMS = ("keep", "affine")
"""What becomes of the batch norms that no activation follows, where a layer that normalises takes the place of the others."""
_AFFINE = "slaf(degree=1, basis=power, input=identity, share=channel, coefficient_scale=1)"


class Normed:
    """What a batch norm reads and gives while the model runs. Its output itself is NaN for all, so whoever else reads it shows."""

    def __init__(self, path: str, norm: nn.Module) -> None:
        self.path, self.norm, self.calls = path, norm, 0
        self.x = self.result = torch.empty(0)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Listen to the norm."""
        self.calls = 0
        handle = self.norm.register_forward_hook(self._after)
        try:
            yield
        finally:
            handle.remove()

    def _after(self, _: nn.Module, args: tuple[Tensor, ...], result: Tensor) -> Tensor:
        self.x, self.result, self.calls = args[0], result, self.calls + 1
        return torch.full_like(result, math.nan)


def normalizes(spec: str) -> bool:
    """Whether the string is of a layer that normalises and activates."""
    made = activations[parse(spec).name]
    return isinstance(made, type) and issubclass(made, NormActivation)


def with_norms(wanted: Sequence[Target]) -> tuple[list[Target], list[str]]:
    """The targets without those whose new layer normalises but that have no batch norm to take the place of; and why, of those."""
    out, missed = [], []
    for target in wanted:
        reasons = [f"{slot.sites[0].name}: {why}" for slot in target.slots if (why := _unpaired(slot)) is not None]
        missed += reasons
        if not reasons:
            out.append(target)
    return out, missed


def _unpaired(slot: Slot) -> str | None:
    if not normalizes(slot.spec):
        return None
    if len(slot.sites) > 1:
        return f"its {len(slot.sites)} calls have one activation together, and {slot.spec} keeps the statistics of one"
    if not slot.sites[0].norm:
        return f"its input is not the output of a batch norm, so there is no pair that {slot.spec} could take the place of"
    return None


def joined(slot: Slot, model: nn.Module) -> Fitted:
    """The new layer in the place of a batch norm and an activation; it keeps the norm's statistics where it has some. Nothing is fitted."""
    site = slot.sites[0]
    norm: Any = model.get_submodule(site.norm)
    try:
        module: Any = make(slot.spec, num_channels=norm.num_features)
    except SlafError as reason:
        raise SlafError(f"{site.norm} and {site.name} ({site.kind}) cannot become {slot.spec}: {reason}") from None
    module.take_over(norm)
    device, dtype = number_format(model, site.norm) or (None, site.dtype)
    module.to(device=device, dtype=dtype)
    return Fitted(module, str(module.spec()), site.inputs.min, site.inputs.max, "extrapolate", math.nan, math.nan)


def affine_norms(model: nn.Module, sites: Sequence[Site]) -> list[tuple[Replacement, nn.Module]]:
    """The batch norms that no activation follows, each with the scale and shift per channel that is left of it without statistics."""
    followed = {model.get_submodule(site.norm) for site in sites if site.norm}
    out = []
    module: Any
    norm: Any
    for norm, names in paths(model).items():
        if not is_batch_norm(norm) or norm in followed:
            continue
        module = make(_AFFINE, num_channels=norm.num_features)
        with torch.no_grad():
            module.weight.fill_(1) if norm.weight is None else module.weight.copy_(norm.weight[:, None])
            module.bias.zero_() if norm.bias is None else module.bias.copy_(norm.bias)
        form = number_format(model, names[0])
        out.append((Replacement(tuple(names), (str(module.spec()),)), module if form is None else module.to(*form)))
    return out
