"""Running for real: processes, kills, Ctrl-C."""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from slaf.compare import Interrupted, WorkerError, load, make_plan, run_plan, worker
from slaf.core import SlafError

ARGUMENTS = ("-a", "relu,prelu", "--seeds", "4", "--budget", "smoke", "-o", "epochs=3", "-o", "pause=0.1")
TRIALS = 12


def stored(folder):
    path = folder / "results.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(folder, count, process):
    end = time.monotonic() + 90
    while stored(folder) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing is stored"
        time.sleep(0.02)


def by_trial(folder):
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert len({r["key"] for r in records}) == len(records), "a trial ran twice"
    return {(r["activation"], r["seed"]): r["metrics"] for r in records}


def test_a_killed_run_resumes_to_what_an_uninterrupted_one_gives(command, tmp_path):
    process = command.start("killed", *ARGUMENTS, "--workers", "2")
    wait_for(tmp_path / "killed", 3, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()
    done = (tmp_path / "killed" / "results.jsonl").read_bytes()
    first = [json.loads(line) for line in done.splitlines()[: done.count(b"\n")]]
    assert 3 <= len(first) < TRIALS
    command.log.unlink()
    code, _, error = command.run("killed", *ARGUMENTS, "--workers", "2")
    assert code == 0, error
    assert (tmp_path / "killed" / "results.jsonl").read_bytes().startswith(done[: done.rfind(b"\n") + 1])
    assert len(command.trained()) == TRIALS - len(first), "a stored trial was trained again"
    run_plan(make_plan("toy", ["relu", "prelu"], 4, "smoke", {"epochs": "3", "pause": "0.1"}), tmp_path / "whole")
    assert by_trial(tmp_path / "killed") == by_trial(tmp_path / "whole")
    assert len(by_trial(tmp_path / "whole")) == TRIALS


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ctrl_c_stops_cleanly_and_says_how_to_resume(command, tmp_path, workers):
    process = command.start("out", *ARGUMENTS, "--workers", workers)
    wait_for(tmp_path / "out", 2, process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command resumes" in error
    assert "Traceback" not in error
    assert 2 <= len(load(tmp_path / "out")[1]) < TRIALS


def test_a_worker_that_dies_is_reported_and_the_rest_is_kept(command, tmp_path):
    code, _, error = command.run("out", "-a", "relu,tanh", "--seeds", "2", "--budget", "smoke", "-o", "trick=die", "--workers", "2")
    assert code == 1
    assert "a worker process died" in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()[-1]) < 400
    assert all(r["status"] == "ok" for r in load(tmp_path / "out")[1])


def test_any_executor_will_do(tmp_path):
    plan = make_plan("toy", ["relu"], 2, "smoke")
    with ThreadPoolExecutor(1) as executor:
        records = run_plan(plan, tmp_path, executor=executor)
    assert [(r["seed"], r["activation"]) for r in records] == [(0, "relu"), (0, "identity"), (1, "relu"), (1, "identity")]


def test_threads_take_turns_for_torch_has_one_generator_and_thread_count_per_process(tmp_path, monkeypatch):
    at_work, most, real = [], [], worker.run_trial

    def counted(trial, *more):
        at_work.append(trial)
        time.sleep(0.02)
        most.append(len(at_work))
        at_work.remove(trial)
        return real(trial, *more)

    monkeypatch.setattr(worker, "run_trial", counted)
    with ThreadPoolExecutor(4) as executor:
        run_plan(make_plan("toy", ["relu"], 6, "smoke", identity=False), tmp_path, executor=executor)
    assert most == [1] * 6


def test_an_executor_that_fails_is_one_sentence_and_what_is_done_is_kept(tmp_path):
    class Fails(ThreadPoolExecutor):
        def submit(self, function, /, *words, **more):
            if words[1].seed == 1:
                return super().submit(int, "x")
            return super().submit(function, *words, **more)

    with Fails(1) as executor, pytest.raises(WorkerError, match=r"executor failed .* while these ran: relu \(seed 1\)"):
        run_plan(make_plan("toy", ["relu"], 2, "smoke", identity=False), tmp_path, executor=executor)
    assert [r["seed"] for r in load(tmp_path)[1]] == [0]


def test_ctrl_c_in_this_process_leaves_whole_records(tmp_path):
    def interrupt(event):
        if event.kind == "epoch" and event.trial.seed == 1:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # a background job of a shell starts with it ignored
    with pytest.raises(Interrupted, match="1 of 3 trials"):
        run_plan(make_plan("toy", ["relu"], 3, "smoke", identity=False), tmp_path, on_event=interrupt)
    assert len(load(tmp_path)[1]) == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_workers_must_be_a_number_of_processes(tmp_path):
    with pytest.raises(SlafError, match="workers must be"):
        run_plan(make_plan("toy", ["relu"], 1, "smoke"), tmp_path / "x", workers=-1)
    assert not (tmp_path / "x").exists()
