"""``connect``: a plan's trials on the workers of a Dask scheduler, as an executor for ``run_plan``.

``dask scheduler`` on one machine, ``dask worker ADDRESS --nworkers N --nthreads 1`` on each: a process runs one trial at a time, so more
threads gain nothing. Workers need the driver's versions of slaf and torch, the modules that the plan names, and the data at the same paths.
"""

from __future__ import annotations

import asyncio
import logging
import math
import pickle
import queue
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import torch

import slaf
from slaf.core import SlafError

from .run import Place, WorkerError
from .worker import Report

__all__ = ["Cluster", "connect"]

_RESUME = "finished trials are stored, the same command resumes"
_LOOK = 2.0
"""Seconds between two looks at whether there are workers."""
_RETRY = 0.2
"""Seconds between two attempts to reach a scheduler that may just be starting."""
_CLOSE = 5.0
"""Seconds that a scheduler which no longer answers may hold up the end of a run."""


@contextmanager
def connect(address: str, *, resources: Mapping[str, float] | None = None, timeout: float = 10.0) -> Iterator[Cluster]:
    """Connect to the Dask scheduler at ``address`` for as long as the context lasts; certificates are taken from Dask's configuration.

    Args:
        address: ``HOST:PORT``, ``tcp://HOST:PORT`` or ``tls://HOST:PORT``.
        resources: what each trial occupies of a worker started with ``--resources``, such as ``{"GPU": 1}``.
        timeout: seconds to wait for the scheduler.

    Raises:
        SlafError: Dask is not installed, the address is none, or no scheduler answers there.
    """
    try:
        import distributed
    except ImportError as error:
        raise SlafError(f'a cluster is reached through Dask, which cannot be imported ({error}): pip install "slaf[cluster]"') from None
    address, host, port = _located(address)
    needs = _checked(resources or {})
    end = time.monotonic() + timeout
    _reach(host, port, address, end)
    with _quiet(), _loop() as loop:
        try:
            probe = asyncio.wait_for(_probe(address), max(1.0, end - time.monotonic()))
            asyncio.run_coroutine_threadsafe(probe, loop.asyncio_loop).result()
            with warnings.catch_warnings():  # the versions that matter are compared where a trial runs
                warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)
                client = distributed.Client(address, loop=loop, timeout=timeout, set_as_default=False, name="slaf")
        except Exception as error:
            raise SlafError(f"no Dask scheduler answers at {address!r}: {_cause(error)}") from None
        cluster = Cluster(client, address, needs)
        try:
            yield cluster
        finally:
            cluster.close()


class Cluster(Place):
    """The workers behind a connected ``distributed.Client``; made by :func:`connect`.

    A worker that dies has its trials run again by others, as often as the scheduler's ``distributed.scheduler.allowed-failures`` allows.
    """

    def __init__(self, client: Any, address: str, resources: dict[str, float]) -> None:
        self.messages = queue.SimpleQueue()
        self._client, self._address, self._resources = client, address, resources
        self._executor = client.get_executor(pure=False, **({"resources": resources} if resources else {}))
        self._topic = f"slaf-{uuid.uuid4().hex}"
        self._heard = -math.inf
        client.subscribe_topic(self._topic, self._hear)
        self._watching = asyncio.run_coroutine_threadsafe(self._watch(), client.loop.asyncio_loop)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``function`` on a worker."""
        try:
            work = pickle.dumps(_Call((slaf.__version__, torch.__version__), pickle.dumps((function, args, kwargs))))
            # loads is all that the scheduler must know of it, so only the workers need slaf
            return self._executor.submit(pickle.loads, work, key=f"slaf-trial-{uuid.uuid4()}")
        except Exception as error:
            raise self.explain(error, "nothing") from None

    def report(self, key: str) -> Report:
        """Carries the start and the epochs of a trial to ``messages``."""
        return _Report(self._topic, key)

    def explain(self, error: Exception, trials: str) -> SlafError:
        """What happened to the cluster."""
        kind = type(error).__name__
        if kind == "KilledWorker":
            return WorkerError(f"worker after worker died, perhaps for want of memory, while these ran: {trials}; {_RESUME}")
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in ("slaf", "torch"):
            return SlafError(f"a worker cannot import slaf ({_line(error)}); install slaf {slaf.__version__} where the workers run")
        if self._client.status != "running":
            return SlafError(f"the Dask scheduler at {self._address} is gone; {_RESUME} once it is back")
        if isinstance(error, CancelledError):
            return SlafError(f"the Dask scheduler at {self._address} dropped the trials, as when it is restarted; {_RESUME}")
        return WorkerError(f"the cluster failed at {trials} ({kind}: {_line(error)}); {_RESUME}")

    def close(self) -> None:
        """Give up what still runs and leave the scheduler to others."""
        self._watching.cancel()
        with suppress(Exception):  # a scheduler that is gone, or hangs, must not keep the driver
            self._client.close(timeout=_CLOSE)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for, or cancel, what was submitted; the connection ends with :func:`connect`'s context."""
        self._executor.shutdown(wait=wait and not cancel_futures)

    def _hear(self, event: tuple[float, Any]) -> None:
        self._heard = time.monotonic()
        self.messages.put(tuple(event[1]))

    async def _watch(self) -> None:
        """Say so, once each time, when there is no worker for the trials; they wait until there is one."""
        waits = False
        while True:
            if time.monotonic() - self._heard > _LOOK:
                with suppress(OSError):
                    workers = (await self._client.scheduler.identity())["workers"].values()
                    ready = any(all(w["resources"].get(k, 0) >= v for k, v in self._resources.items()) for w in workers)
                    if not ready and not waits:
                        self.messages.put(self._wanted())
                    waits = not ready
            await asyncio.sleep(_LOOK)

    def _wanted(self) -> str:
        offer = " ".join(f"{name}={number:g}" for name, number in self._resources.items())
        option = f" --resources '{offer}'" if offer else ""
        which = f"worker with {offer}" if offer else "worker"
        return f"no {which} at {self._address} yet, waiting for one: dask worker {self._address} --nworkers N --nthreads 1{option}"


