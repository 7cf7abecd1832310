"""``Blend``: the old and the new activation of one site, mixed by a weight that training moves from 0 to 1."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import Activation
from slaf.surgery.watching.elementwise import CalledFunction
from slaf.train.boundary import boundary_loss

__all__ = ["Blend", "Called"]

OLD, BOTH, NEW = "old", "both", "new"


class Called(nn.Module):
    """A function that is no module, as one; of tensors that it holds (a functional PReLU's weight) it keeps copies, which do not train."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        if isinstance(function, CalledFunction):
            function = function.mapped(lambda held: held.detach().clone())
        self.function = [function]  # in a list, for it may hold a module, which is not this one's

    def forward(self, x: Tensor) -> Tensor:
        """function(x)."""
        return self.function[0](x)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Called:
        """Its tensors go with the module to another device or dtype."""
        super()._apply(fn, recurse)
        if isinstance(self.function[0], CalledFunction):
            self.function = [self.function[0].mapped(fn)]
        return self


class Blend(nn.Module):
    """``y = (1 - α)·old(x) + α·new(x)``; at α = 0 and 1 the other one is not evaluated.

    α is a tensor (a buffer, so checkpoints carry it and DDP broadcasts it): a compiled model is compiled once for all α in between, and
    once more for each end. Buffers: ``alpha``; ``interval``, the range (low, high) beyond which the boundary loss counts.

    Args:
        old: is called without its hooks, which are the blend's.
        new: gives the shape and dtype of old.
        interval: the range of inputs that new is meant for.
        calls: how often it is called in one forward; the boundary losses of the last so many calls are kept.
    """

    alpha: Tensor
    interval: Tensor
    new: Activation

    def __init__(self, old: nn.Module, new: Activation, interval: tuple[float, float], calls: int = 1) -> None:
        super().__init__()
        self.old, self.new = old, new
        self.register_buffer("alpha", torch.zeros(()))
        self.register_buffer("interval", torch.tensor(interval, dtype=torch.float32))
        self.phase = OLD
        self.watched = False
        self._overwrites = any(getattr(m, "inplace", False) for m in old.modules())
        self._calls = calls
        self._recorded: deque[Tensor] = deque(maxlen=calls)

    def set_alpha(self, alpha: float) -> None:
        """The weight of the new activation, in [0, 1]."""
        self.alpha.fill_(alpha)
        self.phase = OLD if alpha <= 0 else NEW if alpha >= 1 else BOTH

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise; shape and dtype are old's."""
        if self.watched and self.training and torch.is_grad_enabled():
            self._recorded.append(boundary_loss(x, self.interval[0], self.interval[1]))
        if self.phase == OLD:
            return _with_zero_gradients(self.old.forward(x), self.new)
        if self.phase == NEW:
            return _with_zero_gradients(self.new(x), self.old)
        new, alpha = self.new(x), self.alpha.clone()  # a step, or DDP's broadcast, before backward changes the buffer
        return (1 - alpha) * self.old.forward(x.clone() if self._overwrites else x) + alpha * new

    def taken(self) -> list[Tensor]:
        """The boundary losses of the calls since the last time."""
        out = list(self._recorded)
        self._recorded.clear()
        return out

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.set_alpha(float(self.alpha))

    def __getstate__(self) -> dict[str, Any]:
        """Without what one forward recorded, which belongs to its graph."""
        return {**self.__dict__, "_recorded": deque(maxlen=self._calls)}

    def extra_repr(self) -> str:
        return f"alpha={float(self.alpha):g}"


def _with_zero_gradients(y: Tensor, idle: nn.Module) -> Tensor:
    """y, on which between processes the parameters of the idle activation depend too, for DDP waits for the gradients of all."""
    if not (torch.is_grad_enabled() and torch.distributed.is_available() and torch.distributed.is_initialized()):
        return y
    waiting = [p.sum() for p in idle.parameters() if p.requires_grad]
    return y + 0 * torch.stack(waiting).sum().to(y.dtype) if waiting else y
