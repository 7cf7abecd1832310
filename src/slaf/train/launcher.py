"""``launch``: start one process per device, run a function on all of them, and leave none behind."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import connection, resource_tracker
from pathlib import Path
from typing import Any, NoReturn

import torch

from slaf.core import SlafError, one_of
from slaf.core.processes import without_main

__all__ = ["launch"]

# what Fabric is told; the processes are ours, so that none of its strategies runs the user's command line again
STRATEGIES = {
    "auto": "auto",
    "ddp": "ddp",
    "ddp_spawn": "ddp",
    "ddp_find_unused_parameters_true": "ddp_find_unused_parameters_true",
    "fsdp": "fsdp",
}
ACCELERATORS = {"auto": "auto", "cpu": "cpu", "cuda": "cuda", "gpu": "cuda"}
_GRACE = 10.0
"""Seconds that a rank has to exit after its last word."""


def launch(function: Callable[..., Any], *args: Any, devices: int = 2, strategy: str = "auto", accelerator: str = "auto") -> Any:
    """Call ``function(fabric, *args)`` in ``devices`` new processes, ranks of one launched ``lightning_fabric.Fabric``; rank 0's result.

    Each rank shares the caller's threads evenly. The call ends when all ranks have; if one fails, or at Ctrl-C, the others are killed, and
    no rank outlives its caller. A script whose own functions are called does so under ``if __name__ == "__main__":``, because then every
    rank imports the script again.

    Args:
        function: importable by name: neither a lambda nor a function inside another.
        args: pickled, as is the result, so every rank has its own copies.
        devices: how many processes, each with one GPU or, on the CPU, its part of the threads.
        strategy: ``"auto"`` (ddp, for one device none), ``"ddp"``, ``"ddp_spawn"`` (the same here), ``"ddp_find_unused_parameters_true"``
            or ``"fsdp"`` (on GPUs, and not for :func:`slaf.train.train`).
        accelerator: ``"cpu"``, ``"cuda"`` (or ``"gpu"``), ``"auto"``: CUDA where there is any.

    Raises:
        SlafError: an argument that is not allowed, more devices than GPUs, a rank that died, or Lightning Fabric is not installed.
        Exception: what a rank raised, its traceback as the cause.

    Example:
        >>> def run(fabric, recipe):
        ...     return slaf.train.train(make_model(), data(), F.mse_loss, recipe, fabric=fabric).history
        >>> slaf.train.launch(run, recipe, devices=2, accelerator="cpu")
    """
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 1:
        raise SlafError(f"devices must be an integer of at least 1; got {devices!r}")
    told = STRATEGIES[one_of("strategy", strategy, STRATEGIES)]
    kind = ACCELERATORS[one_of("accelerator", accelerator, ACCELERATORS)]
    gpus = torch.cuda.device_count()
    kind = kind if kind != "auto" else "cuda" if gpus else "cpu"
    if kind == "cuda" and devices > gpus:
        raise SlafError(f"devices={devices} is more than the {gpus} GPUs here; use accelerator=cpu or fewer devices")
    if told == "fsdp" and kind == "cpu":
        raise SlafError("strategy=fsdp works on GPUs only; use ddp")
    if importlib.util.find_spec("lightning_fabric") is None:
        raise SlafError('training on several devices needs Lightning Fabric; pip install "slaf[train]"')
    told = "ddp" if told == "auto" and devices > 1 else told
    try:
        task = pickle.dumps((function, args))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise SlafError(f"function and its arguments must be importable by name and picklable: {error}") from None
    threads = max(1, torch.get_num_threads() // devices)
    with tempfile.TemporaryDirectory(prefix="slaf-") as folder:  # where the ranks meet: a file needs no port that another may take
        meeting = str(Path(folder, "ranks"))
        with _around(function), _started(devices, lambda rank: (rank, devices, kind, told, threads, meeting, task)) as ranks:
            return _result(ranks)


def _around(function: Callable[..., Any]) -> contextlib.AbstractContextManager[None]:
    """The ranks import the user's script only if it holds what they are to run."""
    return contextlib.nullcontext() if getattr(function, "__module__", "__main__") == "__main__" else without_main()


