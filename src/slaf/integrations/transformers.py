"""transformers: activations of slaf by ``hidden_act=``, and a ``TrainerCallback`` that watches activations."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

from .hidden_act import register, transformers_library
from .probing import Probing

__all__ = ["ProbeCallback", "register"]


def ProbeCallback(  # noqa: N802 - an instance of a class of transformers that is made on first use
    every: int = 100, names: str | Sequence[str] | None = None, figures: bool = False, prefix: str = "activations", writer: Any = None
) -> Any:
    """A ``transformers.TrainerCallback`` that watches the activations of the trained model in every ``every``-th step.

    Their dead, saturated and out-of-range shares join the trainer's next log (``state.log_history``); histograms of their inputs go
    to TensorBoard: to ``writer``, or with ``report_to="tensorboard"`` into ``runs/activations`` below the output directory.

    Raises:
        SlafError: transformers is not installed, or ``every`` is not a positive integer.

    Example:
        >>> Trainer(model, args, train_dataset=data, callbacks=[ProbeCallback(every=50)])
    """
    return _callback_class()(Probing(every, names, figures, prefix), writer)


@functools.cache
def _callback_class() -> Any:
    class SlafProbe(transformers_library().TrainerCallback):  # type: ignore[misc]
        def __init__(self, probing: Probing, writer: Any) -> None:
            self.probing, self.writer, self._own = probing, writer, None
            self._news: dict[str, float] = {}

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:  # noqa: ARG002
            self.probing.start(model)
            if self.writer is None and "tensorboard" in args.report_to and state.is_world_process_zero:
                self._own = _writer(os.path.join(args.output_dir, "runs", "activations"))

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.probing.before_step()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            self._news |= self.probing.after_step([self.writer, self._own], state.global_step)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
            if logs is not None:
                logs.update(self._news)
                if state.log_history:  # the trainer keeps a copy, made before
                    state.log_history[-1].update(self._news)
                self._news = {}

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.probing.stop()
            if self._own is not None:
                self._own.close()
                self._own = None

    return SlafProbe


def _writer(folder: str) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None  # tensorboardX, which transformers takes too, is left to the writer= argument
    return SummaryWriter(folder)
