"""``Annealing``: the state of an exchange of activations while it goes on, and the report at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from slaf.core import SlafError
from slaf.surgery.comparison import SwapReport
from slaf.surgery.drift import Drift, drift_of, tensors_of
from slaf.surgery.edits import hand_over_hooks
from slaf.surgery.plan import Plan, outputs
from slaf.surgery.recipe import record
from slaf.surgery.replacements import install, number_format
from slaf.surgery.site import Site, aligned
from slaf.surgery.targets import Slot
from slaf.surgery.watching.observe import call
from slaf.train.distillation import distillation_loss

from .blend import Blend, Called
from .numbers import number

__all__ = ["AnnealReport", "Annealing"]

VERSION = 1


@dataclass(frozen=True)
class AnnealReport(SwapReport):
    """What annealing changed: ``output`` is the drift after training, ``bare`` what the swap alone would have done before it."""

    bare: Drift
    progress: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return super().to_dict() | {"bare": self.bare.to_dict(), "progress": self.progress}

    def __str__(self) -> str:
        return f"{super().__str__()}\nbefore training, by the swap alone: {self.bare}"


class Annealing:
    """A model on its way to other activations, made by :func:`anneal`; ``print`` it for a table of the sites.

    Attributes:
        model: the changed model, the one to train.
        distill, distance, range_penalty: as given.
    """

    distill: float
    distance: str
    range_penalty: float

    def __init__(
        self, model: nn.Module, planned: Plan, interval: tuple[float, float] | None, alphas: Callable[[float, int], list[float]]
    ) -> None:
        self.model, self._plan, self._alphas = model, planned, alphas
        self._teacher: nn.Module | None = None
        self._before, self._drifts = planned.side_by_side(model)
        edits = planned.install(model, hooks=False)
        try:
            self._bare = drift_of(self._before, outputs(model, planned.tested_on))
        finally:
            edits.undo()
        placed = [[_blend(model, slot.sites, fitted, interval) for slot, fitted in change.pairs] for change in planned.changes]
        self._edits = install(model, [(change.replacement, b) for change, b in zip(planned.changes, placed, strict=True)])
        pairs = [(slot, b) for c, bs in zip(planned.changes, placed, strict=True) for (slot, _), b in zip(c.pairs, bs, strict=True)]
        pairs.sort(key=lambda pair: pair[0].sites[0].index)
        self._slots, self._blends = [slot for slot, _ in pairs], [blend for _, blend in pairs]
        self._sites = [slot.sites[0] for slot in self._slots]
        self._progress, self._finished = 0.0, False
        self.progress = 0.0

    @property
    def progress(self) -> float:
        """How far the whole is, from 0 (the old activations alone) to 1 (the new ones alone); set it, or :meth:`step`."""
        return self._progress

    @progress.setter
    def progress(self, value: float) -> None:
        self._must_run()
        number("progress", value, "in [0, 1]", value_ok=lambda v: 0 <= v <= 1)
        self._progress = float(value)
        for blend, alpha in zip(self._blends, self._alphas(self._progress, len(self._blends)), strict=True):
            blend.set_alpha(alpha)

    def step(self, by: float) -> float:
        """Go on by this share of the way, at most to its end; returns the progress. A sum of steps that misses 1 by rounding is 1."""
        number("by", by, "in [0, 1]", value_ok=lambda v: 0 <= v <= 1)
        further = self._progress + float(by)
        self.progress = 1.0 if further > 1 - 1e-9 else further
        return self._progress

    @property
    def finished(self) -> bool:
        """Whether :meth:`finish` was called."""
        return self._finished

    @property
    def blends(self) -> dict[str, Blend]:
        """The blend of every site, by the site's name, in the order of the data."""
        self._must_run()
        return {site.name: blend for site, blend in zip(self._sites, self._blends, strict=True)}

    @property
    def slots(self) -> list[tuple[Slot, Blend]]:
        """The calls that each blend serves, in the order of the data."""
        return list(zip(self._slots, self._blends, strict=True))

    @property
    def alphas(self) -> dict[str, float]:
        """α of every site."""
        return {name: float(blend.alpha) for name, blend in self.blends.items()}

    def penalty(self) -> Tensor:
        """range_penalty · Σ over the sites of the boundary loss of their inputs in the last forward in training; differentiable, once.

        Raises:
            SlafError: no site has seen a forward in training mode, with gradients, since the last call.
        """
        self._must_run()
        device = self._blends[0].alpha.device
        if not self.range_penalty:
            return torch.zeros((), device=device)
        losses = [loss for blend in self._blends for loss in blend.taken()]
        if not losses:
            raise SlafError("penalty() needs a forward of annealing.model in training mode, with gradients, before each call")
        return self.range_penalty * torch.stack([loss.to(device) for loss in losses]).sum()

    def distillation(self, batch: Any, output: Any) -> Tensor:
        """distill · the distance of ``output`` from what the original model gives for ``batch``, in evaluation mode.

        Args:
            batch: as the model takes it: a tensor, a tuple of arguments or a dict of keyword arguments.
            output: the model's, for the same batch. Of a structure ``logits`` is compared, else all floating tensors but scalars.

        Raises:
            SlafError: ``output`` holds nothing to compare.
        """
        self._must_run()
        if self._teacher is None:
            return torch.zeros((), device=self._blends[0].alpha.device)
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        with torch.no_grad():
            wanted = tensors_of(call(self._teacher.to(device), batch))
        got = tensors_of(output)
        names = [n for n, t in wanted.items() if t.is_floating_point() and t.dim() and n in got]
        names = ["logits"] if "logits" in names else names
        if not names:
            raise SlafError(f"output ({type(output).__name__}) and the original's hold no floating tensor of the same name to distil from")
        return self.distill * torch.stack([distillation_loss(got[n], wanted[n], self.distance) for n in names]).mean()

    def finish(self) -> nn.Module:
        """Every blend becomes its new activation. Returns the model, with ``slaf_recipe`` and ``slaf_report`` as a swapped one has.

        :func:`slaf.undo` takes it back to the old activations. The parameters are the ones that were trained; no other use of this
        object is possible afterwards.
        """
        self._must_run()
        for blend in self._blends:
            blend.set_alpha(1.0)
        after = drift_of(self._before, outputs(self.model, _on_device_of(self.model, self._plan.tested_on)))
        self._edits.undo()
        edits = self._plan.install(self.model, hooks=False)
        for blend in self._blends:
            hand_over_hooks(blend, blend.new)
            blend.new.train(blend.training)
        record(self.model, [change.replacement for change in self._plan.changes], edits)
        self.model.slaf_report = AnnealReport(  # type: ignore[assignment]
            tuple(self._drifts), after, self._plan.held_out, self._plan.missed, self._bare, self._progress
        )
        self._finished = True
        return self.model

    def state_dict(self) -> dict[str, Any]:
        """Plain data, beside the model's own ``state_dict``: progress, and what is blended into what over which ranges."""
        self._must_run()
        return {
            "version": VERSION,
            "progress": self._progress,
            "sites": [site.name for site in self._sites],
            "activations": [str(blend.new.spec()) for blend in self._blends],
            "intervals": [blend.interval.tolist() for blend in self._blends],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another one, made by the same call, was saved.

        Raises:
            SlafError: the state is none, or of other sites or activations.
        """
        mine = self.state_dict()
        try:
            if state["version"] != VERSION:
                raise SlafError(f"the state has version {state['version']!r}; this slaf reads version {VERSION}")
            for what in ("sites", "activations"):
                if list(state[what]) != mine[what]:
                    raise SlafError(f"the state belongs to another annealing: its {what} are {list(state[what])}, not {mine[what]}")
            progress, intervals = state["progress"], [torch.tensor(i) for i in state["intervals"]]
        except (KeyError, TypeError, ValueError) as problem:
            raise SlafError(
                f"state must be an annealing's state_dict; reading it failed with {type(problem).__name__}: {problem}"
            ) from None
        self.progress = progress
        for blend, interval in zip(self._blends, intervals, strict=True):
            blend.interval.copy_(interval)

    def _must_run(self) -> None:
        if self._finished:
            raise SlafError("this annealing is finished; slaf.anneal(model, …) begins another")

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        """A table at most 120 columns wide."""
        said = "finished" if self._finished else f"{self._progress:.1%} of the way"
        rows: list[tuple[str, ...]] = [("site", "old", "new", "range", "blended")]
        for site, blend in zip(self._sites, self._blends, strict=True):
            low, high = blend.interval.tolist()
            rows.append((site.name, site.kind, str(blend.new.spec()), f"[{low:.3g}, {high:.3g}]", f"{float(blend.alpha):.1%}"))
        return "\n".join([f"{type(self.model).__name__}: {said}", *aligned(rows, left=(0, 1, 2))])


def _blend(model: nn.Module, sites: list[Site], fitted: Any, interval: tuple[float, float] | None) -> Blend:
    site = sites[0]
    old = model.get_submodule(site.path) if site.how == "module" else Called(site.target)
    blend = Blend(old, fitted.module, interval or (fitted.low, fitted.high), len(sites))
    if site.how == "module":
        hand_over_hooks(old, blend)
    form = number_format(model, site.path)
    if form is not None:
        blend.alpha, blend.interval = blend.alpha.to(form[0]), blend.interval.to(form[0])
    return blend


def _on_device_of(model: nn.Module, examples: list[Any]) -> list[Any]:
    """The examples where the model is now."""
    form = number_format(model, "")
    return examples if form is None else tree_map(lambda v: v.to(form[0]) if isinstance(v, Tensor) else v, examples)
