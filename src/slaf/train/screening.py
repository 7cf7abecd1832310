"""Two quick tests that a candidate must pass first: does a network with it learn at all, and can it be blown up."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slaf.core import SlafError, Spec, make

from .lecun import LAYERS
from .loop import Loss, evaluate, pair, train
from .recipe import Recipe
from .seeds import generator, stream

__all__ = ["Verdict", "quality", "screen", "stability"]

Candidate = str | Spec | nn.Module | Callable[..., nn.Module]
STEPS, LIMIT = 100, 1e8
RATE = 0.03
"""Of a weight's size, a step: 1.03^100 is 19. An MLP with two hidden layers of ReLU then reaches a norm of 10⁴, one of x² over 10⁸."""
ROWS = 32
_QUICK = Recipe(epochs=1, batch_size=64)


@dataclass(frozen=True)
class Verdict:
    """What a test found; true where the candidate passed.

    Attributes:
        test: ``"quality"`` or ``"stability"``.
        passed: whether the candidate is kept.
        number: what was measured: the accuracy, or the greatest norm of the gradient.
        steps: those taken.
        reason: the same in one sentence.
    """

    test: str
    passed: bool
    number: float
    steps: int
    reason: str

    def __bool__(self) -> bool:
        return self.passed


def screen(
    candidate: Candidate,
    build: Callable[..., nn.Module],
    data: tuple[Tensor, Tensor],
    valid: tuple[Tensor, Tensor],
    *,
    steps: int = STEPS,
    least: float | None = None,
    limit: float = LIMIT,
    seed: int = 0,
) -> list[Verdict]:
    """Build a network around ``candidate`` and put it to :func:`quality` and :func:`stability`, up to the first that rejects it.

    All candidates meet the same first weights, batches and limits at one seed; torch's global generator is left as it was.

    Args:
        candidate: an activation string; a module, of which every place gets a copy; or a function (a class) that makes one for the
            channels of a place, called as ``candidate(num_channels=…)``.
        build: ``build(make) -> nn.Module``, as for ``slaf compare --model``: ``make(num_channels=…)`` returns the candidate for one place.
        data, valid: inputs (n, …) and class labels (n,); stability is tested on 32 rows of ``data``.
        steps: of each test.
        least: see :func:`quality`.
        limit: see :func:`stability`.
        seed: of everything.

    Returns:
        One or two verdicts, so that ``all(screen(…))`` tells whether the candidate is kept.

    Raises:
        SlafError: an argument that is not allowed, a candidate that is none, or a ``build`` that never calls ``make``.

    Source: the rejection tests of Liu, Brock, Simonyan, Le (2020), arXiv:2004.02967 [from memory].

    Example:
        >>> all(slaf.train.screen("evonorm_s0(groups=8)", build, (x, y), (x_valid, y_valid)))
        True
    """
    x, y = _labelled("data", data)
    given, made = _maker(candidate, seed)
    with stream(seed, "init"):
        model = build(given)
    if not isinstance(model, nn.Module):
        raise SlafError(f"build must return an nn.Module; got {type(model).__name__}")
    if not made:
        raise SlafError("build must call make for every place of the candidate; it never did")
    verdicts = [quality(model, (x, y), valid, steps=steps, least=least, seed=seed)]
    if verdicts[-1]:
        rows = torch.randperm(len(x), generator=generator(seed, "stability"))[:ROWS].to(x.device)
        verdicts.append(stability(model, (x[rows], y[rows]), steps=steps, limit=limit, seed=seed))
    return verdicts


