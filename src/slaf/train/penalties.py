"""Penalties as small callables over a model. L2 is ½Σa², as TensorFlow's ``l2_loss`` in the SLAF paper's code: the ½ is kept explicit.

Over a model whose activations have no trainable coefficients, a penalty on them is 0, so that one recipe serves learned and fixed ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slaf.core import Sharing, SlafError

from .groups import is_activation

__all__ = ["L1", "L2", "DegreeWeighted", "Penalty", "SecondOrderTotalVariation", "Sum", "activation_coefficients"]

Penalty = Callable[[nn.Module], Tensor]


def activation_coefficients(model: nn.Module) -> list[Tensor]:
    """The coefficients a of every activation in ``model``, differentiable; of each θ once, however many channels share it.

    An activation says what they are by ``coefficients``: a tensor (θ, terms), a tuple that starts with it, or a method that returns either;
    its last dimension counts the terms from degree 1 up. Otherwise they are its trainable parameters, a ``bias`` left out.
    """
    found: list[Tensor] = []
    for module in model.modules():
        if not is_activation(module):
            continue
        a = getattr(module, "coefficients", None)
        a = a() if callable(a) else a
        a = a[0] if isinstance(a, tuple) else a
        if isinstance(a, Tensor):
            sharing = getattr(module, "sharing", None)
            repeats = len(a) // sharing.count if isinstance(sharing, Sharing) and a.dim() > 1 else 1
            found += [a[:: max(repeats, 1)]] if a.requires_grad else []
        else:
            found += [p for name, p in module.named_parameters(recurse=False) if p.requires_grad and name != "bias"]
    return list({id(t): t for t in found}.values())


class _Addable:
    def __call__(self, model: nn.Module) -> Tensor:
        raise NotImplementedError

    def __add__(self, other: Penalty) -> Sum:
        return Sum((self, other))


@dataclass(frozen=True)
class Sum(_Addable):
    """The sum of several penalties; ``L1(0.01) + L2(1e-4, layers=("0", "2"))`` makes one."""

    parts: tuple[Penalty, ...]

    def __call__(self, model: nn.Module) -> Tensor:
        return _total([part(model) for part in self.parts])


@dataclass(frozen=True)
class _Norm(_Addable):
    weight: float
    layers: tuple[str, ...] | None = None

    def _tensors(self, model: nn.Module) -> list[Tensor]:
        if self.layers is None:
            return activation_coefficients(model)
        modules = dict(model.named_modules())
        for name in self.layers:
            if not isinstance(getattr(modules.get(name), "weight", None), Tensor):
                raise SlafError(f"penalty names layer {name!r}, which the model does not have or which has no weight")
        return [modules[name].weight for name in self.layers]


class L1(_Norm):
    """weight · Σ|a| over the activations' coefficients, or over the weights of the named ``layers``.

    Raises:
        SlafError: the model has no such layer.
    """

    def __call__(self, model: nn.Module) -> Tensor:
        return self.weight * _total([t.abs().sum() for t in self._tensors(model)])


class L2(_Norm):
    """weight · ½Σa² over the activations' coefficients, or over the weights of the named ``layers``; its gradient is weight · a.

    Raises:
        SlafError: the model has no such layer.
    """

    def __call__(self, model: nn.Module) -> Tensor:
        return self.weight * 0.5 * _total([t.square().sum() for t in self._tensors(model)])


@dataclass(frozen=True)
class DegreeWeighted(_Addable):
    """weight · Σ_i 2^(k−i+1) |a_i|, i = 1..k: the linear term costs 2^k, the one of degree k costs 2 (the paper's CIFAR-10 penalty).

    The last dimension of each coefficient tensor counts the terms. Source: mohit1997/PAF, CIFAR-10, there with weight 2e-4 · 0.1.
    """

    weight: float

    def __call__(self, model: nn.Module) -> Tensor:
        parts = []
        for a in activation_coefficients(model):
            degree = a.shape[-1] if a.dim() else 1
            scale = 2.0 ** torch.arange(degree, 0, -1, dtype=a.dtype, device=a.device)
            parts.append((scale * a.abs()).sum())
        return self.weight * _total(parts)


@dataclass(frozen=True)
class SecondOrderTotalVariation(_Addable):
    """weight · Σ TV²(f) over every θ of every activation that knows it (``piecewise_linear``, ``spline``, ``apl``): fewer bends.

    TV²(f) = ∫|f''|, where a kink counts by the jump of the slope; so this is the L1 norm of the slope jumps of a piecewise linear
    function. A θ that does not train counts nothing.

    Source: Bohra, Campos, Gupta, Aziznejad, Unser (2020), Learning activation functions in deep (spline) neural networks [from memory].
    """

    weight: float

    def __call__(self, model: nn.Module) -> Tensor:
        parts = []
        for module in model.modules():
            variation = getattr(module, "second_order_total_variation", None) if is_activation(module) else None
            value = variation() if callable(variation) else None
            if isinstance(value, Tensor) and value.requires_grad:
                parts.append(value.sum().to(next(module.parameters()).dtype))
        return self.weight * _total(parts)


def _total(parts: list[Tensor]) -> Tensor:
    return sum(parts[1:], parts[0]) if parts else torch.zeros(())
