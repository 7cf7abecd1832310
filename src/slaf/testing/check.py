"""The mechanism: a named check, when it applies, and the helpers that word its failure."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from .case import Case

__all__ = ["CHECKS", "Check", "check", "close", "expect", "has_parameters", "same"]


Run = Callable[[Case], "dict[str, float] | None"]
Reason = Callable[[Case], str | None]


@dataclass(frozen=True)
class Check:
    """A named check: ``run(case)`` raises where the contract is broken, and may return what it measured."""

    name: str
    group: str
    doc: str
    run: Run
    applies: Reason
    """The reason why the check does not apply, or None."""
    slow: bool = False
    """Whether it takes many seconds, so that it runs only when asked for."""
    layer: bool = False
    """Whether it is for layers alone."""


CHECKS: dict[str, Check] = {}


def check(
    group: str,
    scalar: bool = False,
    norm: bool = False,
    layer: bool = False,
    named: bool = False,
    fresh: bool = False,
    needs: Iterable[str] = (),
    unless: Reason | None = None,
    slow: bool = False,
) -> Callable[[Run], Run]:
    """Register a check under its function's name.

    Args:
        group: the topic it is listed under.
        scalar: only for an ``Activation``, not for modules that mix elements.
        norm: only for a ``NormActivation``.
        layer: only for a layer, which comes with its input.
        named: only where an activation string can make fresh ones.
        fresh: only where they can be made with a device and a dtype.
        needs: names of facts; the check is skipped where one is not claimed.
        unless: gives a further reason to skip.
        slow: run only when asked for.
    """

    def applies(case: Case) -> str | None:
        if scalar and not case.scalar:
            return "only for a scalar function; this module mixes elements"
        if norm and not case.norm:
            return "only for a module that normalises and activates"
        if layer and not case.layer:
            return "only for a layer"
        if named and case.spec is None:
            return "only where an activation string makes the module"
        if fresh and not case.fresh:
            return "only where the module can be made with device and dtype"
        missing = [f for f in needs if getattr(case.facts, f) is None]
        if missing:
            return f"{missing[0]} is not claimed"
        return unless(case) if unless else None

    def build(run: Run) -> Run:
        doc = " ".join((run.__doc__ or "").split())
        CHECKS[run.__name__] = Check(run.__name__, group, doc, _without_torch_jit_warnings(run), applies, slow, layer)
        return run

    return build


def _without_torch_jit_warnings(run: Run) -> Run:
    @functools.wraps(run)
    def quiet(case: Case) -> dict[str, float] | None:
        with warnings.catch_warnings():  # torch's own forward mode still uses torch.jit, which it deprecates
            warnings.filterwarnings("ignore", message=r".*torch\.jit", category=DeprecationWarning)
            return run(case)

    return quiet


def has_parameters(case: Case) -> str | None:
    """For ``unless``: a check of parameters needs some."""
    return None if any(p.requires_grad for p in case.module64.parameters()) else "has no parameters"


def expect(condition: bool, message: str) -> None:
    """Raise AssertionError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise AssertionError(message)


def close(got: Tensor, wanted: Tensor, tolerance: Tensor | float, what: str, at: Tensor | None = None) -> None:
    """Compare elementwise in float64 and show the worst element; equal infinities agree, NaN never does."""
    expect(got.shape == wanted.shape, f"{what}: shape {tuple(got.shape)} instead of {tuple(wanted.shape)}")
    got, wanted = got.detach().double(), wanted.detach().double()
    error = torch.where(got == wanted, torch.zeros_like(got), (got - wanted).abs())
    excess = (error / tolerance).nan_to_num(nan=torch.inf, posinf=torch.inf).flatten()
    if excess.numel() and bool(excess.max() > 1):
        worst = int(excess.argmax())
        where = "" if at is None else f" at x={float(at.flatten()[worst]):.9g}"
        allowed = float(torch.as_tensor(tolerance).expand_as(error).flatten()[worst])
        raise AssertionError(
            f"{what}: {float(got.flatten()[worst]):.9g} instead of {float(wanted.flatten()[worst]):.9g}{where} (tolerance {allowed:.2g})"
        )


def same(got: Tensor, wanted: Tensor, what: str, rounding: float = 4.0) -> None:
    """Equal up to ``rounding`` units in the last place of max(1, |wanted|), shape and dtype included."""
    expect(got.dtype == wanted.dtype, f"{what}: dtype {got.dtype} instead of {wanted.dtype}")
    close(got, wanted, rounding * torch.finfo(wanted.dtype).eps * wanted.detach().double().abs().clamp(min=1), what)
