"""batch_norm(<activation>) against torch's BatchNorm followed by the activation."""

import pytest
import torch
from torch import nn

import slaf
from slaf.core import SlafError

SHAPES = [((8, 5), nn.BatchNorm1d), ((8, 5, 7), nn.BatchNorm1d), ((4, 5, 3, 6), nn.BatchNorm2d), ((4, 5, 2, 3, 2), nn.BatchNorm3d)]


@pytest.mark.parametrize(("shape", "norm"), SHAPES)
def test_agrees_with_torch_through_training(shape, norm):
    torch.manual_seed(0)
    ours, theirs = slaf.make("batch_norm(relu)", num_channels=5), nn.Sequential(norm(5), nn.ReLU())
    optimizers = [torch.optim.SGD(m.parameters(), 0.1) for m in (ours, theirs)]
    for _ in range(3):
        x = 3 * torch.randn(shape) + 1
        leaves = [x.clone().requires_grad_() for _ in range(2)]
        results = [m(leaf) for m, leaf in zip((ours, theirs), leaves, strict=True)]
        assert torch.equal(*results)
        for y, optimizer in zip(results, optimizers, strict=True):
            optimizer.zero_grad()
            y.square().mean().backward()
            optimizer.step()
        assert torch.equal(leaves[0].grad, leaves[1].grad)
    assert torch.equal(ours.running_mean, theirs[0].running_mean)
    assert torch.equal(ours.running_var, theirs[0].running_var)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_any_channel_dimension():
    torch.manual_seed(0)
    x = torch.randn(4, 6, 5)
    last = slaf.make("batch_norm(relu)", num_channels=5, channel_dim=-1)
    first = slaf.make("batch_norm(relu)", num_channels=5)
    assert torch.equal(last(x), first(x.transpose(1, 2)).transpose(1, 2))
    front = slaf.make("batch_norm(relu)", num_channels=4, channel_dim=0)
    assert torch.equal(front(x), slaf.make("batch_norm(relu)", num_channels=4)(x.transpose(0, 1)).transpose(0, 1))
    assert last.eval()(torch.randn(5)).shape == (5,)


def test_options_and_nested_activations():
    act = slaf.make("batch_norm(leaky_relu(negative_slope=0.2), eps=0.01, momentum=0.5, affine=false)", num_channels=3)
    assert repr(act) == "batch_norm(leaky_relu(negative_slope=0.2), eps=0.01, momentum=0.5, affine=False, num_channels=3)"
    theirs = nn.Sequential(nn.BatchNorm1d(3, 0.01, 0.5, affine=False), nn.LeakyReLU(0.2))
    x = torch.randn(9, 3)
    assert torch.equal(act(x), theirs(x))
    assert list(act.parameters()) == []
    inner = slaf.make("batch_norm(prelu)", num_channels=3, dtype=torch.float64)
    assert inner.activation.weight.shape == (3,)
    assert inner.activation.weight.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_keep_float32_statistics(dtype):
    act = slaf.make("batch_norm(identity)", num_channels=3)
    act.running_mean.fill_(1 / 3)
    act = act.to(dtype)
    assert act.running_mean.dtype == torch.float32
    assert act.running_mean[0] == torch.tensor(1 / 3)
    x = (100 + torch.randn(256, 3)).to(dtype)
    y = act(x)
    assert y.dtype == dtype
    assert y.float().mean(0).abs().max() < 0.02
    assert act.running_var.dtype == torch.float32


def test_float64_input_to_a_float32_module_updates_its_statistics():
    act, x = slaf.make("batch_norm(relu)", num_channels=3), torch.randn(64, 3, dtype=torch.float64)
    assert act(x).dtype == torch.float64
    assert torch.allclose(act.running_mean, 0.1 * x.mean(0).float())


def test_a_constant_channel_is_finite():
    act = slaf.make("batch_norm(relu)", num_channels=2)
    x = torch.full((6, 2), 5.0, requires_grad=True)
    y = act(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros_like(y))
    assert bool(torch.isfinite(x.grad).all())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: slaf.make("batch_norm(relu)"), "needs num_channels"),
        (lambda: slaf.make("batch_norm(rleu)", num_channels=3), "did you mean 'relu'"),
        (lambda: slaf.make("batch_norm(relu, eps=-1)", num_channels=3), "eps must be a number from 0; got -1"),
        (lambda: slaf.make("batch_norm(relu, momentum=2)", num_channels=3), "momentum must be a number from 0 and up to 1; got 2"),
        (lambda: slaf.make("batch_norm(relu, affine=3)", num_channels=3), "affine must be true or false"),
        (lambda: slaf.make("batch_norm(relu)", num_channels=3, inplace=True), "inplace=True is not possible"),
        (lambda: slaf.make("batch_norm(3)", num_channels=3), "must be a string"),
        (lambda: slaf.make("batch_norm(relu)", num_channels=3)(torch.zeros(4, 2)), "num_channels=3 was declared"),
        (lambda: slaf.make("batch_norm(relu)", num_channels=3)(torch.zeros(1, 3)), "two values or more per channel"),
        (lambda: slaf.make("batch_norm(relu)", num_channels=3)(torch.zeros(0, 3)), "two values or more per channel"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(SlafError, match=message):
        make()
