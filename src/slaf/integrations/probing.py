"""What the callbacks of all trainers share: a probe that is open during every n-th training step, its numbers and its histograms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from slaf.core import SlafError
from slaf.surgery.probe import Probe

__all__ = ["Probing"]


class Probing:
    """Looks at the activations of a model in the first training step of every ``every``.

    Args:
        every: training steps (batches, for Lightning) from one look to the next.
        names: which modules, as in :class:`slaf.surgery.probe.Probe`.
        figures: also draw the curves of learned activations into TensorBoard.
        prefix: of the names of what is logged.

    Raises:
        SlafError: ``every`` is not a positive integer.
    """

    def __init__(
        self, every: int = 100, names: str | Sequence[str] | None = None, figures: bool = False, prefix: str = "activations"
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise SlafError(f"every must be a positive integer; got {every!r}")
        self.every, self.names, self.figures, self.prefix = every, names, figures, prefix
        self.probe: Probe | None = None
        self._steps, self._looking = 0, False

    def start(self, model: nn.Module) -> None:
        """Before training: hooks on, and closed."""
        self.stop()
        self.probe, self._steps = Probe(model, self.names).attach(), 0
        self.probe.pause()

    def before_step(self) -> None:
        """Before a training step's forward."""
        self._looking = self.probe is not None and self._steps % self.every == 0
        self._steps += 1
        if self.probe is not None and self._looking:
            self.probe.reset()
            self.probe.resume()

    def close(self) -> None:
        """Look no more in this step: its forward is over."""
        if self.probe is not None:
            self.probe.pause()

    def after_step(self, writers: Iterable[Any], step: int) -> dict[str, float]:
        """The numbers of this step, for a log (none without a look); histograms go to those ``writers`` that are SummaryWriters."""
        self.close()
        if self.probe is None or not self._looking:
            return {}
        self._looking = False
        for writer in writers:
            if hasattr(writer, "add_histogram_raw"):
                self.probe.write(writer, step, self.figures, self.prefix)
        return {f"{self.prefix}/{name}": value for name, value in self.probe.report().scalars().items()}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "probe": None}  # hooks belong to one process

    def stop(self) -> None:
        """Hooks off; ``probe`` stays readable."""
        if self.probe is not None:
            self.probe.detach()
