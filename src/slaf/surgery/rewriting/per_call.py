"""``PerCall``: one module for each call of a place that runs several times in one forward."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from slaf.core import SlafError

__all__ = ["PerCall"]


class PerCall(nn.Module):
    """``y = modules[k](x)`` at the k-th call since :meth:`reset`, which rerouted code calls when the owner's ``forward`` begins.

    A part of the owner's forward under activation checkpointing is run again in backward without the owner: its calls would be
    counted on, and raise. Checkpointing of the owner as a whole is fine.

    Args:
        modules: one for each call, in order.
        last: calls beyond the last module use the last one; without it they raise.
    """

    def __init__(self, modules: Iterable[nn.Module], last: bool = False) -> None:
        super().__init__()
        self.calls = nn.ModuleList(modules)
        if not len(self.calls):
            raise SlafError("modules must hold at least one module; got none")
        self.last = last
        self.done = 0

    def reset(self) -> None:
        """The next call uses the first module."""
        self.done = 0

    def forward(self, x: Tensor) -> Tensor:
        """The k-th module applied to ``x``; shape and dtype are the module's.

        Raises:
            SlafError: more calls than modules, unless ``last``.
        """
        call = self.done
        self.done = call + 1
        if call >= len(self.calls):
            if not self.last:
                raise SlafError(
                    f"the place is called more often than its {len(self.calls)} modules in one forward; PerCall(…, last=True) keeps the "
                    "last, and a swap with share='module' has one module for all calls"
                )
            call = len(self.calls) - 1
        return self.calls[call](x)

    def extra_repr(self) -> str:
        return "last=True" if self.last else ""
