"""Lightning, under either of its names: callbacks that watch the activations of the trained module, and that anneal them."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from slaf.core import SlafError

from .annealing import Steering
from .probing import Probing

__all__ = ["AnnealCallback", "ProbeCallback"]

_NAMES = ("lightning.pytorch", "pytorch_lightning")


def ProbeCallback(  # noqa: N802 - an instance of a class of Lightning that is made on first use
    every: int = 100, names: str | Sequence[str] | None = None, figures: bool = False, prefix: str = "activations"
) -> Any:
    """A ``Callback`` of ``lightning.pytorch`` or ``pytorch_lightning`` that watches the activations in every ``every``-th batch.

    Their dead, saturated and out-of-range shares go to ``log_dict`` of the trained module; histograms of their inputs to every
    logger that has a ``SummaryWriter``. It is whichever library is imported already, else the one that is installed.

    Raises:
        SlafError: neither is installed, or ``every`` is not a positive integer.

    Example:
        >>> Trainer(callbacks=[ProbeCallback(every=50)], logger=TensorBoardLogger("logs"))
    """
    return _callback_class(_library())(every=every, names=names, figures=figures, prefix=prefix)


def AnnealCallback(annealing: Any, finish: bool = True) -> Any:  # noqa: N802 - as ProbeCallback
    """A ``Callback`` that takes ``slaf.anneal(module, …, inplace=True)`` to its end over the steps of a fit; checkpoints resume it.

    The range penalty is added to the loss of every batch (automatic optimisation; under gradient accumulation and mixed precision with the
    loss's own factors). Distillation is not, for a callback does not see outputs: add ``annealing.distillation(batch, output)`` in
    ``training_step``. With ``finish`` the module has its new activations after the last step, and no blends.

    Raises:
        SlafError: neither library is installed; ``annealing`` is none, or of another module; the number of steps is not known.

    Example:
        >>> annealing = slaf.anneal(module, {"silu": "hardswish"}, example=x, range_penalty=0.1, inplace=True)
        >>> Trainer(max_epochs=5, callbacks=[AnnealCallback(annealing)]).fit(module, loader)
    """
    return _anneal_class(_library())(Steering(annealing, finish))


@functools.cache
def _anneal_class(library: Any) -> Any:
    class SlafAnneal(library.Callback):
        def __init__(self, steering: Steering) -> None:
            self.steering = steering

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.steering.begin(pl_module, trainer.estimated_stepping_batches, trainer.global_step)

        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            self.steering.at(trainer.global_step)

        def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
            annealing = self.steering.annealing
            if annealing.range_penalty and pl_module.automatic_optimization:
                scaler = getattr(trainer.precision_plugin, "scaler", None)
                factor = (1.0 if scaler is None else scaler.get_scale()) / trainer.accumulate_grad_batches
                loss.add_(annealing.penalty() * factor)  # in place: a hook cannot return another loss

        def on_train_end(self, trainer: Any, *_: Any) -> None:
            self.steering.end(trainer.global_step)

        def state_dict(self) -> dict[str, Any]:
            return self.steering.state()

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.steering.load(state)

    return SlafAnneal


@functools.cache
def _callback_class(library: Any) -> Any:
    class SlafProbe(library.Callback):
        def __init__(self, **options: Any) -> None:
            self.options, self.probing = options, Probing(**options)

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
            self.probing.start(pl_module)

        def on_train_batch_start(self, *_: Any) -> None:
            self.probing.before_step()

        def on_before_backward(self, *_: Any) -> None:
            self.probing.close()

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            writers = (logger.experiment for logger in trainer.loggers)
            news = self.probing.after_step(writers, trainer.global_step)
            if news:
                pl_module.log_dict(news)

        def on_train_end(self, *_: Any) -> None:
            self.probing.stop()

        def on_exception(self, *_: Any) -> None:
            self.probing.stop()

        def __reduce__(self) -> Any:  # the class has no name of its own to be found by
            return functools.partial(ProbeCallback, **self.options), ()

    return SlafProbe


def _library() -> Any:
    for name in sorted(_NAMES, key=lambda n: n not in sys.modules):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise SlafError("slaf.integrations.lightning needs lightning or pytorch_lightning; install one with: pip install lightning")
