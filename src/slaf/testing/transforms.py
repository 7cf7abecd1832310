"""Checks of functional transforms and of torch.compile, by value, in evaluation mode."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from .case import Case
from .check import check, close, expect, has_parameters, same

GROUP = "transforms"


def _x(case: Case) -> Tensor:
    return case.smooth(case.input(torch.float64))


@check(GROUP)
def jvp(case: Case) -> None:
    """Forward-mode derivatives (``torch.func.jvp``) agree with finite differences; a silent zero is caught."""
    module, x = case.evaluated(torch.float64), _x(case)
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    y, got = torch.func.jvp(module, (x,), (v,))  # type: ignore[misc]
    same(y, module(x), "the value under jvp")
    h = 1e-5
    wanted = (module(x + h * v) - module(x - h * v)) / (2 * h)
    close(got, wanted, 1e-6 * wanted.detach().abs().clamp(min=1), "jvp")


@check(GROUP)
def vmap(case: Case) -> None:
    """``torch.func.vmap`` over an added dimension, alone and around a gradient, gives what a loop gives."""
    module, x = case.evaluated(torch.float64), _x(case)
    stack = torch.stack([x, -x, 0.5 * x])
    same(torch.func.vmap(module)(stack), torch.stack([module(part) for part in stack]), "vmap", rounding=16)

    def gradient(part: Tensor) -> Tensor:
        return torch.func.grad(lambda t: module(t).sum())(part)

    same(torch.func.vmap(gradient)(stack), torch.stack([gradient(part) for part in stack]), "vmap of the gradient", rounding=64)


@check(GROUP, unless=has_parameters)
def per_sample_gradients(case: Case) -> None:
    """``torch.func.vmap`` around the gradient of the parameters gives every sample's, as a loop does."""
    module, x = case.evaluated(torch.float64), _x(case)
    values = {n: p.detach() for n, p in module.named_parameters()}
    samples = x.movedim(case.batch_dim, 0).unsqueeze(case.batch_dim or 1)  # each a batch of one

    def loss(values: dict[str, Tensor], sample: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(module, values, (sample,))
        return y.square().sum()

    gradient = torch.func.grad(loss)
    got = torch.func.vmap(gradient, (None, 0))(values, samples)
    wanted = [gradient(values, sample) for sample in samples]
    for name in values:
        same(got[name], torch.stack([w[name] for w in wanted]), f"the gradient of {name} of every sample", rounding=64)


@check(GROUP, scalar=True)
def hessian(case: Case) -> None:
    """``torch.func.hessian`` is diagonal, with the difference quotients of the gradient on its diagonal."""
    x = case.away_from_kinks(torch.tensor([-2.1, -0.6, 0.35, 1.8], dtype=torch.float64), 1e-2)
    got = torch.func.hessian(lambda t: case.f(t).sum())(x)
    h = 1e-5
    wanted = torch.diag((case.d(x + h) - case.d(x - h)) / (2 * h))
    close(got, wanted, 1e-5 * wanted.abs().clamp(min=1), "hessian")


def _compiled(case: Case, backend: str, rounding: float) -> None:
    module, x = case.evaluated(), case.input()
    plain = x.clone().requires_grad_()
    wanted = module(plain)
    wanted.square().sum().backward()
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        compiled = torch.compile(module, fullgraph=True, backend=backend)
        leaf = x.clone().requires_grad_()
        y = compiled(leaf)
        y.square().sum().backward()
    expect(y.dtype == x.dtype, f"compiled: {x.dtype} in, {y.dtype} out")
    same(y, wanted, "the compiled value", rounding=rounding)
    assert leaf.grad is not None
    assert plain.grad is not None
    same(leaf.grad, plain.grad, "the compiled gradient", rounding=4 * rounding)


@check(GROUP)
def compile(case: Case) -> None:
    """``torch.compile(fullgraph=True)`` gives the eager value and gradient."""
    _compiled(case, "aot_eager", rounding=16)


@check(GROUP, slow=True)
def inductor(case: Case) -> None:
    """``torch.compile(fullgraph=True)`` with Inductor, which writes and compiles C++, gives the eager value and gradient."""
    _compiled(case, "inductor", rounding=64)
