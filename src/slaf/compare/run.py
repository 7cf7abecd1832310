"""``run_plan``: run what a folder lacks, here in one process, in several, or wherever a ``concurrent.futures`` executor puts it."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from slaf.core import SlafError

from .plan import STUDIES, Plan, Trial
from .store import Store
from .trial import run_trial
from .worker import remote, start, throttled, warm_up, work

__all__ = ["Event", "Interrupted", "WorkerError", "processors", "run_plan"]


class WorkerError(SlafError):
    """A worker process ended without an answer, most often for want of memory."""

    exit_code = 1


class Interrupted(KeyboardInterrupt):
    """Ctrl-C: finished trials are stored; ``done`` of ``total`` are there."""

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"stopped: {done} of {total} trials are stored")
        self.done, self.total = done, total


@dataclass(frozen=True)
class Event:
    """Something happened to a trial: ``kind`` is ``"stored"`` (it was there already), ``"start"``, ``"epoch"`` or ``"done"``."""

    kind: str
    trial: Trial
    done: int = 0
    total: int = 0
    loss: float | None = None
    record: dict[str, Any] | None = None


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
        executor: where to run instead, for example a cluster's; it must be able to import slaf.

    Raises:
        Interrupted: Ctrl-C (only if called from the main thread).
        WorkerError: a worker process died.
        SlafError: the folder cannot be used.
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
        self.running: set[int] = set()

    def keep(self, number: int, record: dict[str, Any]) -> None:
        self.store.append(record)
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
        futures = {executor.submit(remote, self.modules, t): n for n, t in enumerate(self.todo)}
        for number, trial in enumerate(self.todo):
            self.running.add(number)
            self.tell(Event("start", trial))
        self.collect(futures, None)

    def in_processes(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")  # a forked torch can hang in its thread pools
        channel = context.Queue()
        executor = ProcessPoolExecutor(workers, context, initializer=start, initargs=(self.modules, channel))
        try:
            futures = {executor.submit(work, n, t): n for n, t in enumerate(self.todo)}
            processes = list((getattr(executor, "_processes", None) or {}).values())
            self.collect(futures, channel)
            if self.stop.requested:
                for process in processes:  # an unfinished trial is worth nothing, so nobody waits for it
                    process.kill()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
            channel.close()
            channel.join_thread()

    def collect(self, futures: dict[Future[dict[str, Any]], int], channel: Any) -> None:
        pending = set(futures)
        while pending and not self.stop.requested:
            done, pending = wait(pending, timeout=0.1, return_when=FIRST_COMPLETED)
            self.listen(channel)
            failure: Exception | None = None
            for future in sorted(done, key=futures.__getitem__):
                try:
                    record = future.result()
                except Exception as error:  # the pool's own failure; a trial's is in its record
                    failure = failure or error
                else:
                    self.keep(futures[future], record)
            if failure is not None:
                raise self.died(failure) from None
        for future in pending:
            future.cancel()

    def listen(self, channel: Any) -> None:
        while channel is not None:
            try:
                number, done, total, loss = channel.get_nowait()
            except queue.Empty:
                return
            if total == 0:
                self.running.add(number)
            self.tell(Event("epoch" if total else "start", self.todo[number], done, total, loss))

    def died(self, error: Exception) -> SlafError:
        if isinstance(error, SlafError):
            return error
        names = ", ".join(f"{self.todo[n].activation} (seed {self.todo[n].seed})" for n in sorted(self.running)[:8])
        during = f" while these ran: {names}" if names else ""
        what = (
            "a worker process died, perhaps for want of memory"
            if isinstance(error, BrokenProcessPool)
            else f"the executor failed ({error})"
        )
        return WorkerError(f"{what}{during}; finished trials are stored, the same command resumes, with fewer --workers if memory is short")


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
