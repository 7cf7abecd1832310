"""Penalties on the shape of learned activations: callables over a model, which add to those of ``slaf.train``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slaf.core import Activation, NormActivation, SlafError

__all__ = ["DecayToStart", "SlopePenalty"]

Penalty = Callable[[nn.Module], Tensor]


@dataclass(frozen=True)
class _Both:
    parts: tuple[Penalty, ...]

    def __call__(self, model: nn.Module) -> Tensor:
        total = self.parts[0](model)
        for part in self.parts[1:]:
            total = total + part(model)
        return total

    def __add__(self, other: Penalty) -> _Both:
        return _Both((*self.parts, other))


@dataclass(frozen=True)
class SlopePenalty:
    """weight · Σ over activations of the mean of max(0, |f'(x)| - limit)², x on a grid: it keeps learned functions from becoming steep.

    Args:
        weight: the factor.
        limit: slopes up to it are free; 0 penalises the mean square of the slope.
        interval: where; by default each activation's ``domain``, or [-4, 4] where that is the whole line.
        points: of the grid.

    Activations that have no trainable parameters, or no slope (those that mix elements, also by batch statistics in training), add
    nothing.

    Raises:
        SlafError: a negative weight or limit.
    """

    weight: float
    limit: float = 0.0
    interval: tuple[float, float] | None = None
    points: int = 129

    def __post_init__(self) -> None:
        if not (self.weight >= 0 and self.limit >= 0):
            raise SlafError(f"weight and limit must not be negative; got {self.weight!r} and {self.limit!r}")

    def __call__(self, model: nn.Module) -> Tensor:
        total = None
        for module in _outermost(model):
            if not isinstance(module, Activation) or not any(p.requires_grad for p in module.parameters()):
                continue
            parameter = next(module.parameters())
            low, high = self.interval or module.domain or (-4.0, 4.0)
            grid = torch.linspace(low, high, self.points, device=parameter.device, dtype=parameter.dtype)
            try:
                slope = module.derivative(module._spread(grid).clone())
            except SlafError:
                continue
            term = (slope.abs() - self.limit).clamp(min=0).square().mean()
            total = term if total is None else total + term
        return torch.zeros(()) if total is None else self.weight * total

    def __add__(self, other: Penalty) -> _Both:
        return _Both((self, other))


class DecayToStart:
    """weight · ½ Σ (θ - θ_0)² over the activations' parameters, θ_0 their values in ``model`` now: decay to the function they started as.

    Plain weight decay pulls θ to 0, which flattens the function; this has the start for its neutral point.

    Args:
        weight: the factor.
        model: whose present values are θ_0; the penalty is for this model, or one with the same names and shapes.

    Raises:
        SlafError: a negative weight; when called, a model with other activations.
    """

    def __init__(self, weight: float, model: nn.Module) -> None:
        if not weight >= 0:
            raise SlafError(f"weight must not be negative; got {weight!r}")
        self.weight = weight
        self.start = {name: p.detach().clone() for name, p in _parameters(model).items()}

    def __call__(self, model: nn.Module) -> Tensor:
        parts = []
        for name, p in _parameters(model).items():
            if name not in self.start or self.start[name].shape != p.shape:
                raise SlafError(f"DecayToStart was made for another model: it has no parameter {name!r} of shape {tuple(p.shape)}")
            parts.append((p - self.start[name].to(p)).square().sum())
        return self.weight * 0.5 * sum(parts[1:], parts[0]) if parts else torch.zeros(())

    def __add__(self, other: Penalty) -> _Both:
        return _Both((self, other))


def _outermost(model: nn.Module) -> list[nn.Module]:
    """The activations that are not inside another one."""
    found = {n: m for n, m in model.named_modules() if isinstance(m, (Activation, NormActivation))}
    return [m for n, m in found.items() if not any(n != o and n.startswith(f"{o}." if o else "") for o in found)]


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable parameters of the activations by their names in the model, each once."""
    own = {id(p) for m in model.modules() if isinstance(m, (Activation, NormActivation)) for p in m.parameters()}
    return {n: p for n, p in model.named_parameters() if id(p) in own and p.requires_grad}
