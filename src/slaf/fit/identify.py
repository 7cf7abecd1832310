"""``identify``: which registered activation is this?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from slaf.core import Activation, SlafError, facts, make, names

__all__ = ["Identification", "Match", "identify"]


@dataclass(frozen=True)
class Match:
    """A registered activation, the largest difference from it on the grid, and where it occurs."""

    name: str
    max_difference: float
    at: float

    def __str__(self) -> str:
        return f"{self.name} (differs by {self.max_difference:.3g} at x={self.at:.4g})"


@dataclass(frozen=True)
class Identification:
    """The nearest entries, best first, on [low, high]; ``exact`` if the first agrees to the rounding of the dtype it was asked in."""

    matches: tuple[Match, ...]
    low: float
    high: float
    exact: bool

    @property
    def name(self) -> str:
        """The nearest entry."""
        return self.matches[0].name

    @property
    def max_difference(self) -> float:
        """How far the nearest entry is."""
        return self.matches[0].max_difference

    def __str__(self) -> str:
        verdict = f"is {self.name}" if self.exact else f"is none of them; nearest is {self.matches[0]}"
        others = "; ".join(str(m) for m in self.matches[1:])
        return f"on [{self.low:g}, {self.high:g}] it {verdict}" + (f"; then {others}" if others else "")


def identify(
    function: str | nn.Module | Callable[[Tensor], Tensor], low: float = -8.0, high: float = 8.0, count: int = 3
) -> Identification:
    """The registered activations nearest to ``function`` in the maximum norm on [low, high], each at its default parameters.

    Which GELU was it? ``identify(torch.nn.GELU(approximate="tanh")).name`` is ``"gelu_tanh"``.

    Args:
        function: an activation string, a module (in evaluation mode; it is not changed) or a function of one tensor.
        low, high: the interval, on which 4,001 points are compared in float64 (float32 where the function cannot).
        count: how many to name.

    Raises:
        SlafError: an empty interval, or a function that fails or is not elementwise.
    """
    if not low < high:
        raise SlafError(f"low must be less than high; got {low!r} and {high!r}")
    x, table = _table(float(low), float(high))
    y = _values(function, x)
    difference = (torch.stack(list(table.values())) - y).abs().nan_to_num(nan=torch.inf)
    worst, where = difference.max(1)
    rounding = 64 * torch.finfo(torch.float64 if _doubles(function) else torch.float32).eps * float(y.abs().max().clamp(min=1))
    # what is nearest up to rounding is a tie, which the order of the table decides
    nearest = torch.where(worst <= worst.min() + rounding, 0.0, worst).argsort(stable=True)[: max(1, count)].tolist()
    entries = list(table)
    matches = tuple(Match(entries[i], float(worst[i]), float(x[where[i]])) for i in nearest)
    return Identification(matches, low, high, matches[0].max_difference <= rounding)


@lru_cache(maxsize=8)
def _table(low: float, high: float) -> tuple[Tensor, dict[str, Tensor]]:
    """The grid, and the values of every entry with a formula, the plainest first; kept, because it is asked more than once."""
    x = torch.linspace(low, high, 4001, dtype=torch.float64)
    out = {}
    with torch.no_grad():
        for name in sorted(names(), key=lambda n: ("torch.nn" not in facts(n).tags, len(facts(n).params), n)):
            try:
                module = make(name)
            except SlafError:  # needs sizes: no single function
                continue
            if isinstance(module, Activation) and module.facts.formula is not None:
                out[name] = module.double().eval()(x)
    return x, out


def _doubles(function: object) -> bool:
    if isinstance(function, nn.Module):
        return all(p.dtype == torch.float64 for p in function.parameters())
    return True


def _values(function: str | nn.Module | Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    call = make(function).double().eval() if isinstance(function, str) else function
    training = call.training if isinstance(call, nn.Module) else False
    try:
        with torch.no_grad():
            if isinstance(call, nn.Module):
                call.eval()
            y = call(x if _doubles(call) else x.to(next(call.parameters()).dtype))  # type: ignore[union-attr]
    except (TypeError, RuntimeError, ValueError) as problem:
        raise SlafError(f"identify needs a function of one tensor; it failed with: {problem}") from None
    finally:
        if isinstance(call, nn.Module):
            call.train(training)
    if not isinstance(y, Tensor) or y.shape != x.shape:
        got = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise SlafError(f"identify needs an elementwise function; it gave {got} for an input of shape {tuple(x.shape)}")
    return y.to(torch.float64)
