"""The one training loop."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import SlafError

from .annealed import Annealed, Anneals
from .batches import rows_at_once
from .clipping import clippable
from .fabric import Alone, team
from .mixing import mixed
from .recipe import Recipe
from .seeds import generator, stream
from .updates import Alternation, separate_step

__all__ = ["Trace", "evaluate", "train"]

Loss = Callable[[Tensor, Tensor], Tensor]
OnEpoch = Callable[[int, int, float], None]


@dataclass
class Trace:
    """What training left behind: one number per finished epoch and name, whether all of them are finite, and the steps taken.

    ``history`` holds ``"loss"`` (the task's, the mean over the epoch's samples while it learned), ``"lr"``, and where they apply
    ``"penalty"`` (of an annealing too, its distillation included), ``"annealed"`` (its progress at the end) and ``"valid_loss"``.
    """

    history: dict[str, list[float]] = field(default_factory=dict)
    finite: bool = True
    steps: int = 0


def train(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    loss: Loss,
    recipe: Recipe,
    seed: int = 0,
    on_epoch: OnEpoch | None = None,
    valid: tuple[Tensor, Tensor] | None = None,
    progress: bool = False,
    fabric: Any = None,
    annealing: Anneals | None = None,
) -> Trace:
    """Train ``model`` in place, here or on all ranks of a ``fabric`` together.

    The result is a pure function of the arguments: batches and the model's own noise (dropout) come from two streams of ``seed``, so
    models of any kind see the same batches at the same seed, and torch's global generator is left as it was. Training ends early, with
    ``finite=False``, after an epoch whose loss is not finite. The model is left in evaluation mode, after Ctrl-C too.

    With a ``fabric`` every rank calls this with equal arguments and gets the result of one process up to rounding: a batch is split evenly
    over the ranks (sizes differ by at most 1), normalising activations of slaf use the whole batch (:func:`slaf.train.synchronize`; torch's
    BatchNorm does not), and gradients, history and ``finite`` are those of the whole batch on every rank. What differs: dropout and mixup
    draw their own noise on every rank, and a last batch with fewer samples than ranks is merged into the one before.

    Args:
        model: any module with trainable parameters; the data are moved to its device, or with both to the ``fabric``'s.
        data: inputs (n, …) and targets (n, …).
        loss: ``loss(output, target)``, the mean over a batch.
        recipe: everything else.
        seed: any integer.
        on_epoch: called as ``on_epoch(done, total, loss)`` after every epoch, on every rank.
        valid: inputs and targets whose loss is measured in evaluation mode after every epoch.
        progress: show a bar, if ``rich`` is installed.
        fabric: a launched ``lightning_fabric.Fabric``, as :func:`slaf.train.launch` hands out; its strategy is ddp or a single device.
        annealing: of ``model``, made by ``slaf.anneal``: goes on from its progress to 1, step by step in equal parts; its penalty and
            distillation are added to the loss. ``annealing.finish()`` is left to the caller.

    Raises:
        SlafError: no data, inputs and targets of different length, or nothing to train; fewer rows, or rows in a batch, than ranks; a
            ``fabric`` whose strategy splits the model or whose precision converts it.
    """
    x, y = pair("data", data)
    held_out = None if valid is None else pair("valid", valid)
    order, trace = generator(seed, "batches"), Trace()
    with team(fabric, model, recipe, len(x)) as member:
        steps = recipe.epochs * len(_batches(torch.arange(len(x)), recipe.batch_size, recipe.drop_last, member.size))
        annealed = None if annealing is None else Annealed(annealing, model, steps)
        x, y = x.to(member.device), y.to(member.device)
        held_out = held_out and (held_out[0].to(member.device), held_out[1].to(member.device))
        try:
            with _own_noise(seed, member), _bar(recipe.epochs if progress and member.rank == 0 else 0, annealing) as show:
                for epoch in range(recipe.epochs):
                    model.train()
                    numbers = _epoch(model, x, y, loss, recipe, member, order, epoch, trace, annealed)
                    if held_out is not None:
                        numbers["valid_loss"] = _mean_loss(model, held_out, loss, member)
                    for name, value in numbers.items():
                        trace.history.setdefault(name, []).append(value)
                    trace.finite = math.isfinite(numbers["loss"]) and math.isfinite(numbers.get("penalty", 0.0))
                    for report in (on_epoch, show):
                        if report is not None:
                            report(epoch + 1, recipe.epochs, numbers["loss"])
                    if not trace.finite:
                        break
        finally:
            member.optimizer.zero_grad(set_to_none=True)
            model.eval()
    # the last step of all is in no loss
    trace.finite = trace.finite and all(bool(p.isfinite().all()) for p in model.parameters())
    return trace


def _epoch(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    recipe: Recipe,
    member: Alone,
    order: torch.Generator,
    epoch: int,
    trace: Trace,
    annealed: Annealed | None,
) -> dict[str, float]:
    """One pass over the data; losses are summed as tensors, so that a GPU is waited for once an epoch and not once a step."""
    permutation = torch.randperm(len(x), generator=order).to(x.device)
    batches = _batches(permutation, recipe.batch_size, recipe.drop_last, member.size)
    optimizer = member.optimizer
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    alternation = Alternation(model, recipe.alternate_every) if recipe.routine == "alternating" else None
    spared = {id(p) for p in parameters} - {id(p) for p in clippable(model)} if recipe.clip_selectively else set[int]()
    total, penalties = torch.zeros((), device=x.device), torch.zeros((), device=x.device)
    rate = recipe.lr_at(epoch)
    for number, batch in enumerate(batches):
        rate = recipe.set_lr(optimizer, epoch + number / len(batches))
        mine = member.share(batch)
        inputs, of_task = x.index_select(0, mine), loss
        if recipe.mixup:
            inputs, of_task = mixed(inputs, loss, recipe.mixup)
        task, added = _losses(member, inputs, y.index_select(0, mine), of_task, annealed, trace.steps)
        total += task.detach() * len(mine)
        penalties += added.detach() * len(mine)
        objective = member.weighted(task + added, len(mine), len(batch))
        if recipe.penalty is not None:
            penalty = recipe.penalty(model)
            penalties += penalty.detach() * len(mine)
            objective = objective + penalty
        optimizer.zero_grad(set_to_none=True)
        member.backward(objective)
        active = alternation.turn(trace.steps) if alternation else parameters
        if recipe.clip is not None:
            member.clip([p for p in active if id(p) not in spared], recipe.clip)
        if recipe.separate_penalty is None:
            optimizer.step()
        else:
            separate_step(optimizer, model, recipe.separate_penalty, only=active if alternation else None)
        trace.steps += 1
    seen = sum(len(batch) for batch in batches)
    sums = member.total(torch.stack([total, penalties])).tolist()
    numbers = {"loss": sums[0] / seen, "lr": rate}
    if recipe.penalty is not None or annealed is not None:
        numbers["penalty"] = sums[1] / seen
    if annealed is not None:
        numbers["annealed"] = annealed.at(trace.steps)
    return numbers


def _losses(member: Alone, x: Tensor, y: Tensor, loss: Loss, annealed: Annealed | None, step: int) -> tuple[Tensor, Tensor]:
    """The task's loss of a batch, and what an annealing adds to it."""
    if annealed is not None:
        annealed.at(step)
    with member.autocast():
        output = member.model(x)
        return loss(output, y), torch.zeros((), device=x.device) if annealed is None else annealed.added(x, output)


