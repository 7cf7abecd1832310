"""Rational on the compiled kernels against the definition in float64."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import slaf
from slaf.kernels import native, use

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled kernels are not there")
ROUNDING = {torch.float32: 0.0, torch.bfloat16: 2**-8, torch.float16: 2**-11}


@st.composite
def modules(draw):
    form = draw(st.sampled_from(["even", "per_term", "joint", "square"]))
    n = draw(st.sampled_from([0, 2, 4, 6]))
    share = draw(st.sampled_from(["channel", "layer", "group", "mixed"]))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    more = {"mixed": ", numerator_share=layer, share=channel", "group": ", share=group", "layer": ", share=layer"}.get(share, "")
    options = {"groups": 3} if share == "group" else {}
    act = slaf.make(f"rational({draw(st.integers(1, 6))}, {n}, denominator={form}, init=identity{more})", num_channels=6, **options)
    with torch.no_grad():
        for p in act.parameters():
            p.copy_(torch.randn_like(p) / 2)
    shape = draw(st.sampled_from([(7, 6), (3, 6, 5), (2, 6, 7, 5), (2, 6, 1, 1)]))
    x = (2 * torch.randn(shape)).clamp(-3, 3)
    if len(shape) == 4 and draw(st.booleans()):
        x = x.contiguous(memory_format=torch.channels_last)
    return act, x.to(draw(st.sampled_from(list(ROUNDING))))


@settings(deadline=None, max_examples=80)
@given(modules())
def test_values_and_all_gradients(case):
    act, x = case
    wide, w = copy.deepcopy(act).double(), torch.randn(x.shape).to(x.dtype)
    x, twin = x.requires_grad_(), x.detach().double().requires_grad_()
    with use("native"):
        y = act(x)
        grads = torch.autograd.grad(y, [x, *act.parameters()], w)
    assert y.stride() == x.stride() == grads[0].stride()
    assert y.dtype == x.dtype
    exact = wide(twin)
    wanted = torch.autograd.grad(exact, [twin, *wide.parameters()], w.double())
    slack = 2 * ROUNDING[x.dtype] + 1e-4
    for got, value in zip((y, *grads), (exact, *wanted), strict=True):
        torch.testing.assert_close(got.double(), value, rtol=slack, atol=slack / 2 * float(value.detach().abs().max()) + 1e-6)


@pytest.mark.parametrize("form", ["even", "per_term", "joint", "square"])
def test_large_inputs_zero_and_what_is_not_finite(form):
    act = slaf.make(f"rational(5, 4, denominator={form}, init=identity)", num_channels=1)
    with torch.no_grad():
        act.numerator.copy_(torch.tensor([[0.1, -0.5, 0.3, 0.2, 0.1, 0.4]]))
        act.denominator.copy_(torch.tensor([0.3, -0.2, 0.1, 0.5])[: act.denominator.shape[1]])
    x = torch.tensor([0.0, -0.0, 1e-30, 1e4, -1e4, 1e7, -1e7, float("nan"), float("inf"), -float("inf")] * 7)[:, None]
    out = []
    for mode in ("native", "reference"):
        leaf = x.clone().requires_grad_()
        with use(mode):
            y = act(leaf)
            out.append((y, *torch.autograd.grad(y.nan_to_num(0, 0, 0).sum(), leaf)))
    for a, b in zip(*out, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_a_denominator_that_starts_at_one_learns():
    act = slaf.make("rational(3, 2, init=identity)", num_channels=2)
    with use("native"):
        act(torch.randn(64, 2)).square().sum().backward()
    assert (act.denominator.grad.abs() > 0).all()


@pytest.mark.parametrize("form", ["even", "per_term", "joint", "square"])
def test_second_derivatives_and_transforms(form):
    torch.manual_seed(0)
    act = slaf.make(f"rational(4, 2, denominator={form})", num_channels=3)
    with torch.no_grad():
        act.denominator.add_(0.2)
    wide = copy.deepcopy(act).double()
    x = torch.randn(6, 3)
    found = []
    for module, leaf in ((act, x.clone().requires_grad_()), (wide, x.double().requires_grad_())):
        inputs = [leaf, *module.parameters()]
        first = torch.autograd.grad(module(leaf).sin().sum(), inputs, create_graph=True)
        found.append([*first, *torch.autograd.grad(sum(f.square().sum() for f in first), inputs)])
    for got, exact in zip(*found, strict=True):
        torch.testing.assert_close(got.double(), exact, rtol=1e-3, atol=1e-5 * float(exact.detach().abs().max()))
    slope = wide.derivative(x.double())
    torch.testing.assert_close(torch.func.jvp(act, (x,), (torch.ones_like(x),))[1].double(), slope, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.func.vmap(lambda v: act(v[None])[0])(x), act(x), rtol=1e-5, atol=1e-6)
    torch._dynamo.reset()  # the limit of recompilations counts those of other tests
    compiled = torch.compile(act, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), act(x), rtol=1e-5, atol=1e-6)


def test_only_the_input_is_kept():
    kept = []
    act = slaf.make("rational", num_channels=8)
    x = torch.randn(512, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t), use("native"):
        act(x)
    assert sum(kept) <= 1.05 * x.numel()
