"""Screening: what passes and what fails, a network whose answer is known in closed form, and that nothing outside changes."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import slaf
from slaf.core import SlafError
from slaf.layers.evonorm import EvoNormB0
from slaf.studies import studies
from slaf.train import screen
from slaf.train.screening import RATE, quality, stability

DIGITS = studies["digits"].data(0, {"widths": (32, 32)})


class Graph(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def mlp(make):
    return nn.Sequential(nn.Linear(64, 32), make(num_channels=32), nn.Linear(32, 32), make(num_channels=32), nn.Linear(32, 10))


def convolutional(make):
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1),
        make("hidden", 8),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        make("hidden", 16),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def screened(candidate, build=mlp, **more):
    return screen(candidate, build, DIGITS.train, DIGITS.test, **more)


@pytest.mark.parametrize("build", [mlp, convolutional])
@pytest.mark.parametrize("candidate", ["batch_norm(relu)", "evonorm_s0(groups=8)", "evonorm_b0", "relu", "identity"])
def test_layers_that_train_pass_both(candidate, build):
    learned, stable = screened(candidate, build)
    assert (learned.passed, stable.passed) == (True, True)
    assert learned.number > 0.5  # a linear network reads digits too: the test rejects what does not learn, not what is linear
    assert stable.number < 1e7
    assert learned.steps == stable.steps == 100


def test_an_output_that_ignores_its_input_fails_at_chance():
    (verdict,) = screened(lambda num_channels: Graph(torch.zeros_like))  # noqa: ARG005
    labels = DIGITS.test[1]
    shares = [float((labels == k).double().mean()) for k in range(10)]
    assert not verdict
    assert verdict.test == "quality"
    assert any(verdict.number == pytest.approx(share) for share in shares)  # a constant answer is right on one class
    assert "not at least" in verdict.reason
    with_zeros = mlp(lambda num_channels: Graph(torch.zeros_like))  # noqa: ARG005
    assert stability(with_zeros, few())  # nothing can blow it up


def few(rows=32):
    x, y = DIGITS.train
    return x[:rows], y[:rows]


def test_exp_of_exp_is_not_stable():
    torch.manual_seed(0)
    model = mlp(lambda num_channels: Graph(lambda x: x.exp().exp()))  # noqa: ARG005
    verdict = stability(model, few())
    assert not verdict
    assert not verdict.number <= 1e8
    first, *rest = screened(Graph(lambda x: x.exp().exp()))
    assert not first
    assert not rest
    assert math.isnan(first.number)
    assert "infinite or NaN" in first.reason


def test_weights_in_the_worst_direction_find_what_the_first_weights_hide():
    torch.manual_seed(0)
    model = mlp(lambda num_channels: Graph(torch.exp))  # noqa: ARG005
    assert stability(model, few(), steps=0)
    verdict = stability(model, few())
    assert not verdict
    assert 0 < verdict.steps < 20


def test_the_worst_direction_is_worse_than_any_other():
    """Random steps of the same length, which also make the weights larger, stay far below."""
    torch.manual_seed(0)
    model = mlp(lambda num_channels: nn.ReLU())  # noqa: ARG005
    worst = stability(model, few(), steps=20).number
    x, y = few()
    for _ in range(5):
        moved = copy.deepcopy(model)
        for _ in range(20):
            for layer in moved[::2]:
                step = torch.randn_like(layer.weight)
                layer.weight.data += RATE * layer.weight.data.norm() * step / step.norm()
        norm = torch.stack([g.norm() for g in torch.autograd.grad(F.cross_entropy(moved(x), y), [*moved.parameters()])]).norm()
        assert float(norm) < worst / 4


@pytest.mark.parametrize("limit", [1e8, 10.0])
def test_a_network_of_one_weight_grows_as_computed(limit):
    """The loss (w x)²/2 at x = 1 has the gradient w, which every step multiplies by 1 + rate."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(2.0)
    verdict = stability(model, (torch.ones(1, 1), torch.zeros(1, 1)), lambda out, y: (out - y).square().sum() / 2, limit=limit, rate=0.1)
    steps = 100 if limit == 1e8 else math.ceil(math.log(10 / 2) / math.log(1.1))
    assert verdict.passed == (limit == 1e8)
    assert verdict.steps == steps
    assert verdict.number == pytest.approx(2 * 1.1**steps, rel=1e-5)


def test_a_gradient_that_cannot_be_differentiated_is_rejected():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), Graph(lambda x: x.abs() ** 1.5), nn.Linear(2, 2))
    verdict = stability(model, (torch.zeros(3, 2), torch.tensor([0, 1, 1])))
    assert not verdict
    assert "derivative" in verdict.reason


