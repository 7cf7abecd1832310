"""benchmarks/speed.py is complete and its arithmetic is right; no time is asserted."""

import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from slaf.kernels import native

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(ROOT / "docs")]

import speed as run  # noqa: E402
from _speed import cases, measure, network, report  # noqa: E402
from slafdocs import speed  # noqa: E402


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What the quick run prints, and the JSON it writes."""
    out = tmp_path_factory.mktemp("speed") / "speed.json"
    command = [sys.executable, str(BENCHMARKS / "speed.py"), "--quick", "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(out.read_text(encoding="utf-8"))


def test_every_table_and_row_is_there(quick):
    text, found = quick
    assert [t["name"] for t in found["tables"]] == [t.name for t in cases.TABLES]
    for made, table in zip(cases.TABLES, found["tables"], strict=True):
        names = [name for process in made.processes for name in process.rows]
        assert [row["name"] for row in table["rows"]] == names, made.name
        assert made.title in text
        for row in table["rows"]:
            assert row["title"] in text
            if "note" in row:  # another library that is not here
                assert row["name"] in cases.PEERS
                assert row["note"] in text
                continue
            assert row["samples"] == 2
            assert set(made.against) <= set(row["ratio"])
            for middle, low, high in (row["milliseconds"], *row["ratio"].values()):
                assert 0 <= low <= middle <= high < np.inf
            if row["name"] not in cases.FLOORS:
                assert row["saved_bytes"] > 0
    assert "goals are met" not in text  # of tiny shapes


def test_the_run_says_where_and_what(quick):
    _, found = quick
    assert found["quick"]
    for key in ("command", "machine", "cores", "torch", "slaf", "date", "backend", "commit"):
        assert key in found
    (trained,) = found["network"]
    assert trained["images"] == 256
    assert min(trained["seconds"]) > 0


def test_the_large_tables_are_measured_with_and_without_a_warm_allocator(quick):
    large = next(t for t in quick[1]["tables"] if t["name"] == "large")
    assert {row["allocator"] for row in large["rows"]} == {"warm", "default"}


def test_the_page_can_show_every_table(quick, monkeypatch):
    monkeypatch.setattr(speed, "load", lambda _: quick[1])
    for name, make in speed.makers().items():
        shown = make()
        assert "Not run yet" not in shown, name
        assert "\n\n" not in shown, f"{name}: an empty line ends a block of HTML in Markdown"
    assert speed.makers()["speed_4d"]().count("<tr>") == 1 + len(cases.TABLES[0].processes[0].rows)
    assert speed.picture(quick[1]).count("<circle") == len(cases.TABLES[0].processes[0].rows)


def test_a_page_without_numbers_says_so(monkeypatch):
    monkeypatch.setattr(speed, "load", lambda _: {})
    assert all("Not run yet" in make() for make in speed.makers().values())


def test_goals_are_marked_as_met_or_missed():
    row = {"name": "a", "title": "a", "ratio": {"relu": [1.2, 1.1, 1.3], "gelu": [0.4, 0.3, 0.5]}, "saved": 1.005}
    row["goals"] = {"relu": 1.15, "gelu": 0.45, "saved": 1.0}
    assert report.goals_text(row) == "✗ × ReLU ≤ 1.15, ✓ × GELU ≤ 0.45, ✓ saved ≤ 1"
    table = {"name": "4d", "title": "t", "shape": [1], "threads": 1, "rows": [row]}
    assert report.goals_missed([table]) == (1, 3)
    told = speed.missed({"tables": [table]})
    assert "2 of 3 goals are met" in told
    assert "× ReLU 1.20, goal 1.15" in told


def test_goals_name_rows_that_exist():
    rows = {(t.name, name) for t in cases.TABLES for process in t.processes for name in process.rows}
    assert {key[:2] for key in cases.GOALS} <= rows


def test_saved_bytes_count_storages_once():
    """x³ by two products keeps x and x·x; parameters are there anyway."""
    x = torch.randn(10, requires_grad=True)

    class Cube(nn.Module):
        def forward(self, x):
            return x * x * x

    assert measure.saved_bytes(Cube(), x) == 2 * 40
    assert measure.saved_bytes(nn.ReLU(), x) == 40
    assert measure.saved_bytes(nn.PReLU(), x) == 40
    assert measure.saved_bytes(nn.Identity(), x) == 0


def test_samples_are_paired_and_every_contender_gets_its_share():
    taken = []
    times = iter(range(10**6))

    def step(name):
        return lambda: taken.append(name)

    base = measure.Contender("base", step("base"))
    rows = [measure.Contender(n, step(n), 3, {"relu": base}) for n in ("a", "b")]
    measure.compare(rows, lambda: float(next(times)), rounds=4, seconds=1e9)
    assert all(len(c.samples) == 4 and set(c.samples[0]) == {"own", "relu"} for c in rows)
    assert taken.count("a") == 1 + 4 * (3 + 1)
    assert taken.count("base") == 2 + 2 * 4 * (1 + 1)


def test_slow_rows_stop_early_but_not_before_five_samples():
    row = measure.Contender("slow", lambda: None)
    measure.compare([row], lambda: 0.0, rounds=9, seconds=0.0)
    assert len(row.samples) == 5


def test_a_stopped_run_goes_on_where_it_was(quick, tmp_path, monkeypatch):
    """If commit and machine are the same."""
    whole, path = quick[1], tmp_path / "speed.json"
    stopped = whole | {"network": [], "tables": [t for t in whole["tables"] if t["name"] != "small"]}
    command = ["speed.py", "--quick", "--only", "2d,small", "--json", str(path), "--resume"]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr(run, "about", lambda _: {k: v for k, v in whole.items() if k not in ("network", "tables")})
    for commit, measured in ((whole["commit"], ["small"]), ("another", ["2d", "small"])):
        path.write_text(json.dumps(stopped | {"commit": commit}), encoding="utf-8")
        seen = []
        monkeypatch.setattr(
            run, "measure", lambda table, *_, seen=seen: seen.append(table.name) or whole["tables"][0] | {"name": table.name}
        )
        assert run.main() == 0
        assert seen == measured


def test_intervals_hold_the_median():
    values = np.random.default_rng(0).lognormal(size=31).tolist()
    middle, low, high = measure.interval(values)
    assert middle == statistics.median(values)
    assert min(values) <= low < middle < high <= max(values)
    assert measure.interval([2.0, 2.0]) == (2.0, 2.0, 2.0)


def test_relative_error_is_that_of_rounding():
    """nn.Identity is exact; rounding once to bfloat16 is wrong by at most 2⁻⁹ of a value."""
    x = torch.randn(1000).bfloat16()
    assert measure.relative_error(nn.Identity(), x) == 0
    assert 2**-12 < measure.relative_error(nn.GELU(), x) < 2**-8


def test_the_network_reads_idx_files(tmp_path):
    pixels, labels = torch.arange(300 * 28 * 28) % 256, torch.arange(300) % 10
    sizes = b"".join(n.to_bytes(4, "big") for n in (300, 28, 28))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + bytes(pixels.tolist()))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + (300).to_bytes(4, "big") + bytes(labels.tolist()))
    found = network.train(tmp_path, 1, 200)
    assert found["images"] == 200
    assert found["data"] == tmp_path.name


WRONG = [
    (["--only", "4e"], "unknown table '4e'"),
    (["--resume"], "--resume needs --json FILE"),
    (["--data", "nowhere"], "--data nowhere is no folder"),
    (["--data", str(BENCHMARKS)], "holds no IDX files"),
]


@pytest.mark.parametrize(("words", "told"), WRONG)
def test_a_wrong_word_is_one_sentence(words, told):
    done = subprocess.run([sys.executable, str(BENCHMARKS / "speed.py"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(shutil.which("cc") is None or not native.available(), reason="needs a C compiler and the compiled kernels")
def test_the_stores_past_the_caches_write_the_same():
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "nontemporal.py"), "--quick"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^\s+0\.", done.stdout, re.MULTILINE)) == 4
