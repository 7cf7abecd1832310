"""A plan is refused, in one sentence, before anything is written."""

import pytest

from slaf.compare import make_plan
from slaf.core import SlafError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"study": "toyy"}, "did you mean 'toy'"),
        ({"budget": "smal"}, "did you mean 'small'"),
        ({"seeds": 0}, "seeds must be an integer from 1"),
        ({"seeds": -3}, "seeds must be an integer from 1"),
        ({"seeds": []}, "seeds must be"),
        ({"threads": 0}, "threads must be"),
        ({"activations": []}, "no activation to compare"),
        ({"activations": ["gelo"]}, "did you mean 'gelu'"),
        ({"activations": ["relu("]}, "the bracket is not closed"),
        ({"activations": ["slaf(degree=200)"]}, "degree must be"),
        ({"activations": ["slaf(degre=3)"]}, "did you mean 'degree'"),
        ({"activations": ["__import__(os)"]}, "unknown activation"),
        ({"activations": ["slaf(num_channels=3)"]}, "slaf"),
        ({"reference": "gelu"}, "not among the activations compared"),
        ({"options": {"epoch": "3"}}, "did you mean 'epochs'"),
        ({"options": {"epochs": "three"}}, "epochs must be an integer"),
        ({"options": {"epochs": "-1"}}, "epochs must be an integer of at least 0"),
        ({"options": {"widths": "8"}}, "widths must be a tuple"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(SlafError, match=None) as error:
        make_plan(**({"study": "toy", "budget": "smoke"} | arguments))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_plan_is_seeds_outside_and_activations_inside():
    plan = make_plan("toy", ["tanh", "relu", " tanh "], 2, "smoke")
    assert [(t.seed, t.activation) for t in plan.trials()] == [(s, a) for s in (0, 1) for a in ("tanh", "relu", "identity")]
    assert plan.reference == "relu"
    assert make_plan("toy", ["tanh"], 1, "smoke", identity=False).activations == ("tanh",)


def test_options_take_the_type_of_the_budget():
    settings = make_plan("toy", ["relu"], 1, "smoke", {"epochs": "7", "pause": "0.5", "widths": "(16,)"}).common.settings
    assert (settings["epochs"], settings["pause"], settings["widths"]) == (7, 0.5, (16,))


def test_an_activation_that_a_slot_refuses_is_no_reason_to_refuse_the_plan():
    plan = make_plan("toy", ["relu", "tanh"], 1, "smoke", {"trick": "refuse"})
    assert {"relu", "tanh"} <= {t.activation for t in plan.trials()}
