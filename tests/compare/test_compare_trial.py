"""One trial: pairing by seed, fairness of the first weights, what is recorded, and the key."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import slaf
from slaf.compare import make_plan, run_trial, studies
from slaf.compare.build import build_model


def trial(activation="relu", seed=0, **options):
    plan = make_plan("toy", [activation], [seed], "smoke", options, identity=False)
    return next(plan.trials())


def build(activation, seed=0, match=True):
    study = studies["toy"]
    data = study.data(seed, study.budgets["smoke"])
    return build_model(study, activation, data, seed, match)


def linear(built):
    return [m for m in built.model.modules() if isinstance(m, nn.Linear)]


@pytest.mark.parametrize("activation", ["tanh", "prelu", "slaf(degree=3)", "slaf(preset=paper_a)", "batch_norm(relu)", "identity"])
def test_linear_weights_are_the_same_for_every_activation(activation):
    """The paper's presets draw random coefficients; the weights must not depend on how many."""
    expected, got = linear(build("relu", match=False)), linear(build(activation, match=False))
    for a, b in zip(expected, got, strict=True):
        assert torch.equal(a.weight, b.weight)
        assert torch.equal(a.bias, b.bias)


def test_another_seed_gives_other_weights():
    assert not torch.equal(linear(build("relu", 0))[0].weight, linear(build("relu", 1))[0].weight)


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build("slaf(preset=paper_a)")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("activation", "moment"), [("relu", 0.5), ("identity", 1.0), ("tanh", 0.394294)])
def test_the_reader_of_an_activation_is_scaled_to_its_variance(activation, moment):
    plain, matched = linear(build(activation, match=False)), linear(build(activation))
    assert torch.equal(plain[0].weight, matched[0].weight)
    torch.testing.assert_close(matched[1].weight, plain[1].weight / math.sqrt(moment), rtol=1e-5, atol=0)
    assert torch.equal(plain[1].bias, matched[1].bias)


def test_an_activation_that_normalises_is_left_alone_and_it_is_said():
    built = build("batch_norm(relu)")
    assert not built.variance_matched
    assert torch.equal(linear(built)[1].weight, linear(build("relu", match=False))[1].weight)
    assert run_trial(trial("batch_norm(relu)"))["variance_matched"] is False
    assert run_trial(trial("relu"))["variance_matched"] is True


def test_the_reader_is_found_by_running_not_by_the_order_of_definition():
    class Backwards(nn.Module):
        def __init__(self, make):
            super().__init__()
            self.last, self.act, self.first = nn.Linear(8, 1), make("hidden", 8), nn.Linear(2, 8)

        def forward(self, x):
            return self.last(self.act(self.first(x)))

    class Study(type(studies["toy"])):
        def build(self, make, data):  # noqa: ARG002
            return Backwards(make)

    study = Study()
    data = study.data(0, study.budgets["smoke"])
    plain = build_model(study, "relu", data, 0, False).model
    matched = build_model(study, "relu", data, 0, True).model
    assert torch.equal(plain.first.weight, matched.first.weight)
    torch.testing.assert_close(matched.last.weight, plain.last.weight * math.sqrt(2))


def test_a_record_is_complete_and_a_function_of_the_key():
    first, second = run_trial(trial("prelu")), run_trial(trial("prelu"))
    json.dumps(first, allow_nan=False)
    assert first["key"] == second["key"]
    assert first["metrics"] == second["metrics"]
    assert set(first["metrics"]) == {"nmse", "loss"}
    assert first["status"] == "ok"
    assert first["activation"] == "prelu"
    assert first["cost"]["params"] == 2 * 8 + 8 + 8 + 8 + 1
    assert first["cost"]["activation_params"] == 8
    assert len(first["history"]["loss"]) == 2
    assert first["versions"]["slaf"] == slaf.__version__


def test_what_was_learned_is_described():
    (site,) = run_trial(trial("prelu", lr=0.1, epochs="4"))["learned"]
    x, before, after = (np.array(site[name]) for name in ("x", "before", "after"))
    assert site["site"] == "1"
    assert site["channels"] == 8
    assert before.shape == after.shape == (8, len(x))
    np.testing.assert_allclose(before[0], np.where(x >= 0, x, 0.25 * x), rtol=2e-4, atol=1e-4)
    assert np.abs(after - before).max() > 1e-3
    assert sum(site["histogram"]["counts"]) == pytest.approx(32 * 8, rel=0.01)
    assert "x" in site["formula"]
    assert len(site["ranges"]) == 8


def test_each_channel_has_the_range_of_its_own_inputs():
    plan_trial = trial("slaf(degree=3)")
    (site,) = run_trial(plan_trial)["learned"]
    study = studies["toy"]
    data = study.data(0, plan_trial.settings)
    built = build_model(study, plan_trial.activation, data, 0, True)
    study.train(built.model, data, plan_trial.settings, 0, lambda *_: None)
    with torch.no_grad():
        inputs = built.model[0](data.test[0]).double()
    expected = torch.quantile(inputs, torch.tensor([0.001, 0.999], dtype=torch.float64), dim=0).T
    np.testing.assert_allclose(site["ranges"], expected, rtol=1e-3, atol=1e-4)


def test_the_key_depends_on_everything_that_metrics_depend_on():
    base = trial()
    others = (
        {"seed": 1}, {"activation": "tanh"}, {"threads": 2}, {"budget": "small"}, {"settings": {**base.settings, "epochs": 3}},
        {"variance_match": False}, {"data_hash": "x"}, {"version": "9"}, {"study": "other"},
    )  # fmt: skip
    keys = {replace(base, **change).key for change in others}
    assert len(keys | {base.key}) == len(others) + 1
    assert replace(base).key == base.key


@pytest.mark.parametrize(
    ("options", "status", "error"),
    [
        ({"lr": "1e30"}, "non-finite", "infinite or NaN"),
        ({"trick": "raise"}, "failed", "RuntimeError: a study's"),
        ({"trick": "refuse"}, "n/a", "unbounded"),
    ],
)
def test_a_run_that_goes_wrong_is_recorded(options, status, error):
    record = run_trial(trial("tanh" if status != "non-finite" else "relu", **options))
    assert record["status"] == status
    assert error in record["error"]
    json.dumps(record, allow_nan=False)


def test_threads_are_set_and_put_back():
    before = torch.get_num_threads()
    record = run_trial(replace(trial(), threads=2))
    assert record["cost"]["threads"] == 2
    assert torch.get_num_threads() == before
