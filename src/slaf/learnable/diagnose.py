"""What the activations of a model meet and do on a batch: inputs out of range, steep slopes, near poles, large or broken coefficients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slaf.core import Activation, NormActivation, SlafError

__all__ = ["Diagnosis", "Finding", "diagnose"]

MAX_ROWS = 256
"""Of a batch, samples looked at by the slopes; all of it counts for the range."""
STEEP, LARGE, NEAR = 10.0, 100.0, 0.25


@dataclass(frozen=True)
class Finding:
    """One activation.

    Attributes:
        name: its place in the model; ``""`` for the model itself.
        activation: its string.
        seen: the least and the largest finite input; ``None`` if it was not called.
        out_of_range: the share of inputs outside the interval it was made for (``activation.domain``); ``None`` if that is the whole line.
        largest_slope: of |f'| on what was seen; ``None`` where the module mixes elements, also by batch statistics.
        pole_distance: of rationals, how near a complex pole comes to the inputs seen.
        smallest_denominator: of rationals, the least Q on the inputs seen.
        non_finite: how many entries of its parameters and buffers are infinite or NaN.
        non_finite_inputs: how many of the inputs are.
        largest_coefficient: the largest absolute value among its parameters; ``None`` if it has none.
    """

    name: str
    activation: str
    seen: tuple[float, float] | None
    out_of_range: float | None
    largest_slope: float | None
    pole_distance: float | None
    smallest_denominator: float | None
    non_finite: int
    non_finite_inputs: int
    largest_coefficient: float | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to look at, in words; empty if nothing."""
        said = []
        if self.non_finite:
            said.append(f"{self.non_finite} parameters are not finite")
        if self.non_finite_inputs:
            said.append(f"{self.non_finite_inputs} inputs are not finite")
        if self.out_of_range is not None and self.out_of_range > 0.01:
            said.append(f"{self.out_of_range:.1%} of the inputs are out of range")
        if self.largest_slope is not None and not self.largest_slope <= STEEP:
            said.append(f"slope {self.largest_slope:.3g}")
        if self.pole_distance is not None and self.pole_distance < NEAR:
            said.append(f"a pole at distance {self.pole_distance:.2g}")
        if self.largest_coefficient is not None and not self.largest_coefficient <= LARGE:
            said.append(f"a coefficient of size {self.largest_coefficient:.3g}")
        return tuple(said)


@dataclass(frozen=True)
class Diagnosis:
    """The findings of :func:`diagnose`, in the model's order; as text a table with warnings."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether no activation gives a warning."""
        return not any(f.warnings for f in self.findings)

    def __getitem__(self, name: str) -> Finding:
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise SlafError(f"no activation is called {name!r}; there are {', '.join(repr(f.name) for f in self.findings) or 'none'}")

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __str__(self) -> str:
        if not self.findings:
            return "no activation of slaf in this model"
        head = ("layer", "activation", "seen", "out of range", "slope", "min Q", "coefficient", "warnings")
        rows = [head, *(_row(f) for f in self.findings)]
        width = [max(len(row[i]) for row in rows) for i in range(len(head))]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, width, strict=True)).rstrip() for row in rows)


def _row(f: Finding) -> tuple[str, ...]:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.3g}"

    name = f.activation if len(f.activation) <= 40 else f.activation[:39] + "…"
    seen = "-" if f.seen is None else f"{f.seen[0]:.3g} … {f.seen[1]:.3g}"
    outside = "-" if f.out_of_range is None else f"{f.out_of_range:.1%}"
    numbers = (number(f.largest_slope), number(f.smallest_denominator), number(f.largest_coefficient))
    return (f.name or "(model)", name, seen, outside, *numbers, "; ".join(f.warnings) or "none")


