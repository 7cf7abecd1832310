"""Gradient clipping that leaves the normalisation layers alone."""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from slaf.core import SlafError

__all__ = ["clip_selectively", "clippable"]


def clippable(model: nn.Module) -> list[nn.Parameter]:
    """The trainable parameters outside the batch (and instance) norms, each once."""
    spared = {id(p) for module in model.modules() if isinstance(module, _NormBase) for p in module.parameters(recurse=False)}
    return [p for p in model.parameters() if p.requires_grad and id(p) not in spared]


def clip_selectively(model: nn.Module, max_norm: float) -> Tensor:
    """Scale the gradients so that their global norm is ``max_norm`` at most, those of batch norms left out of norm and scaling.

    A high-degree polynomial makes gradients of the weights explode. Scale and shift of the normalisations, which hold the polynomials'
    inputs in their range, must go on following the batch statistics meanwhile: they keep their gradients. Call it after ``backward``.

    Returns:
        The norm before clipping, of what is clipped.

    Raises:
        SlafError: ``max_norm`` is not a positive number.

    Source: F. Al Hossain, T. Rahman, A Training Framework for Optimal and Stable Training of Polynomial Neural Networks, arXiv:2505.11589
    [abstract read: "tames gradient magnitudes while preserving essential Batch Normalization statistics"; which parameters is our reading].
    """
    if isinstance(max_norm, bool) or not isinstance(max_norm, Real) or not (math.isfinite(max_norm) and max_norm > 0):
        raise SlafError(f"max_norm must be a positive number; got {max_norm!r}")
    return torch.nn.utils.clip_grad_norm_(clippable(model), float(max_norm))
