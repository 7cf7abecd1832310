"""The range that each polynomial is made for: fitted anew when its turn comes, followed while the network trains, fixed at the end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import Activation
from slaf.learnable import SLAF
from slaf.surgery.annealing.blend import OLD, Blend
from slaf.surgery.plan import refitted
from slaf.surgery.sketch import Sketch
from slaf.surgery.targets import Slot

__all__ = ["Scaled"]

DECAY = 0.999
"""Of the running range, at every step: an outlier is forgotten after some thousand steps."""


class Scaled:
    """One blend into a polynomial whose interval [-R, R] follows its inputs in training: R ← max(R·DECAY, margin·max|x|).

    So x/R stays in [-1, 1] whatever training does, and nothing is clamped. R is a number of the polynomial, fixed once training is over.
    When the blend begins, the coefficients are fitted anew to the old function on the inputs of that moment, which the polynomials
    before it have changed.
    """

    def __init__(self, blend: Blend, slot: Slot, margin: float) -> None:
        self.blend, self.slot, self.margin = blend, slot, margin
        self.tuned = False
        self._handle = blend.register_forward_pre_hook(self._before)

    @property
    def polynomial(self) -> SLAF:
        """What the blend becomes."""
        act: Any = self.blend.new
        return act

    @property
    def reach(self) -> float:
        """R."""
        assert self.polynomial.interval is not None
        return self.polynomial.interval[1]

    def _before(self, blend: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not blend.training or not torch.is_grad_enabled():
            return
        x = args[0].detach()
        largest = float(x.abs().amax())
        if largest * 0 != 0:
            return  # the loss will not be finite, which ends the training
        reach = max(self.reach * DECAY, self.margin * largest)
        self.polynomial.stretch_to(-reach, reach)
        if not self.tuned and self.blend.phase != OLD:
            self.tuned = True
            self._tune(x)

    def _tune(self, x: Tensor) -> None:
        inputs = Sketch()
        inputs.update(x)
        if not inputs.max > inputs.min:
            return
        fitted = refitted(self.slot, str(self.polynomial.spec()), inputs)
        _copy_function(fitted, self.polynomial)

    def remove(self) -> None:
        """Follow no longer."""
        self._handle.remove()


def _copy_function(source: Activation, into: SLAF) -> None:
    """The one polynomial of ``source`` for every channel."""
    with torch.no_grad():
        for name, tensor in into.state_dict().items():
            tensor.copy_(source.state_dict()[name].expand_as(tensor))