@contextlib.contextmanager
def _started(devices: int, arguments: Callable[[int], tuple[Any, ...]]) -> Iterator[list[tuple[Any, Any]]]:
    """The running processes, each with the pipe on which it reports; all are gone at the end."""
    context = multiprocessing.get_context("spawn")
    ranks: list[tuple[Any, Any]] = []
    try:
        with _interrupts_wait():
            for rank in range(devices):
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_rank, args=(theirs, *arguments(rank)), name=f"slaf-rank-{rank}")
                process.start()
                theirs.close()  # so that the pipe ends with the process
                ranks.append((process, ours))
        yield ranks
        for process, _ in ranks:
            process.join(_GRACE)
    finally:
        for process, _ in ranks:
            process.kill()
        for process, pipe in ranks:
            process.join()
            pipe.close()


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Hold Ctrl-C back while processes start: they inherit that it is none of their business, and here it comes a moment later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # started on demand it would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _result(ranks: list[tuple[Any, Any]]) -> Any:
    """Rank 0's result, when all have reported; raises what the first to fail raised."""
    waiting, result = {pipe: number for number, (_, pipe) in enumerate(ranks)}, None
    while waiting:
        failures = []
        for pipe in connection.wait(list(waiting)):
            number = waiting.pop(pipe)
            try:
                failed, value = pickle.loads(pipe.recv_bytes())  # type: ignore[union-attr]
            except EOFError:
                raise SlafError(_last_words(number, ranks)) from None
            if failed:
                failures.append(value)
            elif number == 0:
                result = value
        if failures:
            # where a rank died without a word, the others fail for want of it
            for pipe in connection.wait(list(waiting), timeout=0.3):
                with contextlib.suppress(EOFError):
                    pipe.recv_bytes()  # type: ignore[union-attr]
                    continue
                raise SlafError(_last_words(waiting[pipe], ranks))
            _raise(*min(failures, key=lambda failure: failure[0])[1:])
    return result


def _last_words(number: int, ranks: list[tuple[Any, Any]]) -> str:
    process = ranks[number][0]
    process.join(_GRACE)
    code = process.exitcode
    how = f"was ended by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with exit code {code}"
    hint = '; a script must call launch under `if __name__ == "__main__":`' if code == 1 else ""
    return f"rank {number} of {len(ranks)} {how} before its function returned{hint}"


class RankError(Exception):
    """The traceback of an exception in a rank, as text."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


def _raise(pickled: bytes | None, summary: str, trace: str) -> NoReturn:
    error: Any = None
    if pickled is not None:
        with contextlib.suppress(Exception):  # an exception of odd arguments cannot be made again
            error = pickle.loads(pickled)
    raise error if isinstance(error, BaseException) else RuntimeError(summary) from RankError(trace)


# -- inside a rank ------------------------------------------------------------------------------------------------------------------


def _rank(pipe: Any, rank: int, size: int, kind: str, strategy: str, threads: int, meeting: str, task: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller's business
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent, meeting), daemon=True).start()
    try:
        fabric = _fabric(rank, size, kind, strategy, meeting)
        torch.set_num_threads(threads)
        function, args = pickle.loads(task)
        value = function(fabric, *args)
        said = pickle.dumps((False, value if rank == 0 else None))
    except BaseException as error:
        said = _failure(rank, error)
    pipe.send_bytes(said)
    pipe.close()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _end_with(parent: Any, meeting: str) -> None:
    parent.join()
    shutil.rmtree(Path(meeting).parent, ignore_errors=True)
    os._exit(1)


def _failure(rank: int, error: BaseException) -> bytes:
    when = time.time()  # the first is the cause of the others
    try:
        pickled = pickle.dumps(error)
    except Exception:
        pickled = None
    trace = f"in rank {rank}:\n{''.join(traceback.format_exception(error))}"
    return pickle.dumps((True, (when, pickled, f"rank {rank}: {type(error).__name__}: {error}", trace)))


def _fabric(rank: int, size: int, kind: str, strategy: str, meeting: str) -> Any:
    """A launched Fabric in a process group of ours, without its and gloo's chatter."""
    outside = [name for name in os.environ if name.startswith("LT_")]  # an outer `fabric run`
    for name in outside:
        del os.environ[name]
    os.environ |= {"LOCAL_RANK": str(rank), "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "NODE_RANK": "0"}
    with _silence(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments import LightningEnvironment

        for name in ("lightning_fabric", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        where: dict[str, Any] = {}
        if kind == "cuda":
            torch.cuda.set_device(rank)
            where["device_id"] = torch.device("cuda", rank)
        else:
            # all ranks are on this machine, whatever its name resolves to
            if sys.platform != "win32":
                os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
        torch.distributed.init_process_group(
            "nccl" if kind == "cuda" else "gloo", init_method=Path(meeting).as_uri(), rank=rank, world_size=size, **where
        )
        torch.distributed.barrier()  # here they connect
        # an environment that says who started the processes, so that no cluster's variables are believed
        fabric = Fabric(accelerator=kind, devices=size, strategy=strategy, plugins=[LightningEnvironment()])
        fabric.launch()
    warnings.filterwarnings("ignore", module="lightning_fabric")
    return fabric


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing to stdout and stderr, from C++ either; what goes wrong is raised."""
    try:
        kept = [os.dup(1), os.dup(2)]
    except OSError:  # a service without them
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        _flush()
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        _flush()
        for number, copy in enumerate(kept, 1):
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