class _Seen:
    """What one activation met, over all its calls."""

    def __init__(self) -> None:
        self.low, self.high, self.outside, self.count, self.broken = math.inf, -math.inf, 0, 0, 0
        self.slope: float | None = None
        self.denominator: float | None = None

    def add(self, module: nn.Module, x: Tensor) -> None:
        finite = torch.isfinite(x)
        self.count += x.numel()
        self.broken += int((~finite).sum())
        if not bool(finite.any()):
            return
        values = x[finite]
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        domain = getattr(module, "domain", None)
        if domain is not None:
            self.outside += int(((values < domain[0]) | (values > domain[1])).sum())
        if isinstance(module, Activation):
            self._slopes(module, torch.where(finite, x, 0.0))

    def _slopes(self, module: Activation, x: Tensor) -> None:
        dim = getattr(getattr(module, "sharing", None), "channel_dim", 1)
        if x.dim() > 1 and dim != 0:
            x = x[:MAX_ROWS]
        x = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
        try:
            slope = module.derivative(x).detach().abs()
        except SlafError:  # it mixes elements in this mode
            return
        # amax gives NaN if there is one
        self.slope = max(self.slope or 0.0, float(slope.amax().nan_to_num(nan=math.inf)))
        denominator_at: Callable[[Tensor], Tensor] | None = getattr(module, "denominator_at", None)
        if denominator_at is not None:
            with torch.no_grad():
                least = float(denominator_at(x).amin())
            self.denominator = least if self.denominator is None else min(self.denominator, least)


def diagnose(model: nn.Module, inputs: Any = None) -> Diagnosis:
    """Look at every activation of slaf in ``model`` while it computes one batch.

    Args:
        model: any module, or an activation itself; its mode, parameters and statistics stay as they are.
        inputs: one batch: a tensor, or a tuple of positional or dict of named arguments of ``model``. None: nothing is computed, and
            every activation is looked at on its own ``domain``, or on [-4, 4] where that is the whole line.

    Returns:
        A :class:`Diagnosis`: a table as text, and a :class:`Finding` for every activation by its name in the model.

    Example:
        >>> print(diagnose(model, x))
    """
    found = {n: m for n, m in model.named_modules() if isinstance(m, (Activation, NormActivation))}
    seen = {name: _Seen() for name in found}
    modes = {m: m.training for m in model.modules()}
    model.eval()  # statistics stay as they are, and functions of batch statistics become scalar ones
    try:
        if inputs is None:
            for name, module in found.items():
                if isinstance(module, Activation):
                    low, high = module.domain or (-4.0, 4.0)
                    seen[name].add(module, module._spread(torch.linspace(low, high, 401, **_like(module))))
        else:
            _watch(model, inputs, found, seen)
    finally:
        for part, mode in modes.items():
            part.training = mode
    return Diagnosis(tuple(_finding(name, module, seen[name]) for name, module in found.items()))


def _watch(model: nn.Module, inputs: Any, found: dict[str, Any], seen: dict[str, _Seen]) -> None:
    looking = [False]

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def look(module: nn.Module, args: tuple[Any, ...]) -> None:
            if looking[0] or not args or not isinstance(args[0], Tensor):
                return  # a slope calls the module, and those inside it, again
            looking[0] = True
            try:
                seen[name].add(module, args[0].detach())
            finally:
                looking[0] = False

        return look

    handles = [module.register_forward_pre_hook(hook(name)) for name, module in found.items()]
    try:
        with torch.no_grad():
            if isinstance(inputs, dict):
                model(**inputs)
            elif isinstance(inputs, (tuple, list)):
                model(*inputs)
            else:
                model(inputs)
    finally:
        for handle in handles:
            handle.remove()


def _like(module: nn.Module) -> dict[str, Any]:
    parameter = next(module.parameters(), None)
    return {} if parameter is None else {"device": parameter.device}


def _finding(name: str, module: nn.Module, seen: _Seen) -> Finding:
    tensors = [t.detach() for t in (*module.parameters(), *module.buffers()) if t.is_floating_point() and t.numel()]
    sizes = [float(p.detach().abs().max()) for p in module.parameters() if p.numel()]
    met = (seen.low, seen.high) if seen.low <= seen.high else None
    distance: Callable[..., float] | None = getattr(module, "pole_distance", None)
    near = None
    if distance is not None and met is not None and all(bool(torch.isfinite(t).all()) for t in tensors):
        near = distance(met)
    return Finding(
        name=name,
        activation=str(module),
        seen=met,
        out_of_range=None if getattr(module, "domain", None) is None or not seen.count else seen.outside / seen.count,
        largest_slope=seen.slope,
        pole_distance=near,
        smallest_denominator=seen.denominator,
        non_finite=sum(int((~torch.isfinite(t)).sum()) for t in tensors),
        non_finite_inputs=seen.broken,
        largest_coefficient=max(sizes, default=None),
    )
