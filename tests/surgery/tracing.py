"""Places of the calls that a model makes, and the same functions as submodules."""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from slaf.surgery.rewriting.places import locate

_TORCH = str(Path(torch.__file__).parent)
PLAIN = {
    name: getattr(torch, name) if hasattr(torch, name) else getattr(nn.functional, name)
    for name in ("relu", "tanh", "sigmoid", "gelu", "silu", "softplus", "elu")
}


class Function(nn.Module):
    """A torch function with its arguments, as a submodule."""

    def __init__(self, name, **arguments):
        super().__init__()
        self.name, self.arguments = name, arguments

    def forward(self, x):
        return PLAIN[self.name](x, **self.arguments)


class _Watch(TorchFunctionMode):
    def __init__(self, names):
        super().__init__()
        self.names, self.found = names, []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "").split(".")[0]
        if name.strip("_") in self.names and not self._inner():
            place = self._place()
            if place is not None:
                self.found.append((*place, name.rstrip("_")))
        return function(*args, **(kwargs or {}))

    def _inner(self):
        """F.relu calls torch.relu, with the mode off; F.gelu is torch's own."""
        return sys._getframe(2).f_code.co_filename == nn.functional.__file__

    def _place(self):
        frames, frame = [], sys._getframe(2)
        while frame.f_code.co_name != "_call_impl":
            if not frame.f_code.co_filename.startswith(_TORCH):
                frames.append(frame)
            frame = frame.f_back
        owner = frame.f_locals["self"]
        return (owner, locate(frames, owner)) if frames else None


def calls(model, *inputs, names=tuple(PLAIN)):
    """(owner, place, name of the function) of every call, in order."""
    with _Watch(names) as watch:
        model(*inputs)
    return watch.found


def rerouted(model, *inputs, arguments=None):
    """Reroute every call of ``PLAIN`` to a submodule that computes the same."""
    from slaf.surgery.rewriting.rewrite import reroute

    routes = {}
    for owner, place, name in calls(model, *inputs):
        of_owner = routes.setdefault(owner, {})
        if place not in of_owner:
            of_owner[place] = f"{name}_{len(of_owner)}"
            owner.add_module(of_owner[place], Function(name, **(arguments or {})))
    assert routes
    for owner, places in routes.items():
        reroute(owner, places)
    return model
