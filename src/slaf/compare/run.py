"""``run_plan``: run what a folder lacks, here in one process, in several, or wherever a ``concurrent.futures`` executor puts it."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from slaf.core import SlafError
from slaf.core.processes import without_main

from .plan import STUDIES, Plan, Trial
from .store import Store
from .trial import run_trial
from .worker import Report, remote, start, throttled, warm_up, work

__all__ = ["Event", "Interrupted", "Place", "WorkerError", "processors", "run_plan"]

_POLL = 0.1
"""Seconds after which Ctrl-C is noticed at the latest."""


class WorkerError(SlafError):
    """A worker process, or the cluster it belongs to, ended without an answer, most often for want of memory."""

    exit_code = 1


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: finished trials are stored; ``done`` of ``total`` are there."""

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"stopped: {done} of {total} trials are stored")
        self.done, self.total = done, total


@dataclass(frozen=True)
class Event:
    """Something happened to a trial: ``kind`` is ``"stored"`` (it was there already), ``"start"``, ``"epoch"`` or ``"done"``.

    A ``"note"`` is a sentence for the user about where the trials run, such as that a cluster has no worker; its trial is the first to do.
    """

    kind: str
    trial: Trial
    done: int = 0
    total: int = 0
    loss: float | None = None
    record: dict[str, Any] | None = None
    note: str | None = None


class Place(Executor):
    """An executor that knows more than a plain one about where its trials run.

    Attributes:
        messages: ``(key, done, total, loss)`` as the trial of that key starts (0, 0, ``None``) and goes on, or a sentence for the user.
    """

    messages: queue.SimpleQueue[tuple[str, int, int, float | None] | str]

    def report(self, key: str) -> Report:
        """What the worker calls while the trial of that key runs; its calls come out of ``messages``. Must be picklable."""
        raise NotImplementedError

    def explain(self, error: Exception, trials: str) -> SlafError:
        """One sentence for an ``error`` that is not the trial's own; ``trials`` names those that it most likely concerns."""
        raise NotImplementedError