def _batches(permutation: Tensor, size: int, drop_last: bool, ranks: int) -> list[Tensor]:
    batches = list(permutation.split(size))
    rest = len(batches[-1])
    if len(batches) > 1 and rest < size:
        if drop_last:
            batches.pop()
        elif rest < max(ranks, 2):
            batches[-2:] = [permutation[-size - rest :]]
    return batches


def evaluate(model: nn.Module, data: tuple[Tensor, Tensor], loss: Loss, batch_size: int | None = None) -> float:
    """The mean of ``loss`` over ``data``, the model in evaluation mode (and left in the mode it was in).

    Raises:
        SlafError: no data.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    x, y = pair("data", data)
    return float(_summed_loss(model, x.to(device), y.to(device), loss, batch_size)) / len(x)


def _mean_loss(model: nn.Module, data: tuple[Tensor, Tensor], loss: Loss, member: Alone) -> float:
    """:func:`evaluate`, every rank a share."""
    x, y = (member.share(t) for t in data)
    with member.autocast():
        return float(member.total(_summed_loss(model, x, y, loss))) / len(data[0])


def _summed_loss(model: nn.Module, x: Tensor, y: Tensor, loss: Loss, batch_size: int | None = None) -> Tensor:
    before = model.training
    model.eval()
    try:
        with torch.no_grad():
            pairs = zip(x.split(batch_size or rows_at_once(x)), y.split(batch_size or rows_at_once(x)), strict=True)
            parts = [loss(model(a), b).double() * len(a) for a, b in pairs if len(a)]
    finally:
        model.train(before)
    return torch.stack(parts).sum() if parts else torch.zeros((), dtype=torch.float64, device=x.device)


def pair(name: str, data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """``data`` if it is inputs and targets of equally many rows, one at least; an error that names it otherwise."""
    if not (isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(t, Tensor) for t in data)):
        raise SlafError(f"{name} must be a pair of tensors (inputs, targets); got {type(data).__name__}")
    x, y = data
    if x.dim() == 0 or y.dim() == 0 or len(x) != len(y):
        raise SlafError(f"{name}: inputs of shape {tuple(x.shape)} and targets of shape {tuple(y.shape)} must have equally many rows")
    if len(x) == 0:
        raise SlafError(f"{name} is empty: inputs have shape {tuple(x.shape)}")
    return x, y


def _own_noise(seed: int, member: Alone) -> contextlib.AbstractContextManager[None]:
    """For dropout and the like; each rank has its own."""
    return stream(seed, "noise", *[str(member.rank)] * (member.rank > 0), device=member.device)


@contextlib.contextmanager
def _bar(epochs: int, annealing: Anneals | None) -> Iterator[OnEpoch | None]:
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        epochs = 0
    if not epochs:
        yield None
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as shown:
        task = shown.add_task("training", total=epochs)

        def show(done: int, _: int, loss: float) -> None:
            how_far = "" if annealing is None else f", annealed {annealing.progress:.0%}"
            shown.update(task, completed=done, description=f"loss {loss:.4g}{how_far}")

        yield show
