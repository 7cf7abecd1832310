"""Generated tables and bundled ones."""

import math

import pytest
import torch

from slaf.core import SlafError
from slaf.studies import studies
from slaf.studies.tabular import GENERATED, _arrays

STUDY = studies["tabular"]
SMOKE = STUDY.budgets["smoke"]


@pytest.mark.parametrize(
    ("table", "point", "value"),
    [
        ("friedman", [0.5, 1.0, 0.0, 0.3, 0.2, *[0.9] * 5], 10 + 5 + 3 + 1),
        ("smooth", [0.75, 1.0], math.exp(2)),
        ("smooth4", [1.0, 0.5, 0.5, 0.5], 1.0),
    ],
)
def test_the_functions_at_a_point(table, point, value):
    function, columns, _ = GENERATED[table]
    assert len(point) == columns
    assert float(function(torch.tensor([point], dtype=torch.float64))) == pytest.approx(value)


def test_the_noise_is_a_floor():
    """The true function's own error on held-out rows is the share that the study states."""
    arrays = _arrays("friedman", 4000)
    x, y = arrays.train
    data = STUDY.data(0, {**SMOKE, "rows": 4000})
    share = float((y - GENERATED["friedman"][0](x.double())).var() / y.var())
    assert data.truth["nmse"] == pytest.approx(share, rel=0.05)
    assert any("No model can have an expected nmse" in note for note in data.notes)
    assert (data.train[0].shape, data.test[0].shape) == ((2800, 10), (1200, 10))
    assert data.train[0].mean(0).abs().max() < 1e-5
    assert data.train[1].std(correction=0).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("table", "outputs", "metric"), [("diabetes", 1, "nmse"), ("wine", 3, "accuracy")])
def test_bundled_tables(table, outputs, metric):
    pytest.importorskip("sklearn")
    budget = {**SMOKE, "table": table}
    data = STUDY.data(0, budget)
    assert data.spec["outputs"] == outputs
    assert STUDY.ranked_by(budget)[0] == metric


def test_what_is_no_table():
    with pytest.raises(SlafError, match="table"):
        STUDY.data(0, {**SMOKE, "table": "diabetis"})
    with pytest.raises(SlafError, match="rows must be an integer of at least 20; got 3"):
        STUDY.data(0, {**SMOKE, "rows": 3})
    with pytest.raises(SlafError, match="study tabular takes no --data"):
        STUDY.with_inputs({"data": "x.csv"})
