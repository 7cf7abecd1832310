"""How far the outputs of a changed model are from those of the original."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from slaf.core import SlafError
from slaf.core.errors import blame

from .watching.observe import batches, call, untouched

__all__ = ["Drift", "OutputDrift", "drift", "drift_of", "run", "tensors_of"]


@dataclass(frozen=True)
class OutputDrift:
    """One output tensor.

    Attributes:
        name: its place in the output: ``"logits"``, ``"0.hidden"``; ``"output"`` where there is only one tensor.
        relative: ‖y' - y‖/‖y - mean‖, the mean over the samples (dimension 0), or over all elements if there is only one sample.
            0 where both are equal; infinite where y does not vary but y' differs.
        max_abs: max |y' - y|.
        size: max |y|.
        agreement: how often the largest entry along the last dimension is the same one, if that has two entries or more; else None.
    """

    name: str
    relative: float
    max_abs: float
    size: float
    agreement: float | None


@dataclass(frozen=True)
class Drift:
    """The drift of every output tensor; the worst of them as ``relative``, ``max_abs``, ``size`` and ``agreement``."""

    outputs: tuple[OutputDrift, ...]

    @property
    def relative(self) -> float:
        """The largest relative drift."""
        return _worst(o.relative for o in self.outputs)

    @property
    def max_abs(self) -> float:
        """The largest difference anywhere."""
        return _worst(o.max_abs for o in self.outputs)

    @property
    def size(self) -> float:
        """The largest entry of the reference outputs."""
        return max(o.size for o in self.outputs)

    @property
    def agreement(self) -> float | None:
        """The lowest agreement of any output."""
        return min((o.agreement for o in self.outputs if o.agreement is not None), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"outputs": [dataclasses.asdict(o) for o in self.outputs]}

    def __str__(self) -> str:
        return "; ".join(
            f"{o.name}: relative {o.relative:.2e}, largest {o.max_abs:.2e}" + ("" if o.agreement is None else f", top-1 {o.agreement:.2%}")
            for o in self.outputs
        )


def drift(original: nn.Module, changed: nn.Module, example: Any) -> Drift:
    """Run both models on ``example`` in evaluation mode and compare every floating tensor in their outputs.

    Args:
        original: the reference.
        changed: a model with outputs of the same places and shapes.
        example: a tensor, a tuple of arguments, a dict of keyword arguments, or a list of those: several batches, taken together.

    Nested outputs (dicts, tuples, dataclasses) are compared tensor by tensor. Both models are left as they were, also after an error.

    Raises:
        SlafError: a model fails; outputs that do not fit each other, or hold no floating tensor.
    """
    given = batches(example)
    with untouched(original):
        before = [run(original, batch) for batch in given]
    with untouched(changed):
        after = [run(changed, batch) for batch in given]
    return drift_of(before, after)


def run(model: nn.Module, batch: Any) -> Any:
    """The output for one batch, of whose tensors the model gets copies, which it may overwrite.

    Raises:
        SlafError: the model fails on it.
    """
    own = tree_map(lambda v: v.detach().clone() if isinstance(v, Tensor) else v, dict(batch) if isinstance(batch, Mapping) else batch)
    try:
        return call(model, own)
    except SlafError:
        raise
    except Exception as problem:
        raise SlafError(f"{type(model).__name__} fails on the example: {blame(problem)}") from problem


def drift_of(before: Any, after: Any) -> Drift:
    """The drift of outputs: of one output, or of a list with one output for every batch."""
    sides = [[tensors_of(output) for output in (side if isinstance(side, list) else [side])] for side in (before, after)]
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {}
    if len(sides[0]) != len(sides[1]):
        raise SlafError(f"the models gave {len(sides[0])} and {len(sides[1])} outputs, which cannot be compared")
    for one, other in zip(*sides, strict=True):
        if one.keys() != other.keys():
            raise SlafError(
                f"the models gave outputs {', '.join(one) or 'none'} and {', '.join(other) or 'none'}, which cannot be compared"
            )
        for name, y in one.items():
            if y.shape != other[name].shape:
                raise SlafError(f"{name} has shape {tuple(y.shape)} in one model and {tuple(other[name].shape)} in the other")
            if y.is_floating_point():
                pairs.setdefault(name, []).append((y, other[name]))
    if not pairs:
        raise SlafError("the models' outputs hold no floating tensor to compare")
    return Drift(tuple(_compared(name, _joined([a for a, _ in p]), _joined([b for _, b in p])) for name, p in pairs.items()))


def _joined(tensors: list[Tensor]) -> list[Tensor]:
    """All samples in one tensor where the batches' shapes allow it, in float64."""
    wide = [t.detach().cpu().double() for t in tensors]
    return [torch.cat(wide)] if wide[0].dim() and all(t.shape[1:] == wide[0].shape[1:] for t in wide) else wide


def _compared(name: str, before: list[Tensor], after: list[Tensor]) -> OutputDrift:
    differences = [b - a for a, b in zip(before, after, strict=True)]
    error = sum(float(d.square().sum()) for d in differences)
    spread = sum(float((y - (y.mean(0) if y.dim() and len(y) > 1 else y.mean())).square().sum()) for y in before if y.numel())
    ranked = [(y.argmax(-1), z.argmax(-1)) for y, z in zip(before, after, strict=True) if y.dim() and y.shape[-1] >= 2 and y.numel()]
    count = sum(a.numel() for a, _ in ranked)
    return OutputDrift(
        name,
        (error / spread) ** 0.5 if spread else (0.0 if error == 0 else float("nan") if error != error else float("inf")),
        _worst(float(d.abs().max()) for d in differences if d.numel()),
        max((float(y.abs().max()) for y in before if y.numel()), default=0.0),
        sum(int((a == b).sum()) for a, b in ranked) / count if count else None,
    )


def _worst(values: Iterable[float]) -> float:
    """The largest; NaN where one is, whatever the order. 0 of none."""
    return max(values, key=lambda v: (math.isnan(v), v), default=0.0)


def tensors_of(output: Any, name: str = "") -> dict[str, Tensor]:
    """The tensors in a nested output by their place: ``"logits"``, ``"0.hidden"``; a bare tensor is ``"output"``."""
    if isinstance(output, Tensor):
        return {name or "output": output}
    items: Any = ()
    if isinstance(output, Mapping):
        items = output.items()
    elif isinstance(output, (list, tuple)):
        fields = getattr(output, "_fields", None)
        items = zip(fields, output, strict=True) if fields else enumerate(output)
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        items = ((f.name, getattr(output, f.name)) for f in dataclasses.fields(output))
    out: dict[str, Tensor] = {}
    for key, value in items:
        out |= tensors_of(value, f"{name}.{key}" if name else str(key))
    return out
