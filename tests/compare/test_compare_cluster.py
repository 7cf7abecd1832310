"""A real Dask scheduler and real worker processes on this machine, some of which are killed."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from slaf.compare import Interrupted, WorkerError, load, make_plan, run_plan
from slaf.compare.cluster import connect
from slaf.core import SlafError

distributed = pytest.importorskip("distributed")
HERE = Path(__file__).parent


class Dask:
    """One scheduler and its workers, started when needed, none of which outlives the tests."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(HERE),
            "OMP_NUM_THREADS": "1",
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "false",
        }
        self.scheduler, self.workers, self.address = None, [], None

    def start(self, name, *words):
        command = [sys.executable, "-m", "dask", *words]
        with open(self.folder / f"{name}.log", "ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=self.environment)

    def start_scheduler(self):
        file = self.folder / f"scheduler-{time.monotonic_ns()}.json"
        words = ["--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
        self.scheduler = self.start("scheduler", "scheduler", *words)
        until(lambda: file.exists() and file.read_text().strip().endswith("}"), self.scheduler)
        self.address = json.loads(file.read_text())["address"]

    def start_worker(self, *words):
        fixed = ["--no-dashboard", "--no-nanny", "--memory-limit", "0", "--local-directory", str(self.folder / "scratch")]
        worker = self.start("worker", "worker", self.address, *fixed, *words)
        self.workers.append(worker)
        return worker

    def ready(self, count=2):
        """The address, with ``count`` idle workers behind it."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.end()
            self.start_scheduler()
        self.workers = [w for w in self.workers if w.poll() is None]
        for extra in self.workers[count:]:
            kill(extra)
        while len(self.workers) < count:
            self.start_worker("--nthreads", "1")
        self.wait_for_workers(count)
        return self.address

    @contextlib.contextmanager
    def odd_worker(self, *words):
        """One more worker, which takes only trials that ask for it."""
        address = self.ready()
        worker = self.start_worker("--resources", "ODD=4", *words)
        try:
            self.wait_for_workers(3)
            with connect(address, resources={"ODD": 1}) as cluster:
                yield cluster
        finally:
            kill(worker)

    def wait_for_workers(self, count):
        until(lambda: len(self.ask("identity")["workers"]) == count, self.scheduler)

    def ask(self, what):
        async def asked():
            async with distributed.core.rpc(self.address) as scheduler:
                return await getattr(scheduler, what)()

        return asyncio.run(asked())

    def end(self):
        for process in [*self.workers, *([self.scheduler] if self.scheduler else [])]:
            kill(process)
        self.scheduler, self.workers = None, []


def kill(process):
    process.kill()
    process.wait()


def until(condition, process):
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "the process ended"
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    cluster = Dask(tmp_path_factory.mktemp("dask"))
    try:
        yield cluster
    finally:
        cluster.end()


def plan(activations=("relu", "prelu"), seeds=2, modules=("toy_study",), **options):
    return make_plan("toy", activations, seeds, "smoke", options, identity=False, modules=modules)


def same(records, others):
    """Every trial once, with the same numbers."""
    kept = ("activation", "seed", "key", "status", "metrics", "history", "learned")
    assert [{k: r[k] for k in kept} for r in records] == [{k: r[k] for k in kept} for r in others]


def stored(folder):
    """How many trials the file holds, each once."""
    keys = [json.loads(line)["key"] for line in (folder / "results.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys))
    return len(keys)


def test_a_cluster_gives_what_this_process_gives(dask, tmp_path):
    events = []
    trials = plan(("relu", "prelu", "slaf"), 3, epochs=3)
    with connect(dask.ready()) as cluster:
        records = run_plan(trials, tmp_path / "there", on_event=events.append, executor=cluster)
    same(records, run_plan(trials, tmp_path / "here"))
    assert stored(tmp_path / "there") == 9
    assert sorted(e.kind for e in events if e.kind != "epoch") == ["done"] * 9 + ["start"] * 9
    assert {e.total for e in events if e.kind == "epoch"} == {3}
    assert not [t.name for t in threading.enumerate() if t.name in ("slaf-cluster", "IO loop")]


def test_the_trial_of_a_killed_worker_runs_elsewhere(dask, tmp_path):
    killed = []

    def kill_one(event):
        if event.kind == "epoch" and not killed:
            killed.append(dask.workers[0])
            kill(killed[0])

    trials = plan(epochs=8, pause=0.1)
    with connect(dask.ready()) as cluster:
        records = run_plan(trials, tmp_path / "there", on_event=kill_one, executor=cluster)
    assert killed
    assert stored(tmp_path / "there") == 4
    same(records, run_plan(plan(epochs=8, pause=0.1), tmp_path / "here"))


def test_threads_of_a_worker_take_turns(dask, tmp_path):
    trials = plan(seeds=3, epochs=4, pause=0.05)
    starts = []
    with dask.odd_worker("--nthreads", "4") as cluster:
        records = run_plan(trials, tmp_path / "there", on_event=lambda e: starts.append(e.kind), executor=cluster)
    same(records, run_plan(trials, tmp_path / "here"))
    at_work = [sum(1 if k == "start" else -(k == "done") for k in starts[: n + 1]) for n in range(len(starts))]
    assert max(at_work) <= 2, "the next may start before the result of the last is here, not more"


@pytest.mark.parametrize(
    ("preload", "message"),
    [
        ("import slaf; slaf.__version__ = '0.0.1'", r"worker tcp://\S+ has slaf 0\.0\.1, the driver has "),
        ("import sys; sys.modules['slaf'] = None", r"a worker cannot import slaf \(.*\); install slaf "),
    ],
)
def test_a_worker_without_our_slaf_is_named(dask, tmp_path, preload, message):
    with dask.odd_worker("--nthreads", "1", "--preload", preload) as cluster, pytest.raises(SlafError, match=message) as error:
        run_plan(plan(), tmp_path, executor=cluster)
    assert not hasattr(error.value, "exit_code")
    assert stored(tmp_path) == 0


def test_what_a_worker_lacks_ends_the_run_and_is_no_result(dask, tmp_path):
    trials = plan()
    other = dataclasses.replace(trials, common=dataclasses.replace(trials.common, data_hash="other"))
    with connect(dask.ready()) as cluster:
        with pytest.raises(SlafError, match=r"worker tcp://\S+: module 'no_such' cannot be imported"):
            run_plan(plan(modules=("no_such",)), tmp_path / "module", executor=cluster)
        with pytest.raises(SlafError, match=r"worker tcp://\S+: the data of study toy changed .* or differs on this machine"):
            run_plan(other, tmp_path / "data", executor=cluster)
        assert stored(tmp_path / "module") == stored(tmp_path / "data") == 0
        cluster.messages.put(("a key of the run before", 1, 2, 0.5))
        assert len(run_plan(trials, tmp_path / "good", executor=cluster)) == 4


def test_ctrl_c_stops_the_driver_and_the_trials(dask, tmp_path):
    def interrupt(event):
        if event.kind == "epoch":
            signal.raise_signal(signal.SIGINT)

    trials = plan(epochs=6000, pause=0.1)
    with pytest.raises(Interrupted, match="0 of 4 trials"), connect(dask.ready()) as cluster:
        run_plan(trials, tmp_path, on_event=interrupt, executor=cluster)
    with distributed.Client(dask.address, set_as_default=False) as client:
        until(lambda: not any(client.run(lambda dask_worker: len(dask_worker.active_threads)).values()), dask.scheduler)


def test_no_worker_is_said_once_and_waited_for(dask, tmp_path):
    notes = []

    def start_one(event):
        if event.kind == "note":
            notes.append(event.note)
            dask.start_worker("--nthreads", "1", "--resources", "GPU=1")

    dask.ready(1)
    with connect(dask.address, resources={"GPU": 1}) as cluster:
        run_plan(plan(["relu"], 1), tmp_path, on_event=start_one, executor=cluster)
    assert len(notes) == 1
    assert "no worker with GPU=1" in notes[0]
    assert "--resources 'GPU=1'" in notes[0]


def test_a_trial_that_kills_its_workers_is_named(dask, tmp_path):
    trials = plan(["relu", "tanh"], trick="die")
    with connect(dask.ready()) as cluster, pytest.raises(WorkerError, match=r"these ran: .*tanh \(seed 1\); finished trials") as error:
        run_plan(trials, tmp_path, executor=cluster)
    assert error.value.exit_code == 1
    assert stored(tmp_path) == len(load(tmp_path)[1]) <= 3


DRIVER = """
import sys
import toy_study
from slaf.compare import make_plan, run_plan
from slaf.compare.cluster import connect
from slaf.core import SlafError

trials = make_plan("toy", ["relu"], 4, "smoke", {"epochs": 10, "pause": 0.1}, identity=False, modules=["toy_study"])
try:
    with connect(sys.argv[1]) as cluster:
        run_plan(trials, sys.argv[2], executor=cluster)
except SlafError as error:
    print(error, file=sys.stderr)
    sys.exit(getattr(error, "exit_code", 2))
"""


def test_a_scheduler_that_is_killed_is_one_sentence(dask, tmp_path):
    words = [sys.executable, "-c", DRIVER, dask.ready(), str(tmp_path / "out")]
    driver = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=dask.environment)
    results = tmp_path / "out" / "results.jsonl"
    until(lambda: results.exists() and results.stat().st_size, driver)
    kill(dask.scheduler)
    _, error = driver.communicate(timeout=60)
    assert error == f"the Dask scheduler at {dask.address} is gone; finished trials are stored, the same command resumes once it is back\n"
    assert driver.returncode == 2
    assert 1 <= stored(tmp_path / "out") < 4


def test_what_is_no_scheduler_is_one_sentence(dask):
    with socket.socket() as silent, socket.socket() as closed:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(SlafError, match="another protocol"), connect(f"127.0.0.1:{silent.getsockname()[1]}", timeout=1):
            pass
        with pytest.raises(SlafError, match=r"no Dask scheduler answers at .*: Connection refused"):
            connect(f"127.0.0.1:{closed.getsockname()[1]}", timeout=0.5).__enter__()
    dask.ready(1)
    worker = next(iter(dask.ask("identity")["workers"]))
    with pytest.raises(SlafError, match="it is a Dask worker"), connect(worker):
        pass
    with pytest.raises(SlafError, match="tls:// needs the certificates"), connect(dask.address.replace("tcp", "tls")):
        pass
    assert not [t.name for t in threading.enumerate() if t.name in ("slaf-cluster", "IO loop")]


@pytest.mark.parametrize("address", ["", "host", "host:99999", "host:port", "http://host:1", "[::1", None])
def test_addresses_that_are_none(address):
    with pytest.raises(SlafError, match="cluster must be the address of a Dask scheduler"), connect(address):
        pass


@pytest.mark.parametrize("resources", [{"GPU": 0}, {"GPU": "1"}, {"": 1}, {"GPU": float("nan")}])
def test_resources_are_positive_numbers(resources):
    with pytest.raises(SlafError, match="resources must be"), connect("127.0.0.1:1", resources=resources):
        pass


def test_logging_is_the_users_again(dask):
    logger = logging.getLogger("distributed.client")
    before = logger.level
    with connect(dask.ready(1)):
        assert not logger.isEnabledFor(logging.ERROR)
    assert logger.level == before
