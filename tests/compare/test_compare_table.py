"""The table against numbers worked out by hand."""

import itertools

import numpy as np
import pytest

from slaf.compare import tabulate
from slaf.compare.table import bootstrap
from slaf.compare.words import evidence, headline


def record(activation, seed, value, status="ok", seconds=1.0):
    return {
        "study": "toy", "activation": activation, "seed": seed, "status": status, "metrics": {"accuracy": value},
        "cost": {"params": 10, "activation_params": 2, "train_seconds": seconds}, "variance_matched": True,
    }  # fmt: skip


def records(**values):
    return [record(name, seed, v) for name, column in values.items() for seed, v in enumerate(column)]


def test_differences_are_paired_and_intervals_are_those_of_all_resamples():
    table = tabulate(records(relu=[0.5, 0.7, 0.6], gelu=[0.6, 0.9, 0.7]), "accuracy", "max", "relu")
    row = table.row("gelu")
    assert row.difference == pytest.approx((0.1 + 0.2 + 0.1) / 3)
    # three seeds have 27 equally likely resamples; the smallest and largest have a probability over 2.5 %
    means = [np.mean(d) for d in itertools.product([0.1, 0.2, 0.1], repeat=3)]
    low, high = np.quantile(np.repeat(means, 1000), [0.025, 0.975])
    assert (row.difference_low, row.difference_high) == pytest.approx((low, high), abs=1e-9)
    assert row.verdict == "better"
    assert (row.mean, row.worst, row.params, row.activation_params, row.seconds) == (pytest.approx(2.2 / 3), 0.6, 10, 2, 1.0)
    assert table.row("relu").verdict == "reference"
    assert [r.activation for r in table.rows] == ["gelu", "relu"]
    assert table.to_dicts()[0]["activation"] == "gelu"


def test_equal_numbers_give_an_interval_of_no_width():
    assert bootstrap([0.3, 0.3, 0.3, 0.3]) == pytest.approx((0.3, 0.3))


def test_the_bootstrap_of_many_seeds_is_near_the_normal_interval():
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap(values)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


@pytest.mark.parametrize(
    ("other", "direction", "verdict"),
    [
        ([0.6, 0.6, 0.6], "max", "better"),
        ([0.6, 0.6, 0.6], "min", "worse"),
        ([0.4, 0.4, 0.4], "max", "worse"),
        ([0.6, 0.7, 0.49], "max", "unclear"),
        ([0.5, 0.5, 0.5], "max", "unclear"),
        ([0.9], "max", "unclear"),
    ],
)
def test_verdicts(other, direction, verdict):
    assert tabulate(records(relu=[0.5] * 3, gelu=other), "accuracy", direction, "relu").row("gelu").verdict == verdict


def test_broken_runs_are_counted_and_forbid_better():
    rows = [*records(relu=[0.5] * 3, gelu=[0.9, 0.9]), record("gelu", 2, None, "non-finite")]
    row = tabulate(rows, "accuracy", "max", "relu").row("gelu")
    assert (row.runs, row.non_finite, row.verdict, row.mean) == (3, 1, "unclear", pytest.approx(0.9))
    nothing = tabulate([record("gelu", 0, None, "n/a")], "accuracy", "max", "relu").row("gelu")
    assert (nothing.not_applicable, nothing.mean, nothing.verdict) == (1, None, "no data")


def test_a_study_that_needs_no_activation_is_named():
    tied = tabulate(records(relu=[0.5, 0.6, 0.5, 0.6], identity=[0.5, 0.6, 0.6, 0.5]), "accuracy", "max", "relu")
    assert any("identity" in note for note in tied.notes)
    clear = tabulate(records(relu=[0.9, 0.9, 0.8, 0.9], identity=[0.5, 0.6, 0.6, 0.5]), "accuracy", "max", "relu")
    assert clear.notes == ()
    few = tabulate(records(relu=[0.9, 0.9, 0.8], identity=[0.5, 0.6, 0.6]), "accuracy", "max", "relu")
    assert few.notes == ("3 seeds are few: the intervals are rough, and better or worse means no more than that all 3 agree.",)


def test_the_headline_is_fair():
    won = tabulate(records(relu=[0.5] * 3, slaf=[0.6, 0.7, 0.6]), "accuracy", "max", "relu")
    lost = tabulate(records(relu=[0.5] * 3, slaf=[0.4, 0.3, 0.4], gelu=[0.6] * 3), "accuracy", "max", "relu")
    tied = tabulate(records(relu=[0.5] * 3, slaf=[0.6, 0.4, 0.5]), "accuracy", "max", "relu")
    alone = tabulate(records(relu=[0.5]), "accuracy", "max", "relu")
    one = tabulate(records(relu=[0.5], slaf=[0.9]), "accuracy", "max", "relu")
    assert "slaf beats relu, 63.33 % against 50.00 %" in headline(won, "T")
    assert "slaf loses to relu" in headline(lost, "T")
    assert "Best by its mean: gelu" in evidence(lost)
    assert "does not clearly differ from relu" in headline(tied, "T")
    assert "relu reaches" in headline(alone, "T")
    assert "too little tested" in headline(one, "T")
    assert "proves nothing" in evidence(one)
    assert "no trial" in headline(tabulate([], "accuracy", "max", "relu"), "T")
