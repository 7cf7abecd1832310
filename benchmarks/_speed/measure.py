"""How one is timed: fresh samples of a row and of what it is compared with, in random order, rows in turn."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Contender", "compare", "contender", "floor", "interval", "kernels_alone", "relative_error", "saved_bytes"]

Clock = Callable[[], float]


@dataclass
class Contender:
    """One step to be timed, and the samples taken of it."""

    name: str
    step: Callable[[], Any]
    calls: int = 1
    against: dict[str, Contender] = field(default_factory=dict)
    samples: list[dict[str, float]] = field(default_factory=list)
    spent: float = 0.0

    def seconds(self, clock: Clock) -> float:
        """Of one step; one more before it, so that caches hold what this step leaves there and not what another one did."""
        self.step()
        start = clock()
        for _ in range(self.calls):
            self.step()
        return (clock() - start) / self.calls

    def sample(self, clock: Clock, order: random.Random) -> None:
        """Time this and all it is compared with, in random order."""
        start = time.perf_counter()
        todo = {"own": self, **self.against}
        self.samples.append({key: todo[key].seconds(clock) for key in order.sample(list(todo), len(todo))})
        self.spent += time.perf_counter() - start


def contender(name: str, module: nn.Module, x: Tensor, weight: Tensor, calls: int) -> Contender:
    """A forward pass, and the gradient of Σ weight·f(x) in x and every parameter."""
    wanted = [x, *(p for p in module.parameters() if p.requires_grad)]

    def step() -> None:
        torch.autograd.grad(module(x), wanted, weight, allow_unused=True)

    return Contender(name, step, calls)


def floor(name: str, x: Tensor, weight: Tensor, calls: int, allocate: bool) -> Contender:
    """The memory traffic alone: y ← x, gx ← x·weight."""
    x, y, gx = x.detach(), torch.empty_like(x), torch.empty_like(x)

    def step() -> None:
        if allocate:
            kept = x.clone()
            torch.mul(x, weight)
            del kept
        else:
            y.copy_(x)
            torch.mul(x, weight, out=gx)

    return Contender(name, step, calls)


def kernels_alone(of: Contender) -> Contender | None:
    """The compiled kernels that a step of it calls, on the same arguments: what is left of its time is Python's and autograd's."""
    from slaf.kernels.native import entries

    calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
    kernels = dict(vars(entries))  # those that were called before

    def noting(kernel: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: calls.append((kernel, arguments)) or kernel(*arguments)

    vars(entries).update({name: noting(kernel) for name, kernel in kernels.items()})
    try:
        of.step()
    finally:
        vars(entries).update(kernels)
    return Contender(f"kernels of {of.name}", lambda: [kernel(*arguments) for kernel, arguments in calls], of.calls) if calls else None


def compare(contenders: Sequence[Contender], clock: Clock, rounds: int, seconds: float, seed: int = 0) -> None:
    """Sample all in turn, each up to ``rounds`` times or ``seconds``, but five times at least (twice, if fewer rounds are asked for)."""
    order = random.Random(seed)
    for c in contenders:
        for other in (c, *c.against.values()):
            other.step()
    for _ in range(rounds):
        going = [c for c in contenders if c.spent < seconds or len(c.samples) < min(5, rounds)]
        for c in order.sample(going, len(going)):
            c.sample(clock, order)


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """The median and the ends of its 95 % interval by bootstrap."""
    given = np.asarray(values)
    drawn = np.random.default_rng(seed).integers(0, len(given), (1000, len(given)))
    low, high = np.quantile(np.median(given[drawn], axis=1), [0.025, 0.975])
    return float(np.median(given)), float(low), float(high)


def saved_bytes(module: nn.Module, x: Tensor) -> int:
    """Bytes of the distinct storages that autograd keeps for backward, parameters and buffers not counted."""
    own = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}
    kept: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = module(x)
        total = sum(size for pointer, size in kept.items() if pointer not in own)
    del y
    return total


def relative_error(module: nn.Module, x: Tensor) -> float:
    """Root mean square of the error against the same module in float64, over that of its values; in evaluation."""
    with torch.no_grad():
        module = copy.deepcopy(module).eval()
        got = module(x).double()
        exact = module.double()(x.double())
    return float(((got - exact).square().mean() / exact.square().mean()).sqrt())
