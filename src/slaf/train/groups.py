"""Parameter groups: the activations' parameters apart from the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.modules.activation as torch_activations
from torch import nn

from slaf.core import Activation, NormActivation, SlafError

__all__ = ["IsActivation", "activation_parameters", "is_activation", "param_groups"]

IsActivation = type[nn.Module] | tuple[type[nn.Module], ...] | Callable[[nn.Module], bool]


def is_activation(module: nn.Module) -> bool:
    """Whether ``module`` is an activation of slaf or of torch.nn (PReLU, …; not MultiheadAttention, which torch keeps in the same file)."""
    if isinstance(module, (Activation, NormActivation)):
        return True
    return type(module).__module__ == torch_activations.__name__ and not isinstance(module, nn.MultiheadAttention)


def _predicate(extra: IsActivation | None) -> Callable[[nn.Module], bool]:
    if extra is None:
        return is_activation
    if isinstance(extra, (type, tuple)):
        classes = extra if isinstance(extra, tuple) else (extra,)
        if not all(isinstance(c, type) for c in classes):
            raise SlafError(f"is_activation must be a module class, a tuple of them or a function of a module; got {extra!r}")
        return lambda module: is_activation(module) or isinstance(module, classes)
    if not callable(extra):
        raise SlafError(f"is_activation must be a module class, a tuple of them or a function of a module; got {extra!r}")
    return lambda module: is_activation(module) or extra(module)


def activation_parameters(model: nn.Module, is_activation: IsActivation | None = None) -> list[nn.Parameter]:
    """The trainable parameters of every activation inside ``model``, each once, in the model's order.

    Args:
        model: any module.
        is_activation: classes of your own, or a predicate, that count as activations beside those of slaf and torch.nn.
    """
    chosen = _predicate(is_activation)
    found: dict[int, nn.Parameter] = {}
    for module in model.modules():
        if chosen(module):
            found.update((id(p), p) for p in module.parameters() if p.requires_grad)
    return list(found.values())


def param_groups(
    model: nn.Module,
    lr: float | None = None,
    weight_decay: float = 0.0,
    activation_lr: float | None = None,
    activation_weight_decay: float = 0.0,
    is_activation: IsActivation | None = None,
) -> list[dict[str, Any]]:
    """Optimiser groups with the activations' parameters apart: a learning rate of their own and, by default, no weight decay.

    Weight decay pulls a coefficient to zero, which for an activation is no neutral point: it flattens the function itself.

    Args:
        model: any module; frozen parameters are left out, shared ones counted once (an activation's, if one shares it with a weight).
        lr: learning rate of the weights; left to the optimiser if not given.
        weight_decay: of the weights.
        activation_lr: learning rate of the activations; ``lr`` if not given.
        activation_weight_decay: of the activations.
        is_activation: classes of your own, or a predicate, that count as activations beside those of slaf and torch.nn.

    Returns:
        At most two groups, named ``"weights"`` and ``"activations"``; a group without parameters is left out.

    Raises:
        SlafError: nothing in ``model`` is trainable.

    Example:
        >>> torch.optim.AdamW(slaf.param_groups(model, lr=1e-3, weight_decay=1e-4, activation_lr=1e-2))
    """
    activations = activation_parameters(model, is_activation)
    own = {id(p) for p in activations}
    weights = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
    groups: list[dict[str, Any]] = []
    if weights:
        groups.append({"params": weights, "name": "weights", "weight_decay": weight_decay} | _rate(lr))
    if activations:
        rate = _rate(lr if activation_lr is None else activation_lr)
        groups.append({"params": activations, "name": "activations", "weight_decay": activation_weight_decay} | rate)
    if not groups:
        raise SlafError(f"model {type(model).__name__} has no trainable parameter")
    return groups


def _rate(lr: float | None) -> dict[str, float]:
    return {} if lr is None else {"lr": lr}