def quality(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    valid: tuple[Tensor, Tensor],
    *,
    steps: int = STEPS,
    least: float | None = None,
    recipe: Recipe = _QUICK,
    seed: int = 0,
) -> Verdict:
    """Train a copy of ``model`` for a few steps; it is rejected if it then reads fewer than ``least`` of the validation samples.

    Most candidates of a search read no more than chance has it, which a hundred steps show. The paper asks for 20 % on CIFAR-10
    [from memory], which is twice chance.

    Args:
        model: maps inputs to the scores of the classes; its first weights count. It is left as it is.
        data, valid: inputs (n, …) and class labels (n,).
        steps: of the optimiser.
        least: the smallest accuracy that passes. By default twice the share c of the commonest class of ``valid``, which is what a
            constant answer can reach, but no more than half way from it to 1, (1 + c)/2.
        recipe: how to train, but for the epochs: Adam at 1e-3 with batches of 64 if not given; the paper's is not known to us.
        seed: of the batches and the model's own noise.

    Raises:
        SlafError: an argument that is not allowed; data that are not inputs and class labels.

    Source: Liu, Brock, Simonyan, Le (2020), arXiv:2004.02967 [from memory].
    """
    x, y = _labelled("data", data)
    _, labels = held_out = _labelled("valid", valid)
    _at_least("steps", steps, 1)
    chance = float(labels.bincount().max()) / len(labels)
    if least is None:
        least = min(2 * chance, (1 + chance) / 2)
    elif isinstance(least, bool) or not isinstance(least, Real) or not 0 <= least <= 1:
        raise SlafError(f"least must be a number from 0 to 1, an accuracy; got {least!r}")
    size = min(recipe.batch_size, len(x))
    order = generator(seed, "quality")
    rows = torch.cat([torch.randperm(len(x), generator=order) for _ in range(-(-steps * size // len(x)))])[: steps * size].to(x.device)
    trained = copy.deepcopy(model)
    how = replace(recipe, epochs=1, batch_size=size)
    trace = train(trained, (x.index_select(0, rows), y.index_select(0, rows)), F.cross_entropy, how, seed=seed)
    if not trace.finite:
        return Verdict("quality", False, math.nan, trace.steps, f"the loss or a parameter became infinite or NaN in {trace.steps} steps")
    accuracy = evaluate(trained, held_out, lambda output, target: (output.argmax(1) == target).float().mean())
    passed = accuracy >= least
    reason = f"after {trace.steps} steps it reads {accuracy:.1%} of the validation samples, {'not ' * (not passed)}at least {least:.1%}"
    return Verdict("quality", passed, accuracy, trace.steps, reason)


def stability(
    model: nn.Module,
    batch: tuple[Tensor, Tensor],
    loss: Loss = F.cross_entropy,
    *,
    steps: int = STEPS,
    limit: float = LIMIT,
    rate: float = RATE,
    seed: int = 0,
) -> Verdict:
    """Move the weights of a copy of ``model`` so that ‖∂loss/∂θ‖₂ grows; it is rejected if that exceeds ``limit`` or is not finite.

    θ are all trainable parameters; the weights of linear and convolutional layers are what moves, in training mode, all on one batch: each
    by ``rate`` times its own norm along the gradient of the norm. So no weight grows beyond (1 + rate)^steps times its size, and what a
    network without normalisation does in that range (with depth L about the power L − 1 of it) need not be an overflow. The worst case is
    what the test adds to :func:`quality`: a graph that ignores its input is as stable as can be.

    Args:
        model: it is left as it is; it must be twice differentiable.
        batch: inputs and targets, a few dozen.
        loss: ``loss(output, target)``, a scalar.
        steps: at most; 0 measures the norm and moves nothing.
        limit: the paper's is 1e8, within 100 steps [from memory].
        rate: of a step; that the steps are relative, and how long they are, is ours: the paper's are not known to us.
        seed: of the model's own noise.

    Raises:
        SlafError: an argument that is not allowed; no linear or convolutional layer with a trainable weight.

    Source: Liu, Brock, Simonyan, Le (2020), arXiv:2004.02967 [from memory].
    """
    x, y = pair("batch", batch)
    _at_least("steps", steps, 0)
    for name, value in (("limit", limit), ("rate", rate)):
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < math.inf:
            raise SlafError(f"{name} must be a positive number; got {value!r}")
    moved = copy.deepcopy(model).train()
    weights = _weights(moved)
    device = weights[0].device
    x, y = x.to(device), y.to(device)
    parameters = [p for p in moved.parameters() if p.requires_grad]
    greatest = 0.0
    with torch.enable_grad(), stream(seed, "noise", device=device):
        for taken in range(steps + 1):
            squared = _squared_norm(loss(moved(x), y), parameters)
            norm = math.sqrt(squared.detach())
            if not norm <= limit:
                reason = f"the gradient's norm is {norm:.3g} after {taken} steps, not at most {limit:.3g}"
                return Verdict("stability", False, norm, taken, reason)
            greatest = max(greatest, norm)
            if taken == steps or not squared.requires_grad:  # a loss that is linear in the parameters has nowhere to go
                break
            uphill = torch.autograd.grad(squared, weights, allow_unused=True)
            if not all(bool(g.isfinite().all()) for g in uphill if g is not None):
                reason = f"the gradient's norm, {norm:.3g} after {taken} steps, has a derivative that is infinite or NaN"
                return Verdict("stability", False, greatest, taken, reason)
            _move(weights, uphill, rate)
    return Verdict("stability", True, greatest, taken, f"the gradient's norm reaches {greatest:.3g} in {taken} steps, at most {limit:.3g}")


def _squared_norm(loss: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """‖∂loss/∂θ‖₂² in float64; its square root would have no derivative at 0, and the direction is the same."""
    total = torch.zeros((), dtype=torch.float64, device=loss.device)
    if not loss.requires_grad:
        return total
    for gradient in torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True):
        if gradient is not None:
            total = total + gradient.double().square().sum()
    return total


@torch.no_grad()
def _move(weights: list[nn.Parameter], uphill: tuple[Tensor | None, ...], rate: float) -> None:
    for weight, direction in zip(weights, uphill, strict=True):
        length = 0.0 if direction is None else float(direction.norm())
        if direction is not None and length:
            weight.add_(direction / length, alpha=rate * (float(weight.norm()) or 1.0))  # a weight of zeros has no size to go by


def _weights(model: nn.Module) -> list[nn.Parameter]:
    """Those of the linear and convolutional layers that are trained, each once."""
    found = {id(m.weight): m.weight for m in model.modules() if isinstance(m, LAYERS)}
    weights = [w for w in found.values() if isinstance(w, nn.Parameter) and w.requires_grad]
    if not weights:
        raise SlafError(f"model must hold a linear or convolutional layer with a trainable weight; {type(model).__name__} has none")
    return weights


def _maker(candidate: Candidate, seed: int) -> tuple[Callable[..., nn.Module], list[nn.Module]]:
    """The ``make`` that ``build`` gets, each module drawn from a stream of its own, and the list of what it made."""
    made: list[nn.Module] = []

    def one(**context: Any) -> nn.Module:
        if isinstance(candidate, nn.Module):
            return copy.deepcopy(candidate)
        module = make(candidate, **context) if isinstance(candidate, (str, Spec)) else candidate(**context)
        if not isinstance(module, nn.Module):
            raise SlafError(f"candidate must make an nn.Module; it made {type(module).__name__}")
        return module

    def given(slot: str = "hidden", num_channels: int | None = None, channel_dim: int = 1) -> nn.Module:  # noqa: ARG001
        elsewhere = {} if channel_dim == 1 else {"channel_dim": channel_dim}
        with stream(seed, "activation", str(len(made))):
            made.append(one(num_channels=num_channels, **elsewhere))
        return made[-1]

    if not (isinstance(candidate, (str, Spec)) or callable(candidate)):
        raise SlafError(f"candidate must be an activation string, a module or a function that makes one; got {candidate!r}")
    return given, made


def _labelled(name: str, data: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    x, y = pair(name, data)
    if y.dim() != 1 or y.dtype != torch.int64 or bool((y < 0).any()):
        raise SlafError(f"{name}: targets must be class labels, int64 of shape (n,) from 0 on; got {y.dtype} of shape {tuple(y.shape)}")
    return x, y


def _at_least(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SlafError(f"{name} must be an integer of at least {least}; got {value!r}")
