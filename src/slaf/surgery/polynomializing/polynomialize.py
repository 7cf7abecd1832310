"""``polynomialize``: any trained network becomes a polynomial one and stays accurate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from slaf.bases.paterson_stockmeyer import least_levels
from slaf.core import SlafError
from slaf.surgery.annealing import Annealing, anneal
from slaf.surgery.annealing.numbers import number
from slaf.surgery.comparison import SiteDrift
from slaf.surgery.freeze import freeze, unfolded_batch_norms
from slaf.surgery.plan import copied
from slaf.surgery.recipe import forget
from slaf.surgery.rules import Rules
from slaf.surgery.swap import swap
from slaf.train import Recipe, train

from .data import Data, Loss, device_of, loss_for, quality, tensors
from .operations import Flow
from .outline import levels
from .pooling import average_pools
from .ranges import Degree, refuse_overflow, seen_by, specs
from .report import PolynomialReport, PolynomialSite
from .scaling import Scaled

__all__ = ["RECIPE_FOR_POLYNOMIALS", "polynomialize"]

RECIPE_FOR_POLYNOMIALS = Recipe(
    epochs=20, batch_size=64, lr=1e-3, schedule="cosine", optimizer="adamw", clip=1.0, clip_selectively=True, routine="alternating"
)
"""The default: weights and coefficients in turn, gradients clipped but for those of batch norms."""
MEASURED_ON, BATCHES = 1024, 4
"""Training samples, and batches of them, on which inputs are measured and polynomials fitted before training."""


def polynomialize(
    model: nn.Module,
    degree: Degree,
    data: Data,
    valid: Data | None = None,
    *,
    loss: Loss | None = None,
    recipe: Recipe | None = None,
    epochs: int | None = None,
    margin: float = 1.25,
    share: str = "channel",
    distill: float = 1.0,
    range_penalty: float = 0.1,
    settle: float = 0.5,
    seed: int = 0,
    progress: bool = False,
) -> nn.Module:
    """A copy of ``model`` that computes with additions, multiplications and linear maps alone, trained to stay as good as it is.

    Every elementwise activation becomes a polynomial in Chebyshev form on [-R, R], R = margin · the largest input measured, fitted in
    least squares to the old function on the inputs that it gets. Then the network is trained: front to back the polynomials are blended
    in, each fitted anew when its turn comes; weights and coefficients take turns; R follows the largest input, so that x/R stays in
    [-1, 1] without a clamp; inputs beyond the first R cost a boundary loss; gradients are clipped, those of batch norms are not; the
    original's outputs are distilled. At the end R is fixed, batch norms are folded, dropout is gone. Max pooling becomes average pooling
    of the same geometry, which trains along.

    Args:
        model: any trained module that maps one tensor to one tensor; left as it is.
        degree: of every polynomial, 1 to 24; or by kind, name or pattern (``{"layer1.*": 4, "*": 2}``), the first that fits counts.
        data: inputs and targets to train on: two tensors, or a loader of such pairs, which is read once.
        valid: the same, for the numbers of the report; by default ``data``.
        loss: ``loss(output, target)``; by default cross entropy for integer targets, else the mean squared error.
        recipe, epochs: how to train: :data:`RECIPE_FOR_POLYNOMIALS`; ``epochs=0``: only fitted, not trained.
        margin: at least 1.
        share: ``"channel"``: each channel's polynomial is trained by itself; ``"layer"``: one for all.
        distill, range_penalty, settle: as in :func:`slaf.anneal`.
        seed: of the batches.
        progress: show a bar, if ``rich`` is installed.

    Returns:
        The polynomial network, frozen, in evaluation mode, with ``slaf_report`` (:class:`PolynomialReport`): for every site the degree,
        its multiplicative depth, the range that it needs and the share of test inputs beyond it; the depth of the network; the quality
        before, after the replacement and after training.

    Raises:
        SlafError: no data; a degree that is not allowed or overflows float32 on a range; an operation that has no polynomial form, by
            name; a model without activations; a training whose loss is not finite. The model stays as it was.

    Sources: the four techniques of J. Tong et al. (2024), Accurate Low-Degree Polynomial Approximation of Non-Polynomial Operators for
    Fast Private Inference in Homomorphic Encryption (SMART-PAF), arXiv:2404.03216 [abstract read: coefficient tuning, progressive
    approximation, alternate training, dynamic and static scaling; their details here are ours]; boundary loss and selective clipping as
    in arXiv:2505.11589 [abstract read], see :func:`slaf.train.boundary_loss`.

    Example:
        >>> network = slaf.polynomialize(model, 4, (images, labels), valid=(test_images, test_labels))
        >>> print(network.slaf_report)
    """
    recipe = RECIPE_FOR_POLYNOMIALS if recipe is None else recipe
    recipe = recipe if epochs is None else replace(recipe, epochs=epochs)
    number("margin", margin, "of at least 1", value_ok=lambda v: v >= 1)
    if not isinstance(model, nn.Module):
        raise SlafError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    trained_on = tensors("data", data)
    tested = trained_on if valid is None else tensors("valid", valid)
    loss = loss_for(trained_on[1]) if loss is None else loss
    original = quality(model, tested, loss)
    example = [rows.to(device_of(model)) for rows in trained_on[0][:MEASURED_ON].chunk(BATCHES)]
    prepared = copied(model)
    pools = average_pools(prepared, example[0])
    wanted = specs(prepared, example, degree, margin, share)
    rules: Rules = {"*": lambda site: wanted.get(site.name)}
    bare = swap(prepared, rules, example, outside="extrapolate")
    swapped: Any = bare.slaf_report
    replaced = quality(_frozen(bare, example)[0], tested, loss)
    annealing = anneal(
        prepared,
        rules,
        example,
        order="front_to_back",
        settle=settle,
        distill=distill,
        distance="mse" if trained_on[1].is_floating_point() else "kl",
        teacher=model,
        range_penalty=range_penalty,
        outside="extrapolate",
        inplace=True,
    )
    for name, blend in annealing.blends.items():
        refuse_overflow(name, blend.new)  # type: ignore[arg-type]
    _train(annealing, [Scaled(blend, slot, margin) for slot, blend in annealing.slots], trained_on, loss, recipe, seed, progress)
    whole = annealing.finish()
    network, depth = _frozen(whole, example)
    network.slaf_report = PolynomialReport(  # type: ignore[assignment]
        sites=_sites(annealing, whole, swapped.sites, trained_on[0], tested[0]),
        pools=pools,
        depth=depth,
        original=original,
        replaced=replaced,
        trained=quality(network, tested, loss),
        held_out=valid is not None,
        unfolded=unfolded_batch_norms(network),
    )
    return network


def _frozen(model: nn.Module, example: list[Tensor]) -> tuple[nn.Module, int]:
    """As it is evaluated, and its depth; raises where it is no polynomial."""
    frozen = freeze(model, example)
    flow = Flow(frozen, example[0][:2])
    if left := flow.left():
        raise SlafError(f"the model has operations without a polynomial form: {', '.join(left)}; exchange or remove them first")
    forget(frozen)  # the intervals of the swap are not those of the result
    return frozen, levels(flow)


def _train(
    annealing: Annealing, scales: list[Scaled], data: tuple[Tensor, Tensor], loss: Loss, recipe: Recipe, seed: int, progress: bool
) -> None:
    finite = True
    if recipe.epochs:
        finite = train(annealing.model, data, loss, recipe, seed, progress=progress, annealing=annealing).finite
    annealing.progress = 1.0
    for scale in scales:
        scale.remove()
    if not finite:
        raise SlafError("training came to a loss that is not finite; take a lower degree, a smaller lr or a larger margin")


def _sites(
    annealing: Annealing, whole: nn.Module, drifts: Sequence[SiteDrift], trained_on: Tensor, tested: Tensor
) -> tuple[PolynomialSite, ...]:
    sites = [slot.sites[0] for slot, _ in annealing.slots]
    acts: list[Any] = [blend.new for _, blend in annealing.slots]
    given, errors = seen_by(acts, whole, tested), {drift.name: drift.drift for drift in drifts}
    needed = seen_by(acts, whole, torch.cat([trained_on, tested]))
    return tuple(
        PolynomialSite(
            name=site.name,
            before=site.kind,
            degree=act.degree,
            depth=least_levels(act.degree),
            seen=(whole_data.low, whole_data.high),
            interval=act.interval,
            outside_share=test.beyond / max(test.count, 1),
            fit_error=errors[site.name],
        )
        for site, act, test, whole_data in zip(sites, acts, given, needed, strict=True)
    )
