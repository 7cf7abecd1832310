"""What is fitted: an activation string, a module or a function, as one function of float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import Activation, Elementwise, SlafError, Spec, make
from slaf.core.sharing import check_site

__all__ = ["Function", "Target", "as_activation", "as_function"]

Function = Callable[[Tensor], Tensor]
Target = Any
"""An activation string or ``Spec``, an ``nn.Module``, or a function of one tensor."""


def as_activation(target: Target) -> Activation:
    """A copy of an activation in evaluation mode and float64, so that the caller's stays as it is.

    Raises:
        SlafError: it is no scalar activation.
    """
    module = make(target) if isinstance(target, (str, Spec)) else target
    if not isinstance(module, Activation):
        raise SlafError(f"activation must be an activation string or an Activation; got {type(module).__name__}")
    return copy.deepcopy(module).double().eval()


def as_function(target: Target, site: int | None = None) -> Function:
    """(n,) → (n,) in float64; ``site`` chooses the channel or unit where a module has several functions.

    Raises:
        SlafError: the target is none, has several functions and no ``site`` was given, or its output has another shape.
    """
    if isinstance(target, (str, Spec, Activation)):
        return curve(as_activation(target), site)
    if isinstance(target, nn.Module):
        return _checked(copy.deepcopy(target).double().eval())
    if not callable(target):
        raise SlafError(f"target must be an activation string, a module or a function of one tensor; got {type(target).__name__}")
    return _checked(target)


def _checked(function: Function) -> Function:
    def evaluate(x: Tensor) -> Tensor:
        with torch.no_grad():
            y = function(x)
        if not isinstance(y, Tensor) or y.shape != x.shape:
            got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise SlafError(f"target must map {tuple(x.shape)} to {tuple(x.shape)}, elementwise; got {got}")
        return y.to(torch.float64)

    return evaluate


def of_site(module: Activation, site: int | None) -> tuple[Activation, int | None]:
    """A module of one function where that is easily had, which is evaluated faster and whose facts are those of the site."""
    if site is None or not isinstance(module, Elementwise) or module.sharing is None:
        return module, site
    return module.alone(site), None


def curve(module: Activation, site: int | None) -> Function:
    """The function of one channel or unit of a module in float64."""

    def evaluate(x: Tensor) -> Tensor:
        values = module.curves(x)
        if site is None and values.shape[1] > 1:
            raise SlafError(f"{module.name} has {values.shape[1]} different functions; choose one with site=0 … {values.shape[1] - 1}")
        return values[:, 0 if site is None else check_site(site, values.shape[1])].to(torch.float64)

    return evaluate


def kinks_of(target: Target) -> tuple[float, ...]:
    """The kinks that an activation claims; none for anything else."""
    module = make(target) if isinstance(target, (str, Spec)) else target
    facts = getattr(module, "facts", None)
    return tuple(float(k) for k in getattr(facts, "kinks", None) or ())