class _Call:
    """Pickles to a call: whoever loads it makes the call."""

    def __init__(self, versions: tuple[str, str], work: bytes) -> None:
        self.arguments = (versions, work)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _at_worker, self.arguments


def _at_worker(versions: tuple[str, str], work: bytes) -> Any:
    """Run what was submitted, if the driver's versions are ours; what is wrong with this worker, it says with its address."""
    from distributed import get_worker

    where = f"worker {get_worker().address}"
    ours = (slaf.__version__, torch.__version__)
    for name, here, driver in zip(("slaf", "torch"), ours, versions, strict=True):
        if here.partition("+")[0] != driver.partition("+")[0]:  # a build for other devices is the same version
            raise SlafError(f"{where} has {name} {here}, the driver has {driver}; install the same version on both")
    function, args, kwargs = pickle.loads(work)
    try:
        return function(*args, **kwargs)
    except SlafError as error:
        raise SlafError(f"{where}: {error}") from None


@dataclass(frozen=True)
class _Report:
    """Sends progress from a worker's thread to the driver, and ends a trial that nobody waits for any more."""

    topic: str
    key: str

    def __call__(self, done: int, total: int, loss: float | None) -> None:
        from distributed import get_worker

        worker, dropped = None, False
        with suppress(Exception):  # progress is a courtesy: where it fails, the trial goes on
            worker = get_worker()
            task = worker.state.tasks.get(worker.get_current_task())
            dropped = task is not None and task.state == "cancelled"
            worker.log_event(self.topic, (self.key, done, total, None if loss is None else float(loss)))
        if dropped:
            raise _Dropped


class _Dropped(BaseException):
    """The driver has gone or lost interest; no ``Exception``, for that would be recorded as the trial's failure."""


def _located(address: str) -> tuple[str, str, int]:
    """Address, host and port; Dask itself would take port 99999, and start a cluster of its own for none."""
    try:
        parts = urlsplit(address.strip() if "://" in address else f"//{address.strip()}")
        if parts.scheme in ("", "tcp", "tls", "ws", "wss") and parts.hostname and parts.port:
            return address.strip(), parts.hostname, parts.port
    except (ValueError, TypeError, AttributeError):
        pass
    raise SlafError(f"cluster must be the address of a Dask scheduler, such as HOST:PORT or tls://HOST:PORT; got {address!r}")


def _checked(resources: Mapping[str, float]) -> dict[str, float]:
    for name, number in resources.items():
        valid = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number) and number > 0
        if not (isinstance(name, str) and name and valid):
            raise SlafError(f"resources must be names with positive numbers, such as GPU=1; got {name}={number!r}")
    return dict(resources)


def _reach(host: str, port: int, address: str, end: float) -> None:
    """Wait until something listens there; Dask's own connect keeps the reason of its failures to itself."""
    while True:
        try:
            socket.create_connection((host, port), timeout=max(0.1, end - time.monotonic())).close()
            return
        except OSError as error:
            if time.monotonic() + _RETRY > end:
                raise SlafError(f"no Dask scheduler answers at {address!r}: {error.strerror or error}") from None
        time.sleep(_RETRY)


async def _probe(address: str) -> None:
    """Ask who is there: a client would wait for ever for an answer from something that speaks another protocol."""
    from distributed.core import rpc
    from distributed.security import Security

    async with rpc(address, connection_args=Security().get_connection_args("client")) as there:
        kind = (await there.identity())["type"]
    if kind != "Scheduler":
        raise SlafError(f"it is a Dask {kind.lower()}")


def _cause(error: Exception) -> str:
    if isinstance(error, TypeError) and "ssl_context" in str(error):
        return "tls:// needs the certificates that Dask's configuration names under distributed.comm.tls"
    if isinstance(error, SlafError):
        return str(error)
    return "what listens there speaks another protocol, or only one side uses TLS"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__


@contextmanager
def _loop() -> Iterator[Any]:
    """An event loop in a thread of our own, for the client's outlives a failed connection."""
    from tornado.ioloop import IOLoop

    ready: queue.SimpleQueue[tuple[Any, asyncio.Event]] = queue.SimpleQueue()

    async def live() -> None:
        end = asyncio.Event()
        ready.put((IOLoop.current(), end))
        await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(live(),), name="slaf-cluster", daemon=True)
    thread.start()
    loop, end = ready.get()
    try:
        yield loop
    finally:
        loop.add_callback(end.set)
        thread.join(_CLOSE)


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask logs every broken connection, with tracebacks; we say it in a sentence. The levels come back at the end."""
    names = [n for n in logging.root.manager.loggerDict if n.partition(".")[0] in ("distributed", "tornado")]
    before = [(logger, logger.level) for logger in map(logging.getLogger, names)]
    for logger, _ in before:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in before:
            logger.setLevel(level)
