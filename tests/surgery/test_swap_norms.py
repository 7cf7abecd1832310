"""A batch norm and the activation after it become one layer that normalises; the audit says which activations follow a norm."""

import copy
import json

import models
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import slaf
from slaf import SlafError
from slaf.surgery.watching.kinds import is_batch_norm


def resnet():
    """A small ResNet with batch statistics that are not those of the start, and its example."""
    model, x = models.resnet18(width=4, blocks=1)
    model.train()
    for _ in range(3):
        model(3 * x + 1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model.eval(), x


def norms(model):
    return [name for name, m in model.named_modules() if is_batch_norm(m)]


def test_the_audit_says_which_norm_an_activation_follows():
    model, x = resnet()
    follows = [site.norm for site in slaf.audit(model, x)]
    assert follows == ["bn1", *(n for k in range(1, 5) for n in (f"layer{k}.0.bn1", ""))]  # after the addition no norm is next
    assert "layer2.0.bn1" in str(slaf.audit(model, x))


def test_batch_norm_of_the_same_activation_changes_nothing_and_undo_is_bitwise():
    model, x = resnet()
    before = copy.deepcopy(model)
    swapped = slaf.swap(model, {"relu": "batch_norm(relu)"}, x)
    assert swapped.slaf_report.output.relative < 1e-5
    assert max(site.drift for site in swapped.slaf_report.sites) < 1e-5
    assert isinstance(swapped.bn1, nn.Identity)
    assert str(swapped.relu) == "batch_norm(relu, num_channels=4)"
    assert isinstance(swapped.layer1[0].bn1, nn.Identity)
    assert isinstance(swapped.layer2[0].bn1, nn.Identity)
    assert norms(swapped) == [n for n in norms(model) if not n.endswith("bn1")]
    assert len(swapped.slaf_report.missed) == 4
    assert all("not the output of a batch norm" in why for why in swapped.slaf_report.missed)
    fresh = slaf.rebuild(models.resnet18(width=4, blocks=1)[0], json.dumps(swapped.slaf_recipe)).eval()
    fresh.load_state_dict(swapped.state_dict())
    assert torch.equal(fresh(x), swapped(x))
    slaf.undo(swapped)
    assert [type(m) for m in swapped.modules()] == [type(m) for m in before.modules()]
    assert all(torch.equal(a, b) for a, b in zip(swapped.state_dict().values(), before.state_dict().values(), strict=True))
    assert torch.equal(swapped(x), before(x))


def test_evonorm_takes_the_statistics_away():
    model, x = resnet()
    bn2 = copy.deepcopy(model.layer1[0].bn2)
    swapped = slaf.swap(model, {"relu": "evonorm_s0(groups=2)"}, x, norms="affine").train()
    assert norms(swapped) == []
    assert {type(m).__name__ for m in (swapped.bn1, swapped.layer3[0].bn1)} == {"Identity"}
    z = torch.randn(2, 4, 3, 3)
    wanted = z * bn2.weight[:, None, None] + bn2.bias[:, None, None]
    torch.testing.assert_close(swapped.layer1[0].bn2(z), wanted)
    moved = x.clone()
    moved[1:] += 1  # training, too, is a matter of each sample
    torch.testing.assert_close(swapped(moved)[0], swapped(x)[0], rtol=1e-5, atol=1e-5)
    swapped(x).square().sum().backward()
    assert all(p.grad is not None for p in swapped.parameters())
    assert norms(slaf.undo(swapped)) == norms(model)


def test_a_batch_variance_goes_on():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GELU(), nn.Linear(4, 2))
    x = torch.randn(16, 3)
    model(5 * x)
    swapped = slaf.swap(model.eval(), {"gelu": "evonorm_b0"}, x)
    assert torch.equal(swapped[2].running_var, model[1].running_var)
    assert isinstance(swapped[1], nn.Identity)


class ReadTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        z = self.norm(self.lin(x))
        return F.relu(z) + z


class Looped(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin, self.norm, self.act = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU()

    def forward(self, x):
        return self.act(self.norm(self.lin(self.act(self.norm(self.lin(x))))))


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(4, 4)

    def forward(self, x):
        return F.relu(self.lin(x))


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (ReadTwice, {}, "output of batch norm norm is read by more than F.relu"),
        (Looped, {"share": "call"}, "batch norm norm runs several times"),
        (Looped, {"share": "module"}, "2 calls have one activation together"),
        (Plain, {}, "not the output of a batch norm, so there is no pair that evonorm_s1"),
        (ReadTwice, {"norms": "drop"}, "norms must be"),
    ],
)
def test_what_is_no_pair_is_refused(model, options, message):
    net = model().eval()
    before = copy.deepcopy(net)
    with pytest.raises(SlafError, match=message):
        slaf.swap(net, {"relu": "evonorm_s1"}, torch.randn(8, 4), inplace=True, **options)
    assert [type(m) for m in net.modules()] == [type(m) for m in before.modules()]
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), before.state_dict().values(), strict=True))
    assert not net.norm._forward_hooks if hasattr(net, "norm") else True


def test_annealing_refuses_what_cannot_be_fitted():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
    with pytest.raises(SlafError, match="mixes elements"):
        slaf.anneal(model, {"relu": "evonorm_b0"}, torch.randn(8, 3))
