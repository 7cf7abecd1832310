"""Parameter groups: the activations' parameters of any kind apart, each once, the frozen ones left out."""

import pytest
import torch
from torch import nn

import slaf
from slaf.train import activation_parameters, is_activation, param_groups


class Swish(nn.Module):
    """A third party's learnable activation."""

    def __init__(self):
        super().__init__()
        self.beta = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x * torch.sigmoid(self.beta * x)


def mixed():
    return nn.Sequential(
        nn.Linear(4, 8), nn.PReLU(8), nn.Linear(8, 8), slaf.make("slaf(degree=3)", num_channels=8), nn.Linear(8, 8), nn.ReLU(), Swish()
    )


def by_name(groups):
    return {g["name"]: g for g in groups}


def test_a_mixed_model_is_split_without_loss_or_overlap():
    model = mixed()
    groups = by_name(param_groups(model, lr=1e-3, weight_decay=0.1, activation_lr=5e-3))
    weights, activations = groups["weights"], groups["activations"]
    assert {id(p) for p in activations["params"]} == {id(p) for m in (model[1], model[3]) for p in m.parameters()}
    assert (weights["lr"], weights["weight_decay"]) == (1e-3, 0.1)
    assert (activations["lr"], activations["weight_decay"]) == (5e-3, 0.0)
    assert sorted(id(p) for g in groups.values() for p in g["params"]) == sorted(id(p) for p in model.parameters())


def test_activations_take_the_weights_learning_rate_unless_told():
    groups = by_name(param_groups(mixed(), lr=1e-2))
    assert groups["activations"]["lr"] == 1e-2
    assert "lr" not in by_name(param_groups(mixed()))["weights"]


def test_torch_accepts_the_groups_and_decay_leaves_activations_alone():
    model = mixed()
    before = [p.clone() for p in activation_parameters(model)]
    optimizer = torch.optim.AdamW(slaf.param_groups(model, lr=1e-2, weight_decay=0.5))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    kept = model[0].weight.detach().clone()
    optimizer.step()
    torch.testing.assert_close(model[0].weight, kept * (1 - 1e-2 * 0.5))
    assert all(torch.equal(a, b) for a, b in zip(before, activation_parameters(model), strict=True))


@pytest.mark.parametrize("extra", [Swish, (Swish, nn.Tanh), lambda m: isinstance(m, Swish)])
def test_a_class_a_tuple_or_a_predicate_of_the_callers_own_counts_too(extra):
    model = mixed()
    assert any(p is model[6].beta for p in activation_parameters(model, extra))
    assert not any(p is model[6].beta for p in activation_parameters(model))
    assert len(activation_parameters(model, extra)) == len(activation_parameters(model)) + 1


def test_shared_parameters_are_counted_once_and_frozen_ones_left_out():
    act = nn.PReLU()
    model = nn.Sequential(nn.Linear(2, 2), act, nn.Linear(2, 2), act)
    model[0].bias.requires_grad_(False)
    groups = by_name(param_groups(model))
    assert len(groups["activations"]["params"]) == 1
    assert len(groups["weights"]["params"]) == 3


def test_attention_is_no_activation_though_torch_keeps_it_beside_them():
    assert not is_activation(nn.MultiheadAttention(4, 1))
    assert is_activation(nn.GELU())
    assert is_activation(slaf.make("gelu"))


def test_groups_without_parameters_are_left_out():
    assert [g["name"] for g in param_groups(nn.Linear(2, 2))] == ["weights"]
    assert [g["name"] for g in param_groups(nn.PReLU())] == ["activations"]


def test_nothing_to_train_is_said_in_one_sentence():
    with pytest.raises(slaf.SlafError, match="ReLU has no trainable parameter"):
        param_groups(nn.ReLU())
    with pytest.raises(slaf.SlafError, match="is_activation must be"):
        param_groups(nn.PReLU(), is_activation="prelu")
