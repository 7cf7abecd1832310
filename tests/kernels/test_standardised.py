"""The batch that is standardised in one call against the composition that it stands for: values, gradients, running statistics."""

import copy

import pytest
import torch

import slaf
from slaf.learnable import fused

SPECS = [
    "slaf",
    "slaf(basis=power, degree=5, momentum=0.7)",
    "slaf(input=batch, coefficient_scale=0.3)",
    "slaf(share=group, groups=2, degree=4)",
    "slaf(share=layer)",
    "slaf(share=unit, num_features=(6, 4, 5), degree=3)",
    "slaf(degree=1)",
]


def made(spec):
    act = slaf.make(spec, **({} if "unit" in spec else {"num_channels": 6}))
    with torch.no_grad():
        act.weight.add_(0.1 * torch.randn_like(act.weight))
    return act


@pytest.fixture
def taken(monkeypatch):
    """Whether the one call ran, for every batch."""
    seen, found = [], fused._standardised
    monkeypatch.setattr(fused, "_standardised", lambda *a: seen.append(found(*a)) or seen[-1])
    return seen


def trained(act, x, g):
    x = x.clone().requires_grad_()
    y = act(x)
    return y, torch.autograd.grad(y, (x, *act.parameters()), g)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("spec", SPECS)
def test_one_call_is_the_composition(spec, memory, taken, monkeypatch):
    torch.manual_seed(3)
    one = made(spec)
    other = copy.deepcopy(one)
    for _ in range(3):
        x = (torch.randn(64, 6, 4, 5) * 1.3 + 0.3).to(memory_format=memory)
        g = torch.randn_like(x)
        got = trained(one, x, g)
        assert taken[-1] is not None
        with monkeypatch.context() as without:
            without.setattr(fused, "_standardised", lambda *_: None)
            want = trained(other, x, g)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(dict(one.named_buffers()), dict(other.named_buffers()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_one_call_takes_a_module_of_a_half_type(dtype, taken, monkeypatch):
    one = made("slaf(basis=power, degree=5)").to(dtype)
    other = copy.deepcopy(one)
    x = torch.randn(64, 6, 4, 5).to(dtype)
    y, grads = trained(one, x, torch.ones_like(x))
    assert taken[-1] is not None
    assert [t.dtype for t in (y, *grads)] == [dtype] * 4
    monkeypatch.setattr(fused, "_standardised", lambda *_: None)
    torch.testing.assert_close((y, grads), trained(other, x, torch.ones_like(x)))


@pytest.mark.parametrize("spec", ["slaf", "slaf(share=group, groups=2, input=batch, basis=power, degree=3)"])
def test_its_gradients_are_differentiable(spec, taken, monkeypatch):
    """As those of the composition, and under ``input=batch`` as a difference of its values in float64 says."""
    torch.manual_seed(4)
    one = made(spec)
    others = copy.deepcopy(one), copy.deepcopy(one).double()
    x, v = torch.randn(16, 6), torch.randn(16, 6)

    def second(act):
        leaf = x.clone().requires_grad_()
        first = torch.autograd.grad((act(leaf) ** 2).sum(), (leaf, act.weight), create_graph=True)
        return torch.autograd.grad((first[0] * v).sum() + first[1].square().sum(), (leaf, act.weight))

    got = second(one)
    assert taken[-1] is not None
    monkeypatch.setattr(fused, "_standardised", lambda *_: None)
    torch.testing.assert_close(got, second(others[0]), rtol=1e-4, atol=1e-3)

    def value(act, step):
        with torch.no_grad():
            return (act(x.double() + step * v) ** 2).sum()

    if not one.input_statistics.renorm:
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad((one(leaf) ** 2).sum(), leaf)
        h = 1e-4
        torch.testing.assert_close((slope * v).sum().double(), (value(others[1], h) - value(others[1], -h)) / (2 * h), rtol=1e-4, atol=1e-3)


def test_what_loses_digits_is_refused_before_anything_is_counted():
    act = made("slaf")
    x = torch.randn(32, 6) + 1000
    before = copy.deepcopy(act.state_dict())
    inputs = act.input_statistics
    assert fused._standardised(act, x, (1, 6), inputs) is None
    assert all(torch.equal(v, before[k]) for k, v in act.state_dict().items())
    act(x)
    torch.testing.assert_close(inputs.mean, x.mean(0), rtol=1e-4, atol=0.0)
    torch.testing.assert_close(inputs.var, x.var(0, correction=0), rtol=1e-3, atol=0.0)


def test_autograd_knows_that_the_statistics_changed(taken):
    act = made("slaf")
    mean = act.input_statistics.mean
    weight = torch.ones(6, requires_grad=True)
    kept = (mean * weight).sum()
    act(torch.randn(32, 6))
    assert taken[-1] is not None
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.backward()
