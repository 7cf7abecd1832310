"""The separate penalty step (acceptance check 6 of the paper's description) and alternating updates."""

import pytest
import torch
from torch import nn

import slaf
from slaf.train import L1, L2, Alternation, separate_step


def an_adam_with_history(parameter, lr):
    optimizer = torch.optim.Adam([parameter], lr=lr)
    for step in range(1, 6):
        parameter.grad = torch.randn(parameter.shape, dtype=parameter.dtype, generator=torch.Generator().manual_seed(step)) * 100
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("history", [False, True])
def test_with_no_task_gradient_a_moves_by_minus_eta_lambda_a(history):
    act, rate, weight = nn.PReLU(5).double(), 0.03, 0.2
    optimizer = an_adam_with_history(act.weight, rate) if history else torch.optim.Adam(act.parameters(), lr=rate)
    with torch.no_grad():
        act.weight.copy_(torch.linspace(-2, 3, 5))
    before = act.weight.detach().clone()
    optimizer.zero_grad(set_to_none=True)  # Adam leaves a parameter without a gradient alone, whatever its state
    separate_step(optimizer, act, L2(weight))
    torch.testing.assert_close(act.weight.detach(), before - rate * weight * before, rtol=1e-15, atol=0)


def test_a_zero_task_gradient_and_a_huge_second_moment_do_not_rescale_the_penalty():
    act = nn.PReLU(3).double()
    optimizer = torch.optim.Adam(act.parameters(), lr=0.1)
    act.weight.grad = torch.zeros(3, dtype=torch.float64)
    optimizer.step()
    optimizer.state[act.weight]["exp_avg_sq"].fill_(1e6)
    before = act.weight.detach().clone()
    separate_step(optimizer, act, L2(0.5))
    torch.testing.assert_close(act.weight.detach(), before - 0.1 * 0.5 * before, rtol=1e-15, atol=0)


def test_both_gradients_belong_to_the_point_before_the_step():
    act = nn.PReLU(1).double()
    optimizer = torch.optim.SGD(act.parameters(), lr=0.1)
    act.weight.grad = torch.tensor([2.0], dtype=torch.float64)
    separate_step(optimizer, act, L2(0.5))
    # 0.25 - 0.1 * 2 - 0.1 * 0.5 * 0.25; the penalty taken after the step would give 0.25 - 0.2 - 0.1 * 0.5 * 0.05
    assert act.weight.item() == pytest.approx(0.25 - 0.2 - 0.0125, abs=1e-15)


def test_each_group_moves_at_its_own_rate_and_others_stay():
    model = nn.Sequential(nn.Linear(2, 2), nn.PReLU())
    optimizer = torch.optim.SGD(slaf.param_groups(model, lr=0.1, activation_lr=0.7))
    weight, bias, a = model[0].weight.detach().clone(), model[0].bias.detach().clone(), model[1].weight.detach().clone()
    separate_step(optimizer, model, L2(1.0) + L2(1.0, layers=("0",)))
    torch.testing.assert_close(model[0].weight.detach(), weight * 0.9)
    torch.testing.assert_close(model[1].weight.detach(), a * 0.3)
    assert torch.equal(model[0].bias, bias)


def test_a_penalty_of_nothing_learned_leaves_the_optimisers_step():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model[0].weight.detach().clone()
    model[0].weight.grad = torch.ones(2, 2)
    separate_step(optimizer, model, L1(1.0))
    torch.testing.assert_close(model[0].weight.detach(), before - 0.1)


def test_alternation_moves_weights_and_activations_in_turn():
    model = nn.Sequential(nn.Linear(2, 2), nn.PReLU())
    optimizer = torch.optim.Adam(slaf.param_groups(model, lr=0.1))
    turns = Alternation(model, every=2)
    moved = []
    for step in range(8):
        before = [model[0].weight.detach().clone(), model[1].weight.detach().clone()]
        optimizer.zero_grad()
        model(torch.tensor([[1.0, -3.0], [-2.0, 0.5]])).sum().backward()
        turns.turn(step)
        optimizer.step()
        moved.append("".join(n for n, b, p in zip("wa", before, (model[0].weight, model[1].weight), strict=True) if not torch.equal(b, p)))
    assert moved == ["w", "w", "a", "a"] * 2


def test_alternation_with_one_kind_alone_trains_it_at_every_step():
    model = nn.Linear(2, 2)
    assert [len(Alternation(model).turn(step)) for step in range(3)] == [2, 2, 2]
    with pytest.raises(slaf.SlafError, match="every must be a positive integer; got 0"):
        Alternation(model, every=0)
