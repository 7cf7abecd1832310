"""One model trained by several processes: what the loop does differently for each rank of a Lightning Fabric, and ``synchronize``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import OverRanks, Ranks, SlafError, one_of

from .recipe import Recipe

__all__ = ["Alone", "Team", "synchronize", "team"]


def synchronize(model: nn.Module, group: Any = None) -> nn.Module:
    """Let the normalising activations in ``model`` use the statistics of all ranks' batches together, as torch.nn.SyncBatchNorm does.

    In training, SLAF's input and terms and ``batch_norm(…)`` then standardise by the moments of the batches of all ranks, whatever their
    sizes, and every rank keeps the same running statistics; evaluation needs no other rank. Gradients follow torch's convention: where
    rank r's loss is the mean over its n_r of n samples, times n_r·ranks/n, DistributedDataParallel's mean is the gradient of the mean
    over all n. Works in any script with a process group; :func:`slaf.train.train` does it by itself. Every rank must run the model in
    training mode equally often, on one sample or more. The group is no state: it is not in ``state_dict`` and not pickled.

    Args:
        model: changed in place; torch's own BatchNorm layers in it are left, see torch.nn.SyncBatchNorm.convert_sync_batchnorm.
        group: a torch.distributed process group; ``None``: all processes. A group of one changes nothing.

    Returns:
        ``model``.

    Raises:
        SlafError: torch.distributed is not initialised, or this process is not in the group.

    Example:
        >>> model = DistributedDataParallel(slaf.train.synchronize(model))
    """
    ranks = Ranks(group)
    for module in _synchronizable(model):
        module.ranks = ranks if ranks.size > 1 else None
    return model


def _synchronizable(model: nn.Module) -> list[OverRanks]:
    return [module for module in model.modules() if isinstance(module, OverRanks)]


class Alone:
    """One process: it takes whole batches and has nothing to agree on."""

    rank, size = 0, 1

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self.model, self.optimizer, self.device = model, optimizer, device

    def share(self, rows: Tensor) -> Tensor:
        """This rank's rows."""
        return rows

    def weighted(self, loss: Tensor, mine: int, all_rows: int) -> Tensor:  # noqa: ARG002
        """The mean loss of ``mine`` rows, so that the mean over the ranks is the one of all rows."""
        return loss

    def backward(self, objective: Tensor) -> None:
        """Leave the gradients of the ranks' mean."""
        objective.backward()

    def clip(self, parameters: list[nn.Parameter], limit: float) -> None:
        """Limit the global norm of the gradients."""
        torch.nn.utils.clip_grad_norm_(parameters, limit)

    def total(self, values: Tensor) -> Tensor:
        """The sum over the ranks."""
        return values

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The precision of forward passes."""
        return contextlib.nullcontext()


class Team(Alone):
    """One rank of a Fabric. The model moves to its device; where the ranks' first values differ, rank 0's hold.

    Raises:
        SlafError: a strategy under which no rank holds the whole model, or a precision that converts it.
    """

    def __init__(self, fabric: Any, model: nn.Module, recipe: Recipe) -> None:
        one_of("train: fabric's strategy", type(fabric.strategy).__name__, ("DDPStrategy", "SingleDeviceStrategy"))
        one_of("train: fabric's precision", str(fabric.strategy.precision.precision), ("32-true", "16-mixed", "bf16-mixed"))
        fabric.to_device(model)
        optimizer = fabric.setup_optimizers(recipe.optimizer_for(model))
        # not fabric.setup: its wrapper casts a float64 input to float32
        super().__init__(fabric.strategy.setup_module(model), optimizer, fabric.device)
        self.fabric, self.rank, self.size = fabric, fabric.global_rank, fabric.world_size

    def share(self, rows: Tensor) -> Tensor:
        return rows.tensor_split(self.size)[self.rank]

    def weighted(self, loss: Tensor, mine: int, all_rows: int) -> Tensor:
        return loss * (mine * self.size / all_rows)

    def backward(self, objective: Tensor) -> None:
        self.fabric.backward(objective)

    def clip(self, parameters: list[nn.Parameter], limit: float) -> None:
        # as fabric.clip_gradients, which takes all of the optimiser's parameters
        self.fabric.strategy.precision.unscale_gradients(getattr(self.optimizer, "optimizer", self.optimizer))
        super().clip(parameters, limit)

    def total(self, values: Tensor) -> Tensor:
        return self.fabric.all_reduce(values, reduce_op="sum")

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        return self.fabric.autocast()


@contextlib.contextmanager
def team(fabric: Any, model: nn.Module, recipe: Recipe, rows: int) -> Iterator[Alone]:
    """How the loop trains here: alone without ``fabric``, else as one of its ranks, with ``model`` synchronised for as long.

    Raises:
        SlafError: fewer ``rows``, or rows in a batch, than ranks.
    """
    if fabric is None:
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        yield Alone(model, recipe.optimizer_for(model), device)
        return
    for name, value in (("batch_size", recipe.batch_size), ("rows of data", rows)):
        if value < fabric.world_size:
            raise SlafError(f"{name} must be at least {fabric.world_size}, the number of ranks; got {value}")
    before = [(module, module.ranks) for module in _synchronizable(model)]
    member = Team(fabric, model, recipe)
    try:
        if member.size > 1:
            synchronize(model)
        yield member
    finally:
        for module, ranks in before:
            module.ranks = ranks
