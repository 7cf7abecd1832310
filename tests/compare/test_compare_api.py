"""``slaf.compare(…)``, merging, estimating and sweeping, on the toy study."""

import json
import subprocess
import sys

import pytest
import toy_study
import user_models

import slaf
from slaf.compare import Comparison, make_plan, merge, run_plan, tabulate
from slaf.compare.api import default_folder
from slaf.compare.estimate import estimate
from slaf.core import SlafError

OPTIONS = {"budget": "smoke", "workers": 0, "progress": False}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_one_call_gives_a_table(tmp_path):
    table = slaf.compare("toy", "relu,slaf(degree=3)", seeds=2, out=tmp_path / "run", **OPTIONS)
    assert isinstance(table, Comparison)
    assert {r.activation for r in table.rows} == {"relu", "slaf(degree=3)", "identity"}
    assert len((tmp_path / "run" / "results.jsonl").read_text().splitlines()) == 6
    frame = table.to_pandas()
    assert list(frame["activation"]) == [r.activation for r in table.rows]
    assert frame["mean"].tolist() == [r.mean for r in table.rows]
    trials = table.to_pandas(trials=True)
    assert len(trials) == 6
    assert set(trials["seed"]) == {0, 1}
    assert {"nmse", "train_seconds", "lr_factor"} <= set(trials.columns)


def test_the_room_is_its_main_job_and_still_a_room():
    from slaf.compare import compare

    assert slaf.compare.make_plan is make_plan
    assert slaf.compare.compare is compare
    assert callable(slaf.compare)


def test_it_shows_itself():
    table = slaf.compare("toy", ["relu", "prelu"], seeds=1, **OPTIONS)
    lines = repr(table).splitlines()
    assert "nmse over 1 seed" in lines[0]
    assert [line.split()[0] for line in lines[2:5]] == [r.activation for r in table.rows]
    page = table._repr_html_()
    assert page.count("<tr>") == 4
    assert page.count("data:image/png;base64,") == 2  # every seed; the prelu's one site
    assert "<b>bold</b>" not in page
    assert "A toy" in page


def test_folders_are_taken_up_again_or_left_alone(tmp_path):
    first = slaf.compare("toy", ["relu"], seeds=1, **OPTIONS)
    again = slaf.compare("toy", ["relu", "tanh"], seeds=2, **OPTIONS)
    assert len(first.records) == 2
    assert len(again.records) == 6
    slaf.compare("toy", ["relu"], seeds=1, options={"epochs": 1}, **OPTIONS)
    assert sorted(p.name for p in (tmp_path / "slaf-runs").iterdir()) == ["toy-smoke", "toy-smoke-2"]
    assert default_folder(make_plan("toy", budget="smoke")).name == "toy-smoke"


def test_a_study_class_a_function_and_a_closure():
    assert slaf.compare(toy_study.Toy, ["relu"], seeds=1, **OPTIONS).rows
    assert slaf.compare("toy", ["relu"], model=user_models.small, seeds=1, **OPTIONS).rows

    def mine(make):
        return user_models.small(make)

    table = slaf.compare("toy", ["relu"], model=mine, seeds=1, **OPTIONS)
    assert table.records[0]["status"] == "ok"
    with pytest.raises(SlafError, match="no other process can import"):
        slaf.compare("toy", ["relu"], model=mine, seeds=1, budget="smoke", workers=2, progress=False)


