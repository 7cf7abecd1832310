"""The loop: deterministic under its seed, equal batches for every model, honest about what is not finite."""

import math
from itertools import chain

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import slaf
from slaf.core import SlafError
from slaf.train import L1, L2, Recipe, derive, evaluate, generator, hybrid, train
from slaf.train.mixing import mixed


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def net(activation="slaf(degree=3)", noise=0.0, width=8):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, width), slaf.make(activation, num_channels=width), nn.Dropout(noise), nn.Linear(width, 1))


def points(n=100, features=3):
    x = torch.randn(n, features, generator=torch.Generator().manual_seed(1))
    return x, x.prod(1, keepdim=True)


def state(model):
    return torch.cat([t.reshape(-1).double() for t in model.state_dict().values()])


class Recorder(nn.Module):
    """Remembers which rows it saw; the first feature of row i is i."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.zeros(())), []

    def forward(self, x):
        if self.training:
            self.seen.append(x[:, 0].tolist())
        return x[:, :1] * self.weight


def numbered(n):
    x = torch.arange(n, dtype=torch.float32)[:, None]
    return x, x


ROUTINES = {
    "plain": {},
    "everything": {
        "clip": 0.5,
        "penalty": L1(1e-3),
        "separate_penalty": L2(1e-2),
        "routine": "alternating",
        "schedule": "cosine",
        "mixup": 0.4,
    },
    "sgd": {"optimizer": "sgd", "schedule": ((1, 1e-2), (2, 1e-3)), "drop_last": True, "activation_lr_factor": 5.0},
}


@pytest.mark.parametrize("options", ROUTINES.values(), ids=ROUTINES)
def test_training_repeats_bitwise_under_a_seed(options):
    results = []
    for noise_before in (3, 4):  # the caller's generator does not matter
        model = net(noise=0.5)
        torch.manual_seed(noise_before)
        trace = train(model, points(), F.mse_loss, Recipe(4, 16, **options), seed=7)
        results.append((state(model), trace.history))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_another_seed_gives_another_result_and_the_callers_generator_is_kept():
    a, b = net(noise=0.5), net(noise=0.5)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(a, points(), F.mse_loss, Recipe(1, 16), seed=0)
    assert torch.equal(torch.rand(3), expected)
    train(b, points(), F.mse_loss, Recipe(1, 16), seed=1)
    assert not torch.equal(state(a), state(b))


def test_every_model_sees_the_same_batches_and_each_row_once_an_epoch():
    class Noisy(Recorder):
        def forward(self, x):
            return super().forward(x) + 0 * torch.rand(len(x), 1)

    plain, noisy = Recorder(), Noisy()
    for model in (plain, noisy):
        train(model, numbered(50), F.mse_loss, Recipe(3, 16), seed=4)
    assert plain.seen == noisy.seen
    epochs = [list(chain(*plain.seen[i : i + 4])) for i in (0, 4, 8)]
    assert all(sorted(rows) == list(range(50)) for rows in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize(
    ("n", "size", "drop_last", "expected"),
    [
        (33, 16, False, [16, 17]),  # a batch of one joins the one before
        (34, 16, False, [16, 16, 2]),
        (34, 16, True, [16, 16]),
        (33, 16, True, [16, 16]),
        (5, 16, True, [5]),
        (1, 16, False, [1]),
        (3, 1, False, [1, 1, 1]),
    ],
)
def test_batch_sizes(n, size, drop_last, expected):
    model = Recorder()
    trace = train(model, numbered(n), F.mse_loss, Recipe(1, size, drop_last=drop_last))
    assert [len(batch) for batch in model.seen] == expected
    assert trace.steps == len(expected)


def test_it_learns_and_reports_every_epoch():
    calls, model = [], net(width=16)
    data = points(256)
    trace = train(model, data, F.mse_loss, Recipe(30, 32, lr=1e-2), on_epoch=lambda *a: calls.append(a), valid=data)
    assert trace.finite
    assert trace.steps == 30 * 8
    assert [c[:2] for c in calls] == [(i + 1, 30) for i in range(30)]
    assert [c[2] for c in calls] == trace.history["loss"]
    assert trace.history["loss"][-1] < 0.5 * trace.history["loss"][0]
    assert trace.history["valid_loss"][-1] == pytest.approx(evaluate(model, data, F.mse_loss))
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


def test_the_loss_in_the_history_is_the_tasks_alone():
    model = Recorder()
    trace = train(model, numbered(4), F.mse_loss, Recipe(1, 4, lr=0.0, penalty=lambda m: m.weight + 3.0))
    assert trace.history["loss"] == [pytest.approx((0 + 1 + 4 + 9) / 4)]
    assert trace.history["penalty"] == [3.0]


def test_a_loss_that_is_not_finite_ends_training():
    class Exploding(Recorder):
        def forward(self, x):
            return super().forward(x) * 1e30

    x, y = numbered(64)
    trace = train(Exploding(), (x, y), F.mse_loss, Recipe(20, 16, lr=1.0, optimizer="sgd"))
    assert not trace.finite
    assert trace.steps < 20 * 4


def test_a_last_step_that_breaks_the_model_is_noticed():
    x, y = numbered(4)
    trace = train(Recorder(), (x, y * 1e18), F.mse_loss, Recipe(1, 4, lr=1e25, optimizer="sgd"))
    assert math.isfinite(trace.history["loss"][0])
    assert not trace.finite


def test_ctrl_c_passes_through_and_the_model_can_be_used():
    model = net()

    def stop(done, total, loss):  # noqa: ARG001
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, points(), F.mse_loss, Recipe(5, 16), on_epoch=stop)
    assert not model.training
    assert model(points()[0]).isfinite().all()


def test_clipping_limits_the_step_of_all_parameters_together():
    model = nn.Linear(3, 1)
    before = state(model)
    x, y = points()
    train(model, (x, 1e6 + y), F.mse_loss, Recipe(1, 100, lr=1.0, optimizer="sgd", momentum=0.0, clip=0.25))
    assert float((state(model) - before).norm()) == pytest.approx(0.25, rel=1e-4)


def test_schedules():
    recipe = Recipe(15, 8, lr=1e-2, schedule=((8, 1e-3), (10, 1e-4)))
    assert [recipe.lr_at(t) for t in (0, 7.99, 8, 9.99, 10, 15)] == [1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4]
    cosine = Recipe(10, 8, lr=2.0, schedule="cosine")
    assert [cosine.lr_at(t) for t in (0, 5, 10)] == pytest.approx([2.0, 1.0, 0.0])
    trace = train(Recorder(), numbered(8), F.mse_loss, Recipe(4, 8, schedule=((2, 0.5),), lr=0.25))
    assert trace.history["lr"] == [0.25, 0.25, 0.5, 0.5]


def test_a_scaled_recipe_differs_in_its_learning_rates_alone():
    recipe = Recipe(9, 8, lr=1e-2, schedule=((2, 1e-3), (5, 1e-4)), clip=1.0, activation_lr_factor=5.0)
    assert recipe.scaled(2) == Recipe(9, 8, lr=2e-2, schedule=((2, 2e-3), (5, 2e-4)), clip=1.0, activation_lr_factor=5.0)
    assert Recipe(9, 8, lr=2.0, schedule="cosine").scaled(0.5) == Recipe(9, 8, lr=1.0, schedule="cosine")
    assert recipe.lr == 1e-2
    for factor in (-1, "2", float("inf"), True):
        with pytest.raises(slaf.SlafError, match="factor must be a number of at least 0"):
            recipe.scaled(factor)


def test_the_activations_learning_rate_keeps_its_factor_under_a_schedule():
    model = net("prelu")
    recipe = Recipe(4, 8, lr=1e-2, schedule=((2, 1e-3),), activation_lr_factor=5.0)
    optimizer = recipe.optimizer_for(model)
    recipe.set_lr(optimizer, 3)
    assert {g["name"]: g["lr"] for g in optimizer.param_groups} == {"weights": 1e-3, "activations": pytest.approx(5e-3)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "adamm"}, "optimizer must be one of adam, adamw, sgd; got 'adamm'; did you mean 'adam'"),
        ({"schedule": "cosin"}, "schedule must be one of .* did you mean 'cosine'"),
        ({"schedule": 3}, "schedule must be constant, cosine or milestones"),
        ({"schedule": ((4, 1e-3), (2, 1e-4))}, "order of their epochs"),
        ({"schedule": ((4, -1e-3),)}, "learning rate must be a number of at least 0"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0"),
        ({"epochs": 1.5}, "epochs must be an integer"),
        ({"lr": float("nan")}, "lr must be a number"),
        ({"clip": 0}, "clip must be a positive number or None"),
        ({"routine": "alternate"}, "did you mean 'alternating'"),
    ],
)
def test_a_bad_recipe_is_one_sentence(arguments, message):
    with pytest.raises(slaf.SlafError, match=message):
        Recipe(**({"epochs": 1, "batch_size": 8} | arguments))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((torch.zeros(0, 3), torch.zeros(0, 1)), "data is empty"),
        ((torch.zeros(4, 3), torch.zeros(5, 1)), "equally many rows"),
        (torch.zeros(4, 3), "pair of tensors"),
    ],
)
def test_bad_data_is_one_sentence(data, message):
    with pytest.raises(slaf.SlafError, match=message):
        train(net(), data, F.mse_loss, Recipe(1, 8))


def test_the_progress_bar_ends_full(capsys):
    pytest.importorskip("rich")
    train(net("relu"), points(), F.mse_loss, Recipe(3, 16), progress=True)
    assert "3/3" in capsys.readouterr().out


def test_streams_of_one_seed_are_unrelated_and_fixed():
    assert derive(0, "data") == 5318600874320477120  # a change here changes every stored result
    assert len({derive(s, n) for s in range(50) for n in ("data", "init", "batches", "noise")}) == 200
    assert torch.equal(torch.rand(4, generator=generator(3, "x")), torch.rand(4, generator=generator(3, "x")))
    with pytest.raises(slaf.SlafError, match="seed must be an integer; got 'a'"):
        derive("a")


def test_hybrid_networks_alternate_their_sites():
    site = hybrid("slaf(degree=2)", "relu", every=3)
    made = [site(num_channels=4) for _ in range(6)]
    assert [isinstance(m, slaf.SLAF) for m in made] == [True, False, False] * 2
    assert made[0].weight is not made[3].weight
    own = hybrid(lambda slot, n: nn.PReLU(n), lambda slot, n: nn.Tanh())  # noqa: ARG005
    assert [type(own("hidden", 4)) for _ in range(3)] == [nn.PReLU, nn.Tanh, nn.PReLU]
    with pytest.raises(slaf.SlafError, match="every must be a positive integer"):
        hybrid("slaf", every=0)


def test_mixup_trains_on_means_of_two_samples_and_their_targets():
    y = torch.arange(6)
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    mixes, loss = mixed(torch.cat([x, F.one_hot(y)], 1), F.cross_entropy, 0.5)  # the mixture shows in the one-hot columns
    of = mixes[:, 4:]
    assert torch.allclose(of.sum(1), torch.ones(6))
    assert len({*of[of > 0].mul(1e5).round().tolist()} - {1e5}) <= 2, "one weight for the batch"
    assert torch.allclose(mixes[:, :4], of @ x, atol=1e-6)
    logits = torch.randn(6, 6)
    assert torch.allclose(loss(logits, y), F.cross_entropy(logits, of)), "that of soft targets"
    with pytest.raises(SlafError, match=r"mixup averages inputs.*int64"):
        mixed(y[:, None], F.mse_loss, 1.0)


def test_mixup_shows_the_model_mixes_only():
    model, x = Recorder(), 10.0 ** torch.arange(5.0)[:, None]
    train(model, (x, x), F.mse_loss, Recipe(20, 5, mixup=1.0))
    seen = torch.tensor(model.seen)
    assert ((seen.log10() - seen.log10().round()).abs() > 1e-3).double().mean() > 0.5
    assert 1 <= seen.min() <= seen.max() <= 1e4
