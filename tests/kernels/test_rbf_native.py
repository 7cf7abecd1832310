"""SLAF over Gaussian radial basis functions on the compiled kernels against its definition in float64."""

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_checks import ISAS, LAYOUTS, ROUNDING, agree, laid, needs_native, only_x_is_kept, same_bits

import slaf
from slaf.kernels import native, use

pytestmark = needs_native


def build(spec, seed=0, **options):
    torch.manual_seed(seed)
    act = slaf.make(spec, num_channels=6, **options)
    with torch.no_grad():
        for p in act.parameters():
            p.add_(torch.randn_like(p))
    return act


@st.composite
def cases(draw):
    terms, width = draw(st.sampled_from([(1, 1.0), (3, 0.4), (8, 1.0), (8, 2.0), (11, 0.8), (11, 1.0), (17, 1.0), (6, 3.0)]))
    more = draw(st.sampled_from(["", ", input=identity", ", input=batch", ", interval=(-2.0, 1.0)"]))
    share = draw(st.sampled_from(["channel", "layer", "group"]))
    options = {"groups": 3} if share == "group" else {}
    act = build(f"slaf(basis=rbf(width={width}), terms={terms}, share={share}{more})", draw(st.integers(0, 2**31)), **options)
    act.train(draw(st.booleans()))
    x = draw(st.sampled_from([0.0, 0.7])) + draw(st.sampled_from([0.5, 2.0])) * torch.randn(
        draw(st.sampled_from([(41, 6), (9, 6, 5), (2, 6, 7, 5), (4, 6, 9, 8), (8, 6, 2, 1), (2, 6, 2100)]))
    )
    return act, laid(x, draw(st.sampled_from(LAYOUTS))).to(draw(st.sampled_from(list(ROUNDING))))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_values_and_all_gradients(case):
    agree(*case, 3e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("terms", [8, 11, 5])
def test_every_instruction_set(terms, layout, isa):
    native.force_isa(isa)
    agree(build(f"slaf(basis=rbf, terms={terms}, share=channel)"), laid(2 * torch.randn(3, 6, 11, 13), layout), 3e-5)


@pytest.mark.parametrize("terms", [8, 11])
def test_values_to_float32_rounding(terms):
    """On the whole domain and beyond, beside float64, in units of the coefficients' size."""
    act = build(f"slaf(basis=rbf, terms={terms}, share=layer, input=identity)").eval()
    x = torch.linspace(-9, 9, 6 * 4001).reshape(-1, 6)
    with use("native"):
        y = act(x)
    error = (y.double() - copy.deepcopy(act).double()(x.double())).abs().max()
    assert float(error.detach()) < 2e-6 * float(act.coefficients()[0].detach().abs().sum())


def test_far_out_only_the_bias_is_left():
    act = build("slaf(basis=rbf, terms=8, share=channel, input=identity)")
    x = torch.tensor([1e3, -1e3, 1e30, -1e30, float("inf"), -float("inf")] * 40)[:, None].repeat(1, 6).requires_grad_()
    y = act(x)
    y.sum().backward()
    torch.testing.assert_close(y, act.coefficients()[1].float().expand_as(y), rtol=1e-6, atol=1e-6)
    assert float(x.grad[torch.isfinite(x)].abs().max()) < 1e-30
    assert bool(act(torch.full((3, 6), float("nan"))).isnan().all())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_threads_change_no_bit(layout):
    same_bits(build("slaf(basis=rbf, terms=8, share=channel)"), laid(torch.randn(5, 6, 80, 90), layout))


@pytest.mark.parametrize("training", [True, False])
def test_only_x_is_kept_and_it_differentiates_twice(training):
    act = build("slaf(basis=rbf, terms=8, share=channel)").train(training)
    wide, x = copy.deepcopy(act).double(), torch.randn(9, 6, 8, requires_grad=True)
    y = only_x_is_kept(act, x)
    twin = x.detach().double().requires_grad_()
    second = []
    for leaf, out in ((x, y), (twin, wide(twin))):
        (gx,) = torch.autograd.grad(out.square().sum(), leaf, create_graph=True)
        second.append(torch.autograd.grad(gx.square().sum(), leaf)[0])
    torch.testing.assert_close(second[0].double(), second[1], rtol=1e-3, atol=1e-3 * float(second[1].abs().max()))


def test_statistics_are_those_of_the_definition():
    acts = [build("slaf(basis=rbf, terms=8, share=channel)") for _ in range(2)]
    for _ in range(3):
        x = 5 + 2 * torch.randn(16, 6, 4)
        acts[0](x)
        with use("reference"):
            acts[1](x)
    for name, buffer in acts[0].named_buffers():
        torch.testing.assert_close(buffer, dict(acts[1].named_buffers())[name], rtol=1e-5, atol=1e-6)


def test_grids_beyond_the_range_run_the_definition():
    for spec in ("rbf(width=0.1), terms=11", "rbf, terms=40"):
        act, x = build(f"slaf(basis={spec}, share=channel)").eval(), torch.randn(7, 6)
        with use("reference"):
            wanted = act(x)
        assert torch.equal(act(x), wanted)
