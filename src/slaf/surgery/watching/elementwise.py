"""Calls as functions of one tensor, out of place, and whether they are elementwise."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import getattr_static
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import SlafError

from .kinds import module_rule

__all__ = ["CalledFunction", "CalledModule", "Held", "held_callables", "is_elementwise", "is_wrapper", "refuse", "same_values", "taken_out"]


class CalledFunction:
    """A torch function as it is called somewhere: its other arguments kept, never in place."""

    def __init__(
        self, function: Callable[..., Any], args: Sequence[Any], keywords: Mapping[str, Any], at: int | str, inplace: bool
    ) -> None:
        self.function, self.at, self.inplace = function, at, inplace
        self.args = [None if i == at else a for i, a in enumerate(args)]
        self.keywords = {k: None if k == at else v for k, v in keywords.items() if k != "out"}
        if "inplace" in self.keywords:
            self.keywords["inplace"] = False

    def mapped(self, change: Callable[[Tensor], Tensor]) -> CalledFunction:
        """The same with its other tensors changed: moved, or detached."""
        twin = copy.copy(self)
        twin.args = [change(a) if isinstance(a, Tensor) else a for a in self.args]
        twin.keywords = {k: change(v) if isinstance(v, Tensor) else v for k, v in self.keywords.items()}
        return twin

    def __call__(self, x: Tensor) -> Tensor:
        args, keywords = list(self.args), dict(self.keywords)
        x = x.clone() if self.inplace else x
        if isinstance(self.at, int):
            args[self.at] = x
        else:
            keywords[self.at] = x
        try:
            result: Tensor = self.function(*args, **keywords)
        except RuntimeError:
            if x.dtype != torch.float64:
                raise
            result = self.function(*(_wide(a) for a in args), **{k: _wide(v) for k, v in keywords.items()})
        return result


def _wide(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


class CalledModule:
    """A module as a function of one tensor: in evaluation mode, without its hooks, never in place; also of float64 in narrower modules.

    ``alone``: on a copy of the module's own attributes, so that what it remembers of its input stays as it is.
    """

    def __init__(self, module: nn.Module, alone: bool = False) -> None:
        self.module, self.alone = module, alone

    def __call__(self, x: Tensor) -> Tensor:
        module = _shallow(self.module) if self.alone else self.module
        try:
            return self._forward(module, x)
        except RuntimeError:
            if x.dtype != torch.float64 or all(t.dtype == x.dtype for t in (*module.parameters(), *module.buffers())):
                raise
            return self._forward(copy.deepcopy(module).double(), x)

    @staticmethod
    def _forward(module: nn.Module, x: Tensor) -> Tensor:
        flags = [(m, m.training) for m in module.modules()]
        try:
            for m, _ in flags:
                m.__dict__["training"] = False
            result: Tensor = module.forward(x.clone())
            return result
        finally:
            for m, training in flags:
                m.__dict__["training"] = training


def _shallow(module: nn.Module) -> nn.Module:
    twin = copy.copy(module)
    twin.__dict__.update({k: copy.copy(v) for k, v in module.__dict__.items() if isinstance(v, (dict, list))})
    return twin


def refuse(x: Tensor) -> Tensor:  # noqa: ARG001
    """The target of a site that is no elementwise function of one tensor."""
    raise SlafError("this site is no elementwise function of one tensor, so it has no target")


def is_elementwise(function: Callable[[Tensor], Tensor]) -> bool:
    """Whether every element of the output depends on its own element of the input alone, whatever the shape: tried on a few numbers."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        x = torch.linspace(-3, 3, 18, dtype=torch.float64)[1:].to(dtype)
        try:
            with torch.no_grad():
                y = function(x.clone())
                others = [function(x.flip(0)).flip(0), function(x[:16].reshape(2, 4, 2, 1)).reshape(-1), function(x[:5].clone())]
        except Exception:
            continue
        if not isinstance(y, Tensor) or y.shape != x.shape:
            return False
        return all(same_values(o, y[: len(o)]) for o in others)
    return False


def same_values(a: Tensor, b: Tensor) -> bool:
    """Equal up to rounding."""
    if not isinstance(a, Tensor) or a.shape != b.shape:
        return False
    tolerance = 64 * torch.finfo(b.dtype).eps if b.is_floating_point() else 0
    return torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance, equal_nan=True)


def taken_out(x: Tensor, count: int) -> Tensor:
    """A vector of ``count`` elements or fewer from all over ``x``; the same places for the same shape."""
    at = torch.linspace(0, x.numel() - 1, min(count, x.numel()), dtype=torch.float64).long()
    return x.detach()[tuple(i.to(x.device) for i in torch.unravel_index(at, x.shape))] if x.dim() else x.detach().reshape(1)


@functools.cache
def _torch_class(kind: type[nn.Module]) -> bool:
    return kind.__module__.split(".")[0] == "torch"


def is_wrapper(module: nn.Module) -> bool:
    """Whether a module can be one activation as a whole: not one of torch's own, and with no children but activations."""
    return type(module).__module__.split(".")[0] != "torch" and all(_small(child) for child in module.children())


def _small(module: nn.Module) -> bool:
    known = module_rule(module)
    if known is not None:
        return known[0].group == "activation"
    return isinstance(module, (nn.Identity, nn.Dropout)) or is_wrapper(module)


@dataclass(frozen=True, eq=False)
class Held:
    """A callable that an attribute holds: itself, the function that a ``partial`` is of, and the code it runs if that is Python."""

    name: str
    value: Any
    function: Any
    code: CodeType | None


def held_callables(module: nn.Module) -> dict[str, Held]:
    """The callables that a module's attributes hold, modules and classes apart, by name."""
    found = {}
    for name, value in module.__dict__.items():
        if callable(value) and not isinstance(value, (nn.Module, type)) and name not in ("forward", "_wrapped_call", "_compiled_call_impl"):
            inner = value
            while isinstance(inner, functools.partial):
                inner = inner.func
            plain = getattr(inner, "__func__", inner)
            code = getattr(plain, "__code__", None) or getattr(getattr_static(type(plain), "__call__", None), "__code__", None)
            found[name] = Held(name, value, inner, code)
    return found
