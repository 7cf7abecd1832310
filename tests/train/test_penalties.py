"""The paper's penalties: values and gradients in closed form."""

import pytest
import torch
from torch import nn

import slaf
from slaf.train import L1, L2, DegreeWeighted, activation_coefficients


class Cubic(nn.Module):
    """Coefficients [1, -2, 3] of a hand-made activation."""

    def __init__(self):
        super().__init__()
        self.act = nn.PReLU(3)
        with torch.no_grad():
            self.act.weight.copy_(torch.tensor([1.0, -2.0, 3.0]))

    def forward(self, x):
        return self.act(x)


def gradient(penalty, model, parameter):
    return torch.autograd.grad(penalty(model), parameter)[0]


def test_values_and_gradients_over_coefficients():
    model = Cubic()
    a = model.act.weight
    assert L1(0.1)(model).item() == pytest.approx(0.6)
    assert L2(0.1)(model).item() == pytest.approx(0.1 * 0.5 * 14)
    torch.testing.assert_close(gradient(L1(0.1), model, a), 0.1 * a.detach().sign())
    torch.testing.assert_close(gradient(L2(0.1), model, a), 0.1 * a.detach())


def test_the_degree_weighted_penalty_charges_the_linear_term_most():
    model = Cubic()
    # k = 3: 2^3 |a_1| + 2^2 |a_2| + 2^1 |a_3|
    assert DegreeWeighted(0.5)(model).item() == pytest.approx(0.5 * (8 * 1 + 4 * 2 + 2 * 3))
    torch.testing.assert_close(gradient(DegreeWeighted(1.0), model, model.act.weight), torch.tensor([8.0, -4.0, 2.0]))


def test_penalties_over_named_layers_leave_the_rest_alone():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    value = L2(0.05, layers=("0", "2"))(model)
    expected = 0.05 * 0.5 * (model[0].weight.square().sum() + model[2].weight.square().sum())
    torch.testing.assert_close(value, expected)
    value.backward()
    assert model[0].bias.grad is None
    with pytest.raises(slaf.SlafError, match="layer '1'"):
        L1(1.0, layers=("1",))(model)


def test_penalties_add_up():
    model = nn.Sequential(nn.Linear(3, 4), nn.PReLU(4))
    total = L1(0.1) + L2(0.2, layers=("0",)) + L1(0.3)
    torch.testing.assert_close(total(model), L1(0.4)(model) + L2(0.2, layers=("0",))(model))


def test_without_learned_coefficients_the_penalty_is_zero():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    for penalty in (L1(1.0), L2(1.0), DegreeWeighted(1.0), L1(1.0) + L2(1.0)):
        assert penalty(model).item() == 0


@pytest.mark.parametrize("share", ["layer", "channel", "group", "unit"])
def test_each_coefficient_of_slaf_counts_once_however_many_share_it(share):
    groups = {"groups": 2} if share == "group" else {}
    act = slaf.make("slaf(degree=3, basis=power)", share=share, num_channels=6, **groups)
    (a,) = activation_coefficients(nn.Sequential(act))
    assert a.numel() == act.weight.numel()
    torch.testing.assert_close(L2(1.0)(nn.Sequential(act)).float(), 0.5 * (act.coefficient_scale * act.weight).square().sum())


def test_a_gated_coefficient_is_the_product():
    act = slaf.make("slaf(preset=paper_a)", num_channels=4)
    (a,) = activation_coefficients(act)
    torch.testing.assert_close(a.float(), act.weight * torch.sigmoid(act.gate))
