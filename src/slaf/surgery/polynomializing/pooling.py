"""Max pooling becomes average pooling of the same geometry, whether a module does it or a call of ``F.max_pool2d``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from slaf.core import SlafError
from slaf.surgery.drift import run
from slaf.surgery.edits import Edits, paths
from slaf.surgery.replacements import Replacement, install
from slaf.surgery.rewriting.places import Place, locate
from slaf.surgery.watching.observe import untouched
from slaf.surgery.watching.watch import _frames

__all__ = ["average_pools"]

_AVERAGE = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_MODULES = {nn.MaxPool1d: 1, nn.MaxPool2d: 2, nn.MaxPool3d: 3}
_ADAPTIVE = {
    nn.AdaptiveMaxPool1d: nn.AdaptiveAvgPool1d,
    nn.AdaptiveMaxPool2d: nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool3d: nn.AdaptiveAvgPool3d,
}
_CALLS = {f"max_pool{dims}d": dims for dims in _AVERAGE}
_ARGUMENTS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")


def average_pools(model: nn.Module, example: Any) -> tuple[str, ...]:
    """Change ``model``: the mean of each window in place of its maximum; at the border, of what lies inside. Names what was changed.

    Raises:
        SlafError: a pooling with dilation, or whose indices are used: no average pooling is like it; or a call that cannot be rerouted.
    """
    known = paths(model)
    new = {m: _average(m, names[0]) for m, names in known.items() if type(m) in _MODULES or type(m) in _ADAPTIVE}
    if model in new:
        raise SlafError(f"model is itself a pooling ({type(model).__name__}); there is nothing to make polynomial")
    named = [f"{known[m][0]} ({type(m).__name__})" for m in new]
    Edits().replace(model, new)
    calls = _Calls(model)
    with untouched(model):
        calls.watch(example)
    replacements = []
    for number, ((owner, place), pool) in enumerate(calls.found.items(), 1):
        if place.problem is not None:
            raise SlafError(f"{place.text!r} ({place.file}, line {place.line}) cannot become average pooling: {place.problem}")
        replacements.append((Replacement((known[owner][0],), (repr(pool),), place, f"average_pool_{number}"), [pool]))
        named.append(f"{known[owner][0]}:{place.text}".lstrip(":"))
    install(model, replacements)
    return tuple(named)


def _average(module: Any, name: str) -> nn.Module:
    if type(module) in _ADAPTIVE:
        if module.return_indices:
            raise SlafError(f"{name} ({type(module).__name__}) gives the maxima's indices, which an average has not")
        new: nn.Module = _ADAPTIVE[type(module)](module.output_size)
    else:
        new = _pool(f"{name} ({type(module).__name__})", _MODULES[type(module)], {n: getattr(module, n) for n in _ARGUMENTS})
    return new.train(module.training)


def _pool(name: str, dims: int, given: Mapping[str, Any]) -> nn.Module:
    dilation = given.get("dilation", 1)
    if given.get("return_indices"):
        raise SlafError(f"{name} gives the maxima's indices, which an average has not")
    if any(d != 1 for d in ([dilation] if isinstance(dilation, int) else dilation)):
        raise SlafError(f"{name} has dilation {dilation}, which average pooling has not")
    stride = given.get("stride")
    stride = None if stride in ((), []) else stride
    return _AVERAGE[dims](given["kernel_size"], stride, given.get("padding", 0), given.get("ceil_mode", False), count_include_pad=False)


class _Calls(TorchFunctionMode):
    """Runs a model and notes its own calls of max pooling functions, with where they are written."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.at_work: list[nn.Module] = []
        self.found: dict[tuple[nn.Module, Place], nn.Module] = {}

    def watch(self, example: Any) -> None:
        """One forward."""
        with ExitStack() as stack:
            for module in self.model.modules():
                for handle in (
                    module.register_forward_pre_hook(lambda m, _: self.at_work.append(m)),
                    module.register_forward_hook(lambda *_: (self.at_work.pop(), None)[1], always_call=True),
                ):
                    stack.callback(handle.remove)
            stack.enter_context(self)
            run(self.model, example)

    def __torch_function__(self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        name = getattr(function, "__name__", "").removesuffix("_with_indices")
        if name in _CALLS and self.at_work:
            owner = self.at_work[-1]
            frames, _ = _frames(sys._getframe(1), owner)
            place = locate(frames, owner)
            given = dict(zip(_ARGUMENTS, args[1:], strict=False)) | {k: v for k, v in (kwargs or {}).items() if k in _ARGUMENTS}
            pool = _pool(f"{place.text!r}", _CALLS[name], given)
            if repr(self.found.setdefault((owner, place), pool)) != repr(pool):
                raise SlafError(f"{place.text!r} is called with several sizes, which no one average pooling has")
        return function(*args, **(kwargs or {}))
