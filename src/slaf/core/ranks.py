"""Sums over ranks: the processes that train one model together, each on its share of the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .errors import SlafError

__all__ = ["OverRanks", "Ranks"]


class OverRanks:
    """Mixed into a module that standardises by the statistics of a batch: with ``ranks`` set, by those of all ranks together.

    ``None`` is the process alone. ``ranks`` is no state: a pickled module is alone again, a deep copy still sums with the others.
    """

    ranks: Ranks | None = None


class Ranks:
    """The processes of a torch.distributed group, two or more.

    Every rank must make the same calls in the same order, forward and backward, each with one value per channel or more. Sums are
    differentiable any number of times: the gradient of a sum over ranks is the sum of the ranks' gradients, so that after backward a
    rank's gradients are those of all ranks' losses added.

    Args:
        group: a process group that this process belongs to; ``None``: all processes.

    Raises:
        SlafError: torch.distributed is not initialised, or this process is not in the group.

    Source: as torch.nn.SyncBatchNorm; ranks are combined as in Chan, Golub, LeVeque (1983) [from memory].
    """

    def __init__(self, group: Any = None) -> None:
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            raise SlafError("there is no process group to sum over; call torch.distributed.init_process_group first or slaf.train.launch")
        self.group = torch.distributed.group.WORLD if group is None else group
        self.rank, self.size = torch.distributed.get_rank(self.group), torch.distributed.get_world_size(self.group)
        if self.rank < 0:
            raise SlafError("this process is not a member of group, so it cannot sum over it")

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over the ranks, the same bits on each."""
        return _Total.apply(tensor, self.group)

    def gather(self, tensor: Tensor) -> Tensor:
        """Every rank's ``tensor``, stacked: (ranks, …). A sum to which each rank brings its own row and zeros, hence exact."""
        return self.total(torch.stack([tensor if rank == self.rank else torch.zeros_like(tensor) for rank in range(self.size)]))

    def mean(self, count: int, mean: Tensor) -> Tensor:
        """The mean of all values, from this rank's ``mean`` of ``count`` values."""
        sums = self.total(torch.cat([count * mean.reshape(-1), mean.new_full((1,), count)]))
        return (sums[:-1] / sums[-1]).reshape(mean.shape)

    def mean_and_var(self, count: int, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Number (float64, ()), mean and biased variance of all values, from this rank's.

        About the common mean and in float64: a difference of raw second moments would lose the digits of a variance that is small
        beside the mean.
        """
        counts = torch.full_like(mean, count, dtype=torch.float64)
        counts, means, variances = self.gather(torch.stack([counts, mean.double(), var.double()])).unbind(1)
        share = counts / counts.sum(0)
        center = (share * means).sum(0)
        spread = (share * (variances + (means - center).square())).sum(0)
        return counts.sum(0).reshape(-1)[0], center.to(mean.dtype), spread.to(var.dtype)

    def __deepcopy__(self, memo: Any) -> Ranks:
        return self

    def __reduce__(self) -> Any:
        return type(None), ()  # a group lives and dies with its processes


class _Total(torch.autograd.Function):
    """torch.distributed.nn.functional.all_reduce, which torch has deprecated without a public successor that has a gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any) -> Tensor:
        ctx.group = group
        out = tensor.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(out, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return _Total.apply(g, ctx.group), None
