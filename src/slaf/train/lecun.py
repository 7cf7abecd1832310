"""LeCun normal initialisation of a whole model, which self-normalising networks need."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from slaf.core import SlafError

__all__ = ["lecun_normal_"]

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def lecun_normal_(model: nn.Module, gain: float = 1.0, generator: torch.Generator | None = None) -> nn.Module:
    """Draw the weights of every linear and convolutional layer from N(0, gain²/fan_in) and set their biases to 0, in place.

    With ``gain`` 1 it is what SELU assumes: standard normal inputs then keep mean 0 and variance 1 through any number of layers (dropout,
    if any, must be :class:`torch.nn.AlphaDropout`). For another activation, ``slaf.make(...).gain()`` keeps the second moment.
    Everything else (normalisation layers, activations, embeddings) is left as it is.

    Args:
        model: a module, itself a layer or holding some; their weights may be of any floating dtype.
        gain: standard deviation times √fan_in.
        generator: the source of randomness; torch's own if not given.

    Returns:
        ``model``.

    Raises:
        SlafError: ``gain`` is not a positive number, no such layer is found, or one has no sizes yet (a lazy layer).

    Source: LeCun, Bottou, Orr, Müller (1998), Efficient BackProp [from memory]; Klambauer et al. (2017), arXiv:1706.02515 [from memory].
    """
    if isinstance(gain, bool) or not isinstance(gain, (int, float)) or not 0 < gain < math.inf:
        raise SlafError(f"gain must be a positive number; got {gain!r}")
    layers = [m for m in model.modules() if isinstance(m, LAYERS)]
    if not layers:
        raise SlafError(f"model must hold a linear or convolutional layer; {type(model).__name__} has none")
    for layer in layers:
        if nn.parameter.is_lazy(layer.weight):
            raise SlafError(f"model holds a {type(layer).__name__} whose sizes are not known yet; run it once on an input first")
    with torch.no_grad():
        for layer in layers:
            layer.weight.normal_(0.0, gain / math.sqrt(_fan_in(layer)), generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
    return model


def _fan_in(layer: nn.Module) -> int:
    """How many terms each output sums: for a transposed convolution, with stride 1."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    receptive = math.prod(weight.shape[2:])
    if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        return weight.shape[0] // layer.groups * receptive
    return weight.shape[1] * receptive
