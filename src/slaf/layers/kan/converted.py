"""A multilayer perceptron as a Kolmogorov–Arnold network that computes the same, and can learn more."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import Activation, SlafError, make

from .linear import KANLinear

__all__ = ["from_mlp"]


@torch.no_grad()
def from_mlp(model: nn.Sequential, x: Tensor | None = None, activation: str | None = None, **options: Any) -> nn.Sequential:
    """Linear layers with activations between them as KANLinear layers: W f(x) + b is one whose base activation is f, its terms all 0.

    Args:
        model: an ``nn.Sequential`` of ``nn.Linear`` and, between them, activations: of slaf without parameters, or torch's at their
            defaults where slaf has one of that name (``nn.ReLU``, ``nn.SiLU``, …). A first linear layer gets the base ``identity``.
        x: inputs of the model: every layer's intervals become the range of what it gets; without x they are the options' ``interval``.
        activation: the name of all activations between, where the model holds others that compute it.
        options: of :class:`KANLinear`: ``basis``, ``grid``, ``degree``, ``terms``, ``interval``, ``track_range``.

    Returns:
        The network, with the model's dtype and device; it shares no parameters with the model.

    Raises:
        SlafError: a module that is neither, two activations in a row, one at the end, or an option that is not allowed.
    """
    if not isinstance(model, nn.Sequential):
        raise SlafError(f"model must be an nn.Sequential of linear layers and activations; got {type(model).__name__}")
    if taken := {"base", "bias", "init", "device", "dtype", "in_features", "out_features"} & options.keys():
        raise SlafError(f"options cannot hold {min(taken)}, which follows from the model")
    layers: list[KANLinear] = []
    before: str | None = None
    for module in model:
        if isinstance(module, nn.Linear):
            layers.append(_layer(module, before or "identity", options))
            before = None
        elif before is not None:
            raise SlafError(f"model has two activations in a row, {before} and {type(module).__name__}; KANLinear takes one before its sum")
        else:
            before = activation or _name(module)
    if before is not None or not layers:
        raise SlafError(f"model must end with a linear layer; got {[type(m).__name__ for m in model]}")
    z = x
    for layer in layers if z is not None else ():
        layer.refit(z)
        z = layer(z)
    return nn.Sequential(*layers)


def _layer(linear: nn.Linear, base: str, options: dict[str, Any]) -> KANLinear:
    made: dict[str, Any] = {"device": linear.weight.device, "dtype": linear.weight.dtype}
    layer = KANLinear(linear.in_features, linear.out_features, base=base, bias=linear.bias is not None, init="zero", **options, **made)
    assert layer.base_weight is not None
    layer.coefficients.zero_()
    layer.base_weight.copy_(linear.weight.T)
    if layer.bias is not None:
        layer.bias.copy_(linear.bias)
    return layer


def _name(module: nn.Module) -> str:
    """The activation string that computes what a module does."""
    if isinstance(module, Activation) and next(module.parameters(), None) is None:
        return str(module.spec())
    name = type(module).__name__.lower()
    try:
        known = make(name)
    except SlafError:
        known = None
    u = torch.linspace(-5, 5, 101, dtype=torch.float64)
    if known is None or any(True for _ in module.parameters()) or not torch.allclose(known(u), module(u)):
        raise SlafError(f"model holds {type(module).__name__}, which is no linear layer and no activation that slaf knows; say activation=")
    return name
