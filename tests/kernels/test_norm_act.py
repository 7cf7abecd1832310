"""EvoNorm on the compiled kernels against its definition in float64."""

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_checks import ISAS, LAYOUTS, ROUNDING, agree, laid, needs_native, only_x_is_kept, same_bits

import slaf
from slaf.kernels import native, use

pytestmark = needs_native
NAMES = ["evonorm_b0", "evonorm_b1", "evonorm_b2", "evonorm_s0", "evonorm_s1", "evonorm_s2"]
SHAPES = [(7, 6), (3, 6, 5), (2, 6, 7, 5), (2, 6, 9, 8), (1, 6, 1, 1), (2, 6, 3, 2, 7), (3, 6, 2100)]


def build(name, seed=0, affine=True):
    torch.manual_seed(seed)
    act = slaf.make(f"{name}(affine={affine}{', groups=3' if '_s' in name else ''})", num_channels=6)
    with torch.no_grad():
        for p in act.parameters():
            p.add_(torch.randn_like(p) / 2)
        if "_b" in name:
            act.running_var.uniform_(0.5, 4)
    return act


def holds(act, x, tolerance):
    wide = agree(act, x, tolerance)
    if hasattr(act, "running_var"):
        torch.testing.assert_close(act.running_var.double(), wide.running_var, rtol=2e-6, atol=0)


@st.composite
def cases(draw):
    act = build(draw(st.sampled_from(NAMES)), draw(st.integers(0, 2**31)), affine=draw(st.booleans())).train(draw(st.booleans()))
    x = draw(st.sampled_from([0.0, 1.0, -30.0])) + draw(st.sampled_from([0.3, 3.0])) * torch.randn(draw(st.sampled_from(SHAPES)))
    return act, laid(x, draw(st.sampled_from(LAYOUTS))).to(draw(st.sampled_from(list(ROUNDING))))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_values_and_all_gradients(case):
    act, x = case
    far = float(x.abs().max()) > 20  # gradients by way of the statistics are differences there
    holds(act, x, 2e-3 if far or x.shape[0] * x[0, 0].numel() < 8 else 5e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_instruction_set(name, layout, isa):
    native.force_isa(isa)
    holds(build(name), laid(2 * torch.randn(3, 6, 11, 13), layout), 2e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_threads_change_no_bit(name, layout):
    same_bits(build(name), laid(torch.randn(5, 6, 80, 90), layout))


@pytest.mark.parametrize("name", NAMES)
def test_a_mean_far_from_zero_keeps_its_digits(name):
    x = 1000 + torch.randn(4, 6, 400)
    act, wide = build(name), build(name).double()
    wide.load_state_dict({k: v.double() if v.is_floating_point() else v for k, v in act.state_dict().items()})
    torch.testing.assert_close(act(x).double(), wide(x.double()), rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_only_x_is_kept(name):
    only_x_is_kept(build(name), torch.randn(4, 6, 8, 8, requires_grad=True))


@pytest.mark.parametrize("name", NAMES)
def test_twice_differentiable_and_in_one_backward_of_a_transform(name):
    act, x = build(name), torch.randn(3, 6, 7)
    leaf = x.clone().requires_grad_()
    with use("native"):
        y = act(leaf)
    (gx,) = torch.autograd.grad(y.square().sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(gx.square().sum(), leaf)
    wide, twin = copy.deepcopy(act).double(), x.double().requires_grad_()
    with use("reference"):
        (exact,) = torch.autograd.grad(wide(twin).square().sum(), twin, create_graph=True)
    torch.testing.assert_close(second.double(), torch.autograd.grad(exact.square().sum(), twin)[0], rtol=1e-3, atol=1e-3)
    _, slope = torch.func.jvp(act.eval(), (x,), (torch.ones_like(x),))
    h = 1e-5
    wide.eval().load_state_dict({k: v.double() if v.is_floating_point() else v for k, v in act.state_dict().items()})
    quotient = (wide(x.double() + h) - wide(x.double() - h)) / (2 * h)
    torch.testing.assert_close(slope.double(), quotient, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_stays_in_its_unit(name):
    act, x = build(name).eval(), torch.randn(3, 6, 40)
    x[1, 2, 5] = float("nan")
    y = act(x)
    with use("reference"):
        assert torch.equal(y.isnan(), act(x).isnan())


def test_backward_after_the_statistics_moved_uses_those_of_its_forward():
    act, x = build("evonorm_b0").eval(), torch.randn(3, 6, 40, requires_grad=True)
    wanted = torch.autograd.grad(act(x).sum(), x)[0]
    y = act(x)
    act.train()(torch.randn(3, 6, 40))
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], wanted)


def test_a_slice_and_a_strange_order_of_memory_run_the_definition():
    act, x = build("evonorm_s0"), torch.randn(4, 6, 10, 12)
    for odd in (x[:, :, ::2], x.permute(2, 1, 0, 3).contiguous().permute(2, 1, 0, 3)):
        torch.testing.assert_close(act(odd), act(odd.contiguous()))