OnEvent = Callable[[Event], None]


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_plan(
    plan: Plan,
    folder: str | Path,
    workers: int = 1,
    on_event: OnEvent | None = None,
    executor: Executor | None = None,
) -> list[dict[str, Any]]:
    """Run the trials of ``plan`` that ``folder`` does not hold yet, store each as it finishes, and return the plan's records in its order.

    Args:
        plan: from :func:`make_plan`.
        folder: made if needed; a folder made with other options is refused.
        workers: processes; 0 or 1 runs in this process.
        on_event: told of every start, epoch and end.
        executor: where to run instead, such as a cluster (:func:`slaf.compare.cluster.connect`); it must be able to import slaf.

    Raises:
        Interrupted: Ctrl-C (only if called from the main thread).
        WorkerError: a worker process died, or the cluster did.
        SlafError: the folder cannot be used, the disk is full, or a worker's data or modules are not this machine's.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or not 0 <= workers <= 1024:
        raise SlafError(f"workers must be an integer from 0 to 1024; got {workers!r}")
    tell = on_event or (lambda _event: None)
    trials = list(plan.trials())
    with Store(folder, plan.fixed(), plan.view()) as store, _ctrl_c() as stop:
        todo = []
        for trial in trials:
            if trial.key in store.records:
                tell(Event("stored", trial, record=store.records[trial.key]))
            else:
                todo.append(trial)
        session = _Session(plan, todo, store, tell, stop)
        if executor is not None:
            session.on(executor)
        elif workers <= 1:
            session.here()
        elif todo:
            session.in_processes(min(workers, len(todo)))
        if stop.requested:
            raise Interrupted(sum(t.key in store.records for t in trials), len(trials))
        return [store.records[t.key] for t in trials]


class _Session:
    """The trials to do and where their results go."""

    def __init__(self, plan: Plan, todo: list[Trial], store: Store, tell: OnEvent, stop: _Stop) -> None:
        self.modules = (STUDIES, *plan.modules)
        self.todo, self.store, self.tell, self.stop = todo, store, tell, stop
        self.numbers = {t.key: n for n, t in enumerate(todo)}
        self.running: set[int] = set()
        self.done: set[int] = set()
        self.place: Place | None = None

    def keep(self, number: int, record: dict[str, Any]) -> None:
        self.store.append(record)
        self.done.add(number)
        self.running.discard(number)
        self.tell(Event("done", self.todo[number], record=record))

    def here(self) -> None:
        warm_up()
        for number, trial in enumerate(self.todo):
            self.tell(Event("start", trial))

            def on_epoch(done: int, total: int, loss: float, trial: Trial = trial) -> None:
                self.tell(Event("epoch", trial, done, total, loss))

            try:
                with self.stop.at_once():
                    record = run_trial(trial, throttled(on_epoch))
            except KeyboardInterrupt:
                self.stop.requested = True
            if self.stop.requested:
                return
            self.keep(number, record)

    def on(self, executor: Executor) -> None:
        self.place = executor if isinstance(executor, Place) else None
        futures: dict[Future[dict[str, Any]], int] = {}
        for number, trial in enumerate(self.todo):
            if self.stop.requested:
                break
            if self.place is None:
                futures[executor.submit(remote, self.modules, trial)] = number
                self.running.add(number)
                self.tell(Event("start", trial))
            else:
                futures[executor.submit(remote, self.modules, trial, self.place.report(trial.key))] = number
        self.collect(futures, self.place and self.place.messages)

    def in_processes(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")  # a forked torch can hang in its thread pools
        channel = context.Queue()
        executor = ProcessPoolExecutor(workers, context, initializer=start, initargs=(self.modules, channel))
        processes = []
        try:
            with without_main():
                futures = {executor.submit(work, t): n for n, t in enumerate(self.todo)}
            processes = list((getattr(executor, "_processes", None) or {}).values())
            self.collect(futures, channel)
        finally:
            if len(self.done) < len(self.todo):
                for process in processes:  # an unfinished trial is worth nothing, so nobody waits for it
                    process.kill()
            executor.shutdown(wait=True, cancel_futures=True)
            channel.close()
            channel.join_thread()

    def collect(self, futures: dict[Future[dict[str, Any]], int], channel: Any) -> None:
        """Store results as they come. A future is forgotten with its result, for a cluster's worker keeps that for as long."""
        finished: queue.SimpleQueue[Future[dict[str, Any]]] = queue.SimpleQueue()
        for future in list(futures):
            future.add_done_callback(finished.put)
        try:
            while futures and not self.stop.requested:
                failures = self.take(futures, finished, channel)
                if failures:
                    failures |= self.take(futures, finished, channel)  # what fails together arrives one by one
                    raise self.died(failures)
        finally:
            for future in futures:
                future.cancel()

    def take(self, futures: dict[Future[dict[str, Any]], int], finished: Any, channel: Any) -> dict[int, Exception]:
        """Store what has finished, after waiting a moment for it, and return what failed."""
        failures: dict[int, Exception] = {}
        done = _drain(finished, _POLL)
        self.listen(channel)
        for number, future in sorted(((futures.pop(f), f) for f in done), key=lambda pair: pair[0]):
            try:
                record = future.result()
            except Exception as error:  # the pool's own failure; a trial's is in its record
                failures[number] = error
            else:
                self.keep(number, record)
        return failures

    def listen(self, channel: Any) -> None:
        while channel is not None:
            try:
                message = channel.get_nowait()
            except queue.Empty:
                return
            if isinstance(message, str):
                self.tell(Event("note", self.todo[0], note=message))
                continue
            key, done, total, loss = message
            number = self.numbers.get(key)
            if number is None or number in self.done:  # of an earlier run on the same cluster, or overtaken by its own result
                continue
            if total == 0:
                self.running.add(number)
            self.tell(Event("epoch" if total else "start", self.todo[number], done, total, loss))

    def died(self, failures: dict[int, Exception]) -> SlafError:
        for error in failures.values():
            if isinstance(error, SlafError):
                return error
        error = failures[min(failures)]
        if self.place is not None:  # all that failed: that a trial began may not have been heard before it took its worker with it
            return self.place.explain(error, self.names(failures))
        begun = failures.keys() & self.running
        during = f" while these ran: {self.names(begun)}" if begun else ""
        what = (
            "a worker process died, perhaps for want of memory"
            if isinstance(error, BrokenProcessPool)
            else f"the executor failed ({error})"
        )
        return WorkerError(f"{what}{during}; finished trials are stored, the same command resumes, with fewer --workers if memory is short")

    def names(self, numbers: Iterable[int]) -> str:
        return ", ".join(f"{self.todo[n].activation} (seed {self.todo[n].seed})" for n in sorted(numbers)[:8])


def _drain(finished: Any, timeout: float) -> list[Any]:
    """What the queue holds, after waiting a moment for the first."""
    found = []
    with suppress(queue.Empty):
        found.append(finished.get(timeout=timeout))
        while True:
            found.append(finished.get_nowait())
    return found


class _Stop:
    """Ctrl-C as a flag; only inside ``at_once`` does it interrupt, so that a record is written whole."""

    def __init__(self) -> None:
        self.requested = False
        self._interrupt = False

    def handle(self, _signal: int, _frame: FrameType | None) -> None:
        self.requested = True
        if self._interrupt:
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        self._interrupt = True
        try:
            yield
        finally:
            self._interrupt = False


@contextmanager
def _ctrl_c() -> Iterator[_Stop]:
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, stop.handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
