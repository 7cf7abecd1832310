"""The data that ``polynomialize`` trains on: tensors, or everything that a loader gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slaf.core import SlafError
from slaf.core.errors import blame
from slaf.surgery.watching.observe import untouched
from slaf.train import rows_at_once

from .report import Quality

__all__ = ["Data", "Loss", "device_of", "loss_for", "quality", "rows_of", "tensors"]

Data = tuple[Tensor, Tensor] | Iterable[Any]
Loss = Callable[[Tensor, Tensor], Tensor]


def tensors(name: str, data: Data) -> tuple[Tensor, Tensor]:
    """Inputs and targets as two tensors.

    Raises:
        SlafError: there is nothing in it, or something else than pairs of tensors with equally many rows.
    """
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(t, Tensor) for t in data):
        pair = (data[0], data[1])
    elif isinstance(data, Iterable) and not isinstance(data, Tensor):
        batches = list(data)
        if not batches:
            raise SlafError(f"{name} is empty: the loader gives no batch")
        odd = next(
            (b for b in batches if not (isinstance(b, (tuple, list)) and len(b) == 2 and all(isinstance(t, Tensor) for t in b))), None
        )
        if odd is not None:
            raise SlafError(f"{name}: every batch of a loader must be a pair of tensors (inputs, targets); got {type(odd).__name__}")
        pair = (torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches]))
    else:
        raise SlafError(f"{name} must be a pair of tensors (inputs, targets) or a loader of such pairs; got {type(data).__name__}")
    x, y = pair
    if x.dim() == 0 or y.dim() == 0 or len(x) != len(y):
        raise SlafError(f"{name}: inputs of shape {tuple(x.shape)} and targets of shape {tuple(y.shape)} must have equally many rows")
    if not len(x):
        raise SlafError(f"{name} is empty: inputs have shape {tuple(x.shape)}")
    return x, y


def loss_for(targets: Tensor) -> Loss:
    """Cross entropy where the targets are classes, else the mean squared error."""
    return F.mse_loss if targets.is_floating_point() else F.cross_entropy


def device_of(model: nn.Module) -> torch.device:
    """Where the model's tensors are."""
    return next((t.device for t in (*model.parameters(), *model.buffers())), torch.device("cpu"))


def rows_of(model: nn.Module, x: Tensor) -> Tensor:
    """The model's outputs in evaluation mode.

    Raises:
        SlafError: the model fails, or its output is no tensor.
    """
    device = device_of(model)
    with untouched(model):
        try:
            parts = [model(part.to(device)) for part in x.split(rows_at_once(x))]
        except SlafError:
            raise
        except Exception as problem:
            raise SlafError(f"the model fails on the data: {blame(problem)}") from problem
    if not all(isinstance(part, Tensor) for part in parts):
        raise SlafError(f"the model must return one tensor; it returns {type(parts[0]).__name__}")
    return torch.cat(parts).cpu()


def quality(model: nn.Module, data: tuple[Tensor, Tensor], loss: Loss) -> Quality:
    """Loss and, of logits (n, classes) and classes (n,), accuracy."""
    output, y = rows_of(model, data[0]), data[1].cpu()
    classes = not y.is_floating_point() and output.dim() == y.dim() + 1
    right = float((output.argmax(1) == y).double().mean()) if classes else None
    try:
        return Quality(float(loss(output, y)), right)
    except Exception as problem:
        raise SlafError(f"the loss fails on the data: {blame(problem)}") from problem