def test_an_unregistered_study_is_used_and_replaced_by_its_next_version():
    def version(points):
        class Mine(toy_study.Toy):
            name = "mine"

            def data(self, seed, budget):
                return super().data(seed, {**budget, "points": points})

        return Mine

    try:
        for points in (64, 32):
            assert slaf.compare(version(points), ["relu"], seeds=1, out=f"m{points}", **OPTIONS).rows
        assert len(slaf.compare.studies["mine"].data(0, toy_study.Toy.budgets["smoke"]).train[0]) == 16
    finally:
        slaf.compare.studies.unregister("mine")
    with pytest.raises(SlafError, match="taken"):
        slaf.compare(type("Other", (toy_study.Toy,), {"name": "digits"}), **OPTIONS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"study": int}, "study must be"),
        ({"data": "x.csv"}, "takes no --data"),
        ({"target": "y"}, "takes no --target"),
        ({"device": "gpu"}, "device must be"),
        ({"device": "cuda:99"}, "not on this machine"),
        ({"devices": 0}, "devices must be"),
        ({"options": {"epochs": 1.5}}, "epochs must be an integer"),
        ({"workers": -1}, "workers must be"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(SlafError, match=message):
        slaf.compare(**({"study": "toy", "seeds": 1} | OPTIONS | arguments))


def test_runs_are_merged(tmp_path):
    whole = slaf.compare("toy", ["relu", "tanh"], seeds=2, out="whole", **OPTIONS)
    slaf.compare("toy", ["relu"], seeds=2, out="a", **OPTIONS)
    slaf.compare("toy", ["relu", "tanh"], seeds=[1], out="b", **OPTIONS)
    slaf.compare("toy", ["tanh"], seeds=[0], out="c", **OPTIONS)
    assert merge(["a", "b", "c"], "joined") == 6
    lines = [json.loads(line) for line in (tmp_path / "joined" / "results.jsonl").read_text().splitlines()]
    assert sorted(r["key"] for r in lines) == sorted(r["key"] for r in whole.records)
    assert {r["key"]: r["metrics"] for r in lines} == {r["key"]: r["metrics"] for r in whole.records}
    assert merge(["a", "b"], "joined") == 6


def test_what_cannot_be_merged():
    slaf.compare("toy", ["relu"], seeds=1, out="a", **OPTIONS)
    slaf.compare("toy", ["relu"], seeds=1, out="b", options={"epochs": 1}, **OPTIONS)
    for folders, out, message in ((["a", "b"], "c", "settings"), (["a", "nowhere"], "c", "not a folder"), (["a"], "a", "is one of the folders"), ([], "c", "needs folders")):  # fmt: skip # noqa: E501
        with pytest.raises(SlafError, match=message):
            merge(folders, out)


def test_the_estimate_counts_the_steps():
    plan = make_plan("toy", ["relu", "tanh"], 1, "smoke", {"epochs": "7", "trick": "refuse"})
    found = {e.activation: e for e in estimate(plan)}
    assert found["relu"].steps == 7 * 4
    assert found["relu"].params == 33
    assert found["relu"].seconds > 0
    assert found["tanh"].seconds is None


def test_a_sweep_takes_each_activations_best_rate(tmp_path):
    plan = make_plan("toy", ["relu"], 2, "smoke", sweep_lr=True)
    records = run_plan(plan, tmp_path / "sweep")
    assert len(records) == 3 * 2 * 2
    assert len({r["key"] for r in records}) == 12
    alone = run_plan(make_plan("toy", ["relu"], 2, "smoke"), tmp_path / "alone")
    assert {r["key"]: r["metrics"] for r in alone}.items() <= {r["key"]: r["metrics"] for r in records}.items()
    rates = {r["lr_factor"]: r["history"]["lr"][0] for r in records}
    assert rates == pytest.approx({1.0: 0.01, 1 / 3: 0.01 / 3, 3.0: 0.03}, rel=1e-4)
    table = tabulate(records, "nmse", "min", "relu")
    means = {f: sum(r["metrics"]["nmse"] for r in records if r["activation"] == "relu" and r["lr_factor"] == f) / 2 for f in rates}
    assert table.row("relu").lr_factor == min(means, key=means.get)
    assert table.row("relu").mean == pytest.approx(min(means.values()))
    assert any("best of 3 learning rates" in note for note in table.notes)
    assert {(r["activation"], r["lr_factor"]) for r in table.shown} == {(r.activation, r.lr_factor) for r in table.rows}
    assert len(table.shown) == 4


def test_a_study_that_trains_in_its_own_way_cannot_be_swept():
    class Own(toy_study.Toy):
        name = "own"

        def train(self, model, data, budget, seed, on_epoch):
            return super().train(model, data, budget, seed, on_epoch)

    try:
        with pytest.raises(SlafError, match="takes no lr_factor, so --sweep-lr"):
            slaf.compare(Own, ["relu"], sweep_lr=True, **OPTIONS)
        with pytest.raises(SlafError, match="takes no fabric, so --devices"):
            slaf.compare(Own, ["relu"], devices=2, **OPTIONS)
    finally:
        slaf.compare.studies.unregister("own")


def test_an_unfinished_sweep_does_not_pick_by_fewer_seeds():
    def record(seed, value, factor):
        return {
            "study": "toy", "activation": "relu", "seed": seed, "status": "ok", "lr_factor": factor, "metrics": {"nmse": value}, "cost": {},
        }  # fmt: skip

    table = tabulate([record(0, 0.5, 1.0), record(1, 0.5, 1.0), record(0, 0.1, 3.0)], "nmse", "min", "relu")
    assert table.row("relu").lr_factor == 1.0


def test_a_script_needs_no_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import slaf\nprint(len(slaf.compare('digits', 'relu', seeds=2, budget='smoke', workers=2).records))\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=110)
    assert done.stdout == "4\n", done.stderr
    assert "[4/4]" in done.stderr
