"""A polynomial network as it is looked at here: frozen, in float64, with the degree that its graph implies."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slaf.core import SlafError
from slaf.surgery.freeze import freeze
from slaf.surgery.polynomializing.data import device_of, rows_of
from slaf.surgery.polynomializing.operations import Flow

__all__ = ["Array", "Exact", "samples"]

Array = NDArray[Any]


class Exact:
    """A copy of ``model`` in evaluation, frozen, in float64; the model is left as it is.

    Args:
        model: maps one tensor (n, …) to one tensor (n, …), each sample by itself.
        example: inputs (n, …).

    Attributes:
        network: the copy.
        degree: the total degree that its graph implies; a leading coefficient may still vanish.

    Raises:
        SlafError: the model is no polynomial of its input: the operations that are not are named.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        if not isinstance(model, nn.Module):
            raise SlafError(f"model must be a torch.nn.Module; got {type(model).__name__}")
        here = example[:2].to(device_of(model))
        wide = here.double()
        self.network: nn.Module = copy.deepcopy(freeze(model, here.to(_dtype_of(model)))).double()
        flow = Flow(self.network, wide)
        if left := flow.left():
            raise SlafError(f"the model is no polynomial of its input: {', '.join(left)}; slaf.polynomialize makes it one")
        self.degree = flow.degree()
        out = rows_of(self.network, wide)
        if out.dtype != torch.float64 or len(out) != len(here):
            raise SlafError(f"the model must give one float64 row a sample in float64; got {tuple(out.shape)} of {out.dtype}")

    def __call__(self, x: Tensor) -> Array:
        """(n, …) → (n, outputs), float64.

        Raises:
            SlafError: a value is not finite.
        """
        y = rows_of(self.network, x.double()).reshape(len(x), -1).numpy()
        if not np.isfinite(y).all():
            raise SlafError("the network's outputs are not finite in float64 there; take inputs nearer to those that it was made for")
        return np.asarray(y)


def _dtype_of(model: nn.Module) -> torch.dtype:
    return next((t.dtype for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()), torch.float32)


def samples(data: Any, least: int = 1) -> Tensor:
    """``data`` as inputs (n, …) in float64.

    Raises:
        SlafError: it is no tensor of numbers of that form, or there are too few.
    """
    if not isinstance(data, Tensor) or data.dim() < 2 or not data.is_floating_point():
        raise SlafError(f"data must be a tensor of inputs (n, …), floating point; got {_form(data)}")
    if len(data) < least:
        raise SlafError(f"data must hold at least {least} input{'s' * (least > 1)}; got {len(data)}")
    if not bool(data.isfinite().all()):
        raise SlafError("data must hold finite numbers")
    return data.detach().double()


def _form(data: Any) -> str:
    return f"shape {tuple(data.shape)} of {data.dtype}" if isinstance(data, Tensor) else type(data).__name__
