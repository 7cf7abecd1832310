"""Diagnosis of a model's activations on a batch, and the penalties on their shape."""

import pytest
import torch
from torch import nn

import slaf
from slaf.learnable.diagnose import diagnose
from slaf.learnable.regularize import DecayToStart, SlopePenalty


def model(*specs):
    layers = []
    for spec in specs:
        layers += [nn.Linear(4, 4), slaf.make(spec, num_channels=4)]
    return nn.Sequential(*layers)


def test_range_slope_and_coefficients_of_one_activation():
    act = slaf.make("rational", num_channels=2)
    x = torch.tensor([[-7.0, 0.0], [1.0, 9.0], [2.0, 3.0], [0.5, torch.nan]])
    finding = diagnose(act, x)[""]
    assert finding.seen == (-7.0, 9.0)
    assert finding.out_of_range == pytest.approx(2 / 8)
    finite = x.nan_to_num(nan=0.0)
    assert finding.largest_slope == pytest.approx(float(act.derivative(finite).detach().abs().max()))
    assert finding.smallest_denominator == 1
    assert finding.largest_coefficient == pytest.approx(max(float(p.detach().abs().max()) for p in act.parameters()))
    assert (finding.non_finite, finding.non_finite_inputs) == (0, 1)
    assert any("out of range" in w for w in finding.warnings)


def test_a_model_is_left_as_it_was():
    torch.manual_seed(0)
    net = model("slaf(degree=3)", "rational", "mixture(relu, rational)", "polynorm", "relu").train()
    net[1].eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    report = diagnose(net, torch.randn(64, 4))
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not any(m._forward_pre_hooks for m in net.modules())
    assert [f.name for f in report] == ["1", "3", "5", "5.members.0", "5.members.1", "7", "9"]
    assert all(f.seen is not None for f in report)
    assert report["7"].largest_slope is None
    assert report["9"].largest_coefficient is None
    assert report["9"].largest_slope == 1
    assert report["5.members.1"].out_of_range is not None
    text = str(report)
    assert len(text.splitlines()) == 8
    assert "out of range" in text.splitlines()[0]
    with pytest.raises(slaf.SlafError, match="no activation is called '2'"):
        report["2"]


def test_it_finds_what_is_wrong():
    torch.manual_seed(0)
    net = model("rational(5, 4)", "polyrelu", "rational(5, 4)", "tanh")
    with torch.no_grad():
        net[1].denominator[2] = torch.tensor([1e4, 0.0])  # poles at ±0.01i
        net[5].numerator[1, 2] = torch.nan
        net[3].weight[:, 0] = 500.0
    report = diagnose(net, torch.randn(16, 4))
    assert not report.healthy
    said = {f.name: " ".join(f.warnings) for f in report}
    assert "a pole at distance 0.01" in said["1"]
    assert "1 parameters are not finite" in said["5"]
    assert "a coefficient of size 500" in said["3"]
    assert "slope" in said["3"]
    assert "inputs are not finite" in said["7"]
    assert report["1"].largest_slope > 1


def test_without_inputs_it_looks_at_the_domain():
    report = diagnose(model("rational(interval=(-2.0, 3.0))", "polynorm", "gelu"))
    assert report["1"].seen == (-2.0, 3.0)
    assert report["1"].out_of_range == 0
    assert report["3"].seen is None
    assert report["5"].seen == (-4.0, 4.0)
    assert report["5"].largest_slope == pytest.approx(1.12890, abs=1e-3)
    assert report.healthy
    assert str(diagnose(nn.Linear(2, 2))) == "no activation of slaf in this model"


def test_named_and_positional_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = slaf.make("tanh")

        def forward(self, a, b):
            return self.act(a) + self.act(b)

    a, b = torch.tensor([1.0]), torch.tensor([-3.0])
    assert diagnose(Two(), (a, b))["act"].seen == diagnose(Two(), {"a": a, "b": b})["act"].seen == (-3.0, 1.0)


# -- penalties -------------------------------------------------------------------------------------------------------------------


def test_slope_penalty_in_closed_form():
    act = slaf.make("polyrelu(order=2)").double()
    penalty = SlopePenalty(0.5, interval=(1.0, 2.0), points=101)
    x = torch.linspace(1, 2, 101, dtype=torch.float64)
    value = penalty(nn.Sequential(act, nn.ReLU(), slaf.make("tanh")))  # fixed functions cost nothing
    torch.testing.assert_close(value, 0.5 * (0.5 + x).square().mean())
    value.backward()
    # d/da_1 of the mean of (a_1 + 2 a_2 x)² is 2 (a_1 + 2 a_2 x), d/da_2 is 4x times that half
    torch.testing.assert_close(act.weight.grad[0], 0.5 * torch.stack([(2 * (0.5 + x)).mean(), (4 * x * (0.5 + x)).mean()]))
    assert SlopePenalty(1.0, limit=100.0)(act).item() == 0
    assert SlopePenalty(1.0)(nn.Linear(2, 2)).item() == 0


def test_slope_penalty_tames_a_steep_rational():
    act = slaf.make("rational", num_channels=3)
    with torch.no_grad():
        act.numerator[:, 1] += 5
    penalty, optimizer = SlopePenalty(1.0, limit=1.2), torch.optim.Adam(act.parameters(), lr=2e-2)
    before = penalty(act).item()
    for _ in range(60):
        optimizer.zero_grad()
        penalty(act).backward()
        optimizer.step()
    assert penalty(act).item() < 0.4 * before


def test_decay_to_the_start():
    net = model("rational", "mixture(prelu, tanh)")
    penalty = DecayToStart(0.1, net)
    assert penalty(net).item() == 0
    with torch.no_grad():
        net[1].numerator[0, 3] += 2.0
        net[3].members[0].weight[1] -= 1.0
        net[0].weight += 7.0
    assert penalty(net).item() == pytest.approx(0.1 * 0.5 * (4 + 1))
    penalty(net).backward()
    assert net[1].numerator.grad[0, 3].item() == pytest.approx(0.2)
    assert net[0].weight.grad is None
    with pytest.raises(slaf.SlafError, match="made for another model"):
        penalty(model("polyrelu"))


def test_they_add_to_the_penalties_of_training():
    net = model("rational", "polyrelu")
    a, b, c = SlopePenalty(0.1), DecayToStart(0.2, net), slaf.train.L1(0.3)
    with torch.no_grad():
        net[3].weight += 1
    total = a(net) + b(net) + c(net)
    torch.testing.assert_close((a + b + c)(net), total)
    torch.testing.assert_close((c + a + b)(net), total)
    torch.testing.assert_close(slaf.train.L1(1.0)(net[1]), net[1].numerator[:, 1:].abs().sum())
    for bad in (lambda: SlopePenalty(-1.0), lambda: DecayToStart(-1.0, net)):
        with pytest.raises(slaf.SlafError, match="negative"):
            bad()
