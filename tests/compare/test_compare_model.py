"""A user's own network in a study's place: trained, counted, keyed by its source, and blamed by its own file and line."""

import pytest
import user_models
from torch import nn

from slaf.compare import make_plan, run_trial
from slaf.compare.build import build_model
from slaf.compare.study import studies
from slaf.core import SlafError


def plan(model, **more):
    return make_plan("toy", ["relu", "slaf(degree=3)"], 1, "smoke", model=f"user_models:{model}", **more)


@pytest.mark.parametrize(("model", "params"), [("small", 2 * 6 + 6 + 6 + 1), ("by_shape", 21), ("with_an_option", 17)])
def test_a_network_of_the_users_own_is_trained(model, params):
    records = [run_trial(trial) for trial in plan(model).trials()]
    assert [r["status"] for r in records] == ["ok"] * 3
    assert records[0]["cost"]["params"] == params
    assert records[1]["cost"]["activation_params"] > 0
    assert records[1]["learned"]
    assert records[0]["model"] == f"user_models:{model}"


def test_the_weights_depend_on_the_seed_alone():
    study = studies["toy"]
    trial = next(plan("small").trials())
    data = study.data(0, trial.settings)
    one, other = (build_model(study, a, data, 0, False, trial.model).model for a in ("relu", "slaf(degree=3)"))
    assert all((a == b).all() for a, b in zip(one[0].parameters(), other[0].parameters(), strict=True))


def test_the_key_depends_on_the_functions_source(monkeypatch):
    before = next(plan("small").trials())
    monkeypatch.setattr("slaf.compare.plan.fingerprint", lambda name: f"another {name}")
    assert next(plan("small").trials()).key != before.key
    assert next(make_plan("toy", ["relu"], 1, "smoke").trials()).key != before.key


def test_a_model_that_changed_since_the_plan_is_refused(monkeypatch):
    trial = next(plan("small").trials())
    monkeypatch.setattr("slaf.compare.trial.fingerprint", lambda _: "another")
    with pytest.raises(SlafError, match="the model of study toy changed"):
        run_trial(trial)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("fails", ["model user_models:fails failed: ZeroDivisionError", "(user_models.py, line 22)"]),
        ("returns_a_number", ["must return a torch.nn.Module; got int"]),
        ("has_no_activation", ["puts no activation"]),
        ("has_no_parameters", ["without trainable parameters"]),
        ("does_not_fit", ["does not fit model user_models:does_not_fit", "mat1 and mat2"]),
        ("fails_in_forward", ["KeyError: 'no such layer'", "user_models.py, line"]),
        ("asks_for_a_device", ["RuntimeError", "user_models.py, line"]),
        ("fails_in_the_standard_library", ["JSONDecodeError", "(user_models.py, line "]),
        ("smal", ["smal", "did you mean 'small'"]),
        ("FailsInForward", ["KeyError"]),
    ],
)
def test_a_function_that_fails_is_named_in_one_sentence(model, words):
    with pytest.raises(SlafError) as error:
        plan(model)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


def test_a_module_that_is_not_there():
    with pytest.raises(SlafError, match="no_such_module"):
        make_plan("toy", ["relu"], 1, "smoke", model="no_such_module:build")
    with pytest.raises(SlafError, match=r"package\.module:function"):
        make_plan("toy", ["relu"], 1, "smoke", model="user_models.small")


def test_make_builds_what_is_under_test():
    built = []

    def record(make):
        built.append(make(num_channels=6))
        return nn.Sequential(nn.Linear(2, 6), built[-1], nn.Linear(6, 1))

    user_models.record = record
    try:
        record.__module__, record.__qualname__ = "user_models", "record"
        make_plan("toy", ["prelu"], 1, "smoke", model="user_models:record", identity=False)
    finally:
        del user_models.record
    assert repr(built[0]).startswith("prelu")
