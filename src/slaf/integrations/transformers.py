"""transformers: activations of slaf by ``hidden_act=``, and ``TrainerCallback``s that watch activations, and that anneal them."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Sequence
from typing import Any

import torch

from .annealing import Steering
from .hidden_act import register, transformers_library
from .probing import Probing

__all__ = ["AnnealCallback", "ProbeCallback", "register"]


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


def AnnealCallback(annealing: Any, finish: bool = True) -> Any:  # noqa: N802 - as ProbeCallback
    """A ``transformers.TrainerCallback`` that takes ``slaf.anneal(model, …)`` to its end over a Trainer's steps.

    Range penalty and distillation are added to the ``loss`` in the model's own output (one that the Trainer computes itself, as for label
    smoothing, goes without). A checkpoint holds the blends in the model's weights and the step in the Trainer's state: resumed with an
    annealing made by the same call, it goes on. With ``finish`` the model has its new activations after the last step, and no blends.

    Raises:
        SlafError: transformers is not installed; ``annealing`` is none, or of another model; the number of steps is not known.

    Example:
        >>> annealing = slaf.anneal(model, {"gelu": "relu"}, example=batch, distill=1.0)
        >>> Trainer(annealing.model, args, train_dataset=data, callbacks=[AnnealCallback(annealing)]).train()
    """
    return _anneal_class()(Steering(annealing, finish))


@functools.cache
def _anneal_class() -> Any:
    class SlafAnneal(transformers_library().TrainerCallback):  # type: ignore[misc]
        def __init__(self, steering: Steering) -> None:
            self.steering, self._share = steering, 1
            self._hook: Any = None

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:  # noqa: ARG002
            self.steering.begin(model, state.max_steps, state.global_step)
            self._share = args.gradient_accumulation_steps
            self._hook = self.steering.annealing.model.register_forward_hook(self._add, with_kwargs=True)

        def _add(self, model: Any, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
            if not (model.training and torch.is_grad_enabled() and getattr(output, "loss", None) is not None):
                return output
            annealing = self.steering.annealing
            inputs = inspect.signature(model.forward).bind(*args, **kwargs).arguments if args else kwargs
            added = annealing.penalty() + annealing.distillation(inputs, output)
            # a loss summed over all accumulated batches and divided by their items is not divided by their number
            output["loss"] = output.loss + added / (self._share if kwargs.get("num_items_in_batch") is not None else 1)
            return output

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            self.steering.at(state.global_step)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            if self._hook is not None:
                self._hook.remove()
            self.steering.end(state.global_step)

    return SlafAnneal


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