def test_the_threshold_is_twice_chance_or_half_way_to_one():
    model, (x, y) = nn.Linear(64, 10), DIGITS.test
    chance = float(y.bincount().max()) / len(y)
    assert f"at least {2 * chance:.1%}" in quality(model, DIGITS.train, (x, y), steps=1).reason
    halves = (x, (torch.arange(len(x)) % 2))
    assert "at least 75.0%" in quality(model, DIGITS.train, halves, steps=1).reason
    assert not quality(model, DIGITS.train, (x, y), steps=100, least=1.0)


def test_nothing_but_the_verdict_is_left_and_it_is_repeatable():
    torch.manual_seed(0)
    model = convolutional(lambda slot, channels: slaf.make("batch_norm(relu)", num_channels=channels))  # noqa: ARG005
    model.append(nn.Dropout(0.1)).eval()
    before, noise = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    verdicts = [(quality(model, DIGITS.train, DIGITS.test, steps=5), stability(model, few(), steps=5)) for _ in range(2)]
    assert verdicts[0] == verdicts[1]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(noise, torch.get_rng_state())
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("test", ["quality", "stability"])
def test_ctrl_c_leaves_all_as_it_was(test):
    calls = []

    def interrupt(x):
        calls.append(torch.rand(()))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return x.relu()

    model = mlp(lambda num_channels: Graph(interrupt))  # noqa: ARG005
    before, noise = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        quality(model, DIGITS.train, DIGITS.test) if test == "quality" else stability(model, few())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(noise, torch.get_rng_state())


def test_candidates_of_every_kind_are_the_same_candidate():
    noise = torch.get_rng_state()
    kinds = ("silu", slaf.core.parse("silu"), slaf.make("silu"), lambda num_channels: slaf.make("silu"))  # noqa: ARG005
    verdicts = [screened(kind, steps=10) for kind in kinds]
    assert all(v == verdicts[0] for v in verdicts)
    assert torch.equal(noise, torch.get_rng_state())
    assert screened(EvoNormB0, steps=10) == screened("evonorm_b0", steps=10)
    seen = []
    screened(lambda num_channels: seen.append(num_channels) or slaf.make("evonorm_b0", num_channels=num_channels), convolutional, steps=1)
    assert seen == [8, 16]


def test_candidates_meet_the_same_first_weights_and_places_share_nothing():
    def drawing(num_channels):
        torch.rand(num_channels)
        return nn.ReLU()

    assert screened(drawing, steps=3) == screened("relu", steps=3)
    candidate = slaf.make("prelu", num_channels=32)
    seen = []
    screened(candidate, lambda make: seen.append(mlp(make)) or seen[-1], steps=3)
    places = [m for m in seen[0].modules() if isinstance(m, type(candidate))]
    assert len({id(m) for m in (*places, candidate)}) == 3
    assert torch.equal(candidate.weight, slaf.make("prelu", num_channels=32).weight)


def test_the_channel_dimension_of_a_place_reaches_the_candidate():
    def last(make):
        return nn.Sequential(nn.Unflatten(1, (8, 8)), make(num_channels=8, channel_dim=-1), nn.Flatten(), nn.Linear(64, 10))

    seen = []

    def candidate(**place):
        seen.append(place)
        return nn.ReLU()

    screened(candidate, last, steps=1)
    assert seen == [{"num_channels": 8, "channel_dim": -1}]


LABELS = torch.tensor([0, 1, 2])
X = torch.randn(3, 64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: screened(3), "candidate must be an activation string, a module or a function that makes one; got 3"),
        (lambda: screened("rellu"), "unknown activation 'rellu'"),
        (lambda: screened(lambda num_channels: num_channels), "candidate must make an nn.Module; it made int"),
        (lambda: screened("relu", lambda make: nn.Linear(64, 10)), "build must call make"),  # noqa: ARG005
        (lambda: screened("relu", lambda make: make()(X)), "build must return an nn.Module; got Tensor"),
        (lambda: screened("relu", steps=0), "steps must be an integer of at least 1; got 0"),
        (lambda: quality(nn.Linear(64, 3), (X, X), (X, LABELS)), "data: targets must be class labels"),
        (lambda: quality(nn.Linear(64, 3), (X, LABELS), (X, LABELS.float())), "valid: targets must be class labels"),
        (lambda: quality(nn.Linear(64, 3), (X, LABELS), (X, LABELS), least=20), "least must be a number from 0 to 1"),
        (lambda: stability(nn.Linear(64, 3), (X[:2], LABELS)), "must have equally many rows"),
        (lambda: stability(nn.Linear(64, 3), (X, LABELS), limit=0), "limit must be a positive number; got 0"),
        (lambda: stability(nn.Linear(64, 3), (X, LABELS), rate=-1), "rate must be a positive number; got -1"),
        (
            lambda: stability(nn.ReLU(), (X, LABELS)),
            "must hold a linear or convolutional layer with a trainable weight; ReLU has none",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(SlafError, match=message):
        call()
