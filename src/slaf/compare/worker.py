"""What runs inside a worker process: it imports the studies, runs trials, reports epochs, and goes when its driver is gone."""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from slaf.core import SlafError

from .plan import Trial
from .trial import run_trial

__all__ = ["Report", "import_modules", "remote", "start", "throttled", "warm_up", "work"]

Report = Callable[[int, int, float | None], None]
"""``report(done, total, loss)`` is told of epochs; ``report(0, 0, None)`` says that a trial starts."""

_alone = threading.Lock()
"""torch's global generator and its thread count belong to the process, so a process runs one trial at a time, whatever its threads."""
_channel: Any = None
_EVERY = 0.1
"""Seconds between two reports of one trial; an epoch of a small network takes a millisecond."""
_EVERY_REMOTE = 0.5
"""The same where one scheduler passes on the reports of all workers."""


def import_modules(modules: Sequence[str]) -> None:
    """Import the modules that register studies and activations.

    Raises:
        SlafError: one of them cannot be imported.
    """
    for name in modules:
        if "" not in sys.path and os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # a console script does not look in the folder that the user is in
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise SlafError(f"module {name!r} cannot be imported: {error}") from None


def start(modules: Sequence[str], channel: Any) -> None:
    """Initialise a worker: Ctrl-C is the driver's business, and a worker must not outlive a killed driver."""
    global _channel
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    channel.cancel_join_thread()
    _channel = channel
    import_modules(modules)
    warm_up()


@functools.cache
def warm_up() -> None:
    """Take one optimiser step: torch imports its compiler then, for seconds, which would be charged to the first trial."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([parameter], fused=True)
    (parameter * parameter).sum().backward()
    optimizer.step()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def work(trial: Trial) -> dict[str, Any]:
    """Run a trial and report its epochs through the channel, if there is one."""
    send, key = _channel.put if _channel is not None else lambda _message: None, trial.key
    send((key, 0, 0, None))
    return run_trial(trial, throttled(lambda done, total, loss: send((key, done, total, loss))))


def remote(modules: Sequence[str], trial: Trial, report: Report | None = None) -> dict[str, Any]:
    """Run a trial on a machine that was not initialised by us, such as a cluster's; a second one in the same process waits for the first.

    ``report`` is told of its start and, throttled, of its epochs; what it raises ends the trial.
    """
    with _alone:
        import_modules(modules)
        warm_up()
        if report is None:
            return run_trial(trial)
        report(0, 0, None)
        return run_trial(trial, throttled(report, _EVERY_REMOTE))


def throttled(report: Callable[[int, int, float], None], every: float = _EVERY) -> Callable[[int, int, float], None]:
    """``report``, at most once in ``every`` seconds, and at the end."""
    last = 0.0

    def on_epoch(done: int, total: int, loss: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every or done == total:
            last = now
            report(done, total, loss)

    return on_epoch
