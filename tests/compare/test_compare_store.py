"""A run folder: what is refused, what is repaired, what is never lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slaf.compare import Store, load, make_plan, run_plan
from slaf.core import SlafError


def plan(**changes):
    return make_plan(**({"study": "toy", "activations": ["relu"], "seeds": 2, "budget": "smoke", "identity": False} | changes))


def lines(folder):
    return (folder / "results.jsonl").read_bytes().split(b"\n")[:-1]


def test_nothing_runs_twice_and_more_can_be_added(tmp_path):
    run_plan(plan(), tmp_path)
    before = lines(tmp_path)
    kinds = []
    run_plan(plan(), tmp_path, on_event=lambda e: kinds.append(e.kind))
    assert kinds == ["stored", "stored"]
    assert lines(tmp_path) == before
    run_plan(plan(activations=["tanh", "relu"], seeds=3), tmp_path)
    assert lines(tmp_path)[:2] == before
    assert len(lines(tmp_path)) == 6


@pytest.mark.parametrize("torn", [b'{"key": "abc", "stu', b"\x00\x00\x00\n", b"{}\n"])
def test_a_torn_last_line_is_kept_aside_and_its_trial_run_again(tmp_path, torn):
    run_plan(plan(), tmp_path)
    whole = lines(tmp_path)
    (tmp_path / "results.jsonl").write_bytes(whole[0] + b"\n" + torn)
    records = run_plan(plan(), tmp_path)
    again = lines(tmp_path)
    assert again[0] == whole[0]
    assert len(again) == len(records) == 2
    assert json.loads(again[1])["metrics"] == json.loads(whole[1])["metrics"]
    assert torn.strip(b"\n") in (tmp_path / "results.jsonl.torn").read_bytes()


def test_reading_a_torn_folder_changes_nothing(tmp_path):
    run_plan(plan(), tmp_path)
    with open(tmp_path / "results.jsonl", "ab") as file:
        file.write(b'{"key')
    content = (tmp_path / "results.jsonl").read_bytes()
    assert len(load(tmp_path)[1]) == 2
    assert (tmp_path / "results.jsonl").read_bytes() == content


def test_a_damaged_line_in_the_middle_is_refused(tmp_path):
    run_plan(plan(), tmp_path)
    (tmp_path / "results.jsonl").write_bytes(b"nonsense\n" + b"\n".join(lines(tmp_path)) + b"\n")
    with pytest.raises(SlafError, match="line 1, is not a trial"):
        run_plan(plan(), tmp_path)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"budget": "small"}, "budget=smoke"),
        ({"options": {"epochs": "3"}}, "'epochs': 2"),
        ({"threads": 2}, "threads=1"),
        ({"variance_match": False}, "variance_match"),
    ],
)
def test_a_folder_made_with_other_options_is_refused(tmp_path, changes, word):
    run_plan(plan(), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(SlafError) as error:
        run_plan(plan(**changes), tmp_path)
    assert word in str(error.value)
    assert "--out" in str(error.value)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_folders_that_are_none(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SlafError, match="is a file"):
        run_plan(plan(), tmp_path / "file")
    with pytest.raises(SlafError, match="cannot write"):
        run_plan(plan(), tmp_path / "file" / "below")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "results.jsonl").write_text("{}\n")
    with pytest.raises(SlafError, match=r"no run\.json"):
        run_plan(plan(), tmp_path / "foreign")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("[1]")
    with pytest.raises(SlafError, match="is damaged"):
        run_plan(plan(), tmp_path / "damaged")
    with pytest.raises(SlafError, match="not a folder of results"):
        load(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(SlafError, match="cannot write to folder"):
        run_plan(plan(), tmp_path / "below")


def test_two_drivers_do_not_share_a_folder(tmp_path):
    pytest.importorskip("fcntl")
    with Store(tmp_path, plan().fixed(), plan().view()), pytest.raises(SlafError, match="in use by another run"):
        run_plan(plan(), tmp_path)
    run_plan(plan(), tmp_path)


FULL = """
import resource, signal, sys
import toy_study
from slaf.compare import make_plan, run_plan
from slaf.core import SlafError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails then, as on a full disk
plan = make_plan("toy", ["relu"], 4, "smoke", identity=False)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    run_plan(plan, sys.argv[1])
except SlafError as error:
    sys.exit(str(error))
"""


def run_where_files_end_at(size, folder):
    pytest.importorskip("resource")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    words = [sys.executable, "-c", FULL, str(folder), str(size)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=110, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"cannot write to folder {str(folder)!r}: File too large" in done.stderr
    return done.stderr


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path):
    run_plan(plan(seeds=4), tmp_path / "whole")
    whole = lines(tmp_path / "whole")
    limit = len(whole[0]) + 1 + len(whole[1]) // 2
    assert "the same command resumes" in run_where_files_end_at(limit, tmp_path / "full")
    assert [json.loads(line)["seed"] for line in (tmp_path / "full" / "results.jsonl").read_bytes().splitlines()] == [0]
    assert (tmp_path / "full" / "results.jsonl").read_bytes().endswith(b"}\n")
    assert len(run_plan(plan(seeds=4), tmp_path / "full")) == 4
    assert [json.loads(line)["metrics"] for line in lines(tmp_path / "full")] == [json.loads(line)["metrics"] for line in whole]
    assert not (tmp_path / "full" / "results.jsonl.torn").exists()


def test_a_disk_that_is_full_from_the_start(tmp_path):
    folder = tmp_path / "new"
    assert "choose another with --out" in run_where_files_end_at(100, folder)
    assert [p.name for p in folder.iterdir()] == ["results.jsonl"]
    assert len(run_plan(plan(), folder)) == 2
    before = (folder / "run.json").read_bytes()
    run_where_files_end_at(100, folder)
    assert (folder / "run.json").read_bytes() == before
    assert len(load(folder)[1]) == 2


@pytest.mark.parametrize("out", ["/dev/null", "/dev/null/below", "/proc/no-such", "/sys/no-such", "x" * 300])
def test_places_that_hold_no_folder(out):
    if out.startswith("/") and not Path("/", *Path(out).parts[1:2]).is_dir():
        pytest.skip("this system has no such place")
    with pytest.raises(SlafError, match=r"is a file|cannot (write|use)"):
        run_plan(plan(), out)


def test_a_write_that_fails_is_taken_back(tmp_path, monkeypatch):
    """What a network disk may do: it takes the bytes and refuses the sync."""
    records = run_plan(plan(), tmp_path / "other")
    answers = iter([OSError(28, "No space left on device")])

    def sync(_number):
        for error in answers:
            raise error

    with Store(tmp_path / "out", plan().fixed(), plan().view()) as store:
        store.append(records[0])
        monkeypatch.setattr(os, "fsync", sync)
        with pytest.raises(SlafError, match="No space left on device"):
            store.append(records[1])
        assert len(store.records) == len(lines(tmp_path / "out")) == 1
        store.append(records[1])
    assert len(lines(tmp_path / "out")) == 2
