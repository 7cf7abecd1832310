"""The sibling contract: checks of a module that normalises and activates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slaf.core import NormActivation

from .case import Case
from .check import check, close, expect

GROUP = "normalisation"


def _module(case: Case, dtype: torch.dtype = torch.float64) -> NormActivation:
    module = case.build().to(dtype)
    assert isinstance(module, NormActivation)
    return module


@check(GROUP, norm=True)
def mixing_scope(case: Case) -> None:
    """In training an element reaches as far as ``mixes`` says and no further: its token, its sample or the batch."""
    module = _module(case)
    expect(module.mixes in ("token", "sample", "batch"), f"mixes is {module.mixes!r} instead of token, sample or batch")
    x = case.input(torch.float64)
    moved = x.clone()
    moved[(0,) * x.dim()] += 1.0
    change = (_fresh(case)(moved) - _fresh(case)(x)).abs() > 1e-12
    other_samples = bool(change[1:].any())
    if module.mixes == "batch":
        expect(other_samples, "mixes='batch', but no other sample sees a change")
        return
    expect(not other_samples, f"mixes={module.mixes!r}, but another sample sees a change")
    own = change[0].clone()
    token = (0,) * (own.dim() - 1)
    beyond = own.clone()
    beyond[token] = False
    if module.mixes == "sample":
        expect(bool(beyond.any()), "mixes='sample', but only the element's own token sees a change")
        return
    expect(bool(own[token][1:].any()), "mixes='token', but no other element of the token sees a change")
    expect(not bool(beyond.any()), "mixes='token', but another token sees a change")


def _fresh(case: Case) -> NormActivation:
    return _module(case).train()


def _scale_is_claimed(case: Case) -> str | None:
    module = case.module64
    return None if getattr(module, "scale_invariant", None) is not None else "scale_invariant is not claimed"


@check(GROUP, norm=True, unless=_scale_is_claimed)
def scale_invariance(case: Case) -> None:
    """``scale_invariant`` says whether f(c·x) = f(x) for c > 0 in training, up to the eps of the normalisation."""
    x = 10 * case.input(torch.float64, batch=8)
    y, scaled = _fresh(case)(x), _fresh(case)(100 * x)
    same = bool(((y - scaled).abs() < 1e-3 * y.abs().clamp(min=1)).all())
    claimed = bool(_module(case).scale_invariant)
    expect(same == claimed, f"scale_invariant is {claimed}, but f(100 x) {'equals' if same else 'differs from'} f(x)")


@check(GROUP, norm=True)
def constant_input(case: Case) -> None:
    """Constant and zero inputs give finite values and gradients, in training and evaluation."""
    for training in (True, False):
        for value in (0.0, 3.0, -1e3):
            x = torch.full_like(case.input(), value).requires_grad_()
            module = case.build().train(training)
            y = module(x)
            expect(
                bool(torch.isfinite(y).all()), f"a constant input of {value:g} gives {float(y.flatten()[0].detach())} (training={training})"
            )
            y.square().sum().backward()
            finite = all(bool(torch.isfinite(t.grad).all()) for t in (x, *module.parameters()) if t.grad is not None)
            expect(finite, f"a constant input of {value:g} gives gradients that are not finite (training={training})")


@check(GROUP, norm=True)
def half_precision(case: Case) -> None:
    """In bfloat16 and float16 the values are those of float64 on the same inputs and parameters, to 8 units in the last place."""
    for dtype in (torch.bfloat16, torch.float16):
        for training in (True, False):
            x = (100 + case.input(torch.float64, batch=16)).to(dtype)  # far from 0, where statistics in half precision are lost
            module = case.build().to(dtype).train(training)
            wide = case.build().to(dtype).double().train(training)
            wanted = wide(x.double())
            close(module(x), wanted, 8 * torch.finfo(dtype).eps * wanted.detach().abs().clamp(min=1), f"value in {dtype}", x)


@check(GROUP, norm=True)
def training_gradcheck(case: Case) -> None:
    """In training, gradients of input and parameters through the statistics agree with finite differences."""
    module = _fresh(case)
    names = [n for n, _ in module.named_parameters()]
    x = case.smooth(case.input(torch.float64, batch=4))
    buffers = {n: b.clone() for n, b in module.named_buffers()}

    def loss(x: Tensor, *values: Tensor) -> Tensor:
        state = dict(zip(names, values, strict=True)) | {n: b.clone() for n, b in buffers.items()}
        return torch.func.functional_call(module, state, (x,))

    values = tuple(p.detach().clone().requires_grad_() for _, p in module.named_parameters())
    expect(torch.autograd.gradcheck(loss, (x.requires_grad_(), *values)), "gradcheck in training fails")


def _keeps_statistics(case: Case) -> str | None:
    return None if any(b.is_floating_point() for b in case.module64.buffers()) else "keeps no statistics"


@check(GROUP, norm=True, unless=_keeps_statistics)
def running_statistics(case: Case) -> None:
    """Statistics move in training towards those of the batches, stay as they are in evaluation, and are used there."""
    module: nn.Module = _module(case).train()
    before = {n: b.clone() for n, b in module.named_buffers()}
    x = 3 + 2 * case.input(torch.float64, batch=64)
    module(x)
    moved = [n for n, b in module.named_buffers() if b.is_floating_point() and not torch.equal(b, before[n])]
    expect(bool(moved), "no statistic moves in training")
    for _ in range(2000):
        module(x)
    trained = module(x)
    settled = module.eval()(x)
    close(settled, trained, 0.05 * trained.detach().abs().clamp(min=1), "evaluation after many equal batches", x)
