"""``slaf.compare(...)``: plan, run and tabulate in one call; the command line calls the same two functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from slaf.core import SlafError, split
from slaf.data.function import name_of

from .figures import require_matplotlib
from .plan import STUDIES, Plan, make_plan
from .progress import watch
from .report import comparison_of
from .run import Event, processors, run_plan
from .store import check_folder
from .study import Study, studies
from .table import Comparison

__all__ = ["compare", "default_folder", "plan_of", "run"]


def compare(
    study: str | Study | type[Study] | Callable[..., Any] | None = None,
    activations: str | Sequence[str] | None = None,
    *,
    seeds: int | Sequence[int] | None = None,
    budget: str = "small",
    options: Mapping[str, Any] | None = None,
    data: str | Path | Callable[..., Any] | None = None,
    target: str | None = None,
    model: str | Callable[..., Any] | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    resources: Mapping[str, float] | None = None,
    progress: bool = True,
    tensorboard: bool = False,
    **how: Any,
) -> Comparison:
    """Train one network per activation and seed, all else equal, and return the table.

    Args:
        study: a study's name, a :class:`Study`, or a function ``build(make) -> nn.Module`` that builds your network. Not given: ``table``
            if there is a ``target``, ``images`` if there are only ``data``, else ``digits``.
        activations: strings such as ``"relu"`` or ``"slaf(degree=5)"``, in a list or separated by commas; the study's own if not given.
        seeds: how many (0, 1, …), or which.
        budget: ``"smoke"``, ``"small"``, ``"full"``; ``options``: entries of it to change, such as ``{"epochs": 5}``.
        data: a table, a folder of images, or a function (itself or as ``"package:function"``) that returns tensors or a data set.
        target: the column of a table to predict.
        model: ``build(make)`` or ``build(make, data)``, itself or as ``"package:function"``, in the place of the study's network.
        out: folder of the results, resumed if it was made with the same options. Not given: a folder under ``slaf-runs``, another one for
            other options.
        workers: processes; 0 stays in this one, as it must for studies and functions that no other process can import, such as a
            notebook's. Not given: as many as there are processors, where possible.
        cluster: the address of a Dask scheduler to run on instead; ``resources``: what each trial takes there, such as ``{"GPU": 1}``.
        progress: show it, on standard error.
        tensorboard: write the runs for TensorBoard too, into the folder.
        how: ``threads``, ``device``, ``devices``, ``strategy``, ``reference``, ``identity``, ``variance_match``, ``sweep_lr``,
            ``modules``, as in :func:`slaf.compare.make_plan`.

    Raises:
        SlafError: anything unknown or out of range, in one sentence.

    Example:
        >>> table = slaf.compare("digits", "relu,slaf", seeds=3)
        >>> table.to_pandas()
    """
    plan, importable = plan_of(study, activations, seeds, budget, options, data=data, target=target, model=model, cluster=cluster, **how)
    folder = _own_folder(plan) if out is None else Path(out)
    if not importable:
        if cluster is not None or (workers or 0) > 1:
            raise SlafError("the study, the data or the model is defined where no other process can import it; move it to a module")
        workers = 0
    return run(plan, folder, workers, cluster=cluster, resources=resources, progress=progress, tensorboard=tensorboard)


def plan_of(
    study: str | Study | type[Study] | Callable[..., Any] | None = None,
    activations: str | Sequence[str] | None = None,
    seeds: int | Sequence[int] | None = None,
    budget: str = "small",
    options: Mapping[str, Any] | None = None,
    *,
    data: str | Path | Callable[..., Any] | None = None,
    target: str | None = None,
    model: str | Callable[..., Any] | None = None,
    cluster: str | None = None,
    **how: Any,
) -> tuple[Plan, bool]:
    """The plan of :func:`compare`, and whether another process could run it."""
    importable = True
    if callable(study) and not isinstance(study, type):
        if model is not None:
            raise SlafError("the network is given twice, as the first argument and as model")
        study, model = None, study
    if isinstance(study, (Study, type)):
        study, module = _registered(study)
        importable = module is not None
        how["modules"] = (*how.get("modules", ()), *((module,) if module else ()))
    given = {}
    for name, value in (("data", data), ("target", target)):
        if callable(value):
            given[name], found = name_of(value)
            importable = importable and found
        elif value is not None:
            given[name] = str(value)
    if cluster is not None and Path(given.get("data", "")).exists() and "data" in given:
        given["data"] = str(Path(given["data"]).absolute())  # a worker is in another folder
    if model is not None and not isinstance(model, str):
        model, found = name_of(model)
        importable = importable and found
    if study is None:
        study = "table" if "target" in given else "images" if "data" in given else "digits"
    words = split(activations) if isinstance(activations, str) else activations
    return make_plan(study, words, seeds, budget, options, given=given, model=model, local=cluster is None, **how), importable


def _registered(study: Study | type[Study]) -> tuple[str, str | None]:
    """Register a study that is not yet; a notebook's cell that is run again replaces the one of before.

    Returns:
        Its name, and the module that registers it in another process too, if there is one.
    """
    if isinstance(study, type) and not issubclass(study, Study):
        raise SlafError(f"study must be a name, a Study or a function that builds a network; got {study.__name__}")
    importlib.import_module(STUDIES)
    own = study if isinstance(study, type) else type(study)
    name = own.name.replace("-", "_")
    there = type(studies[name]) if name in studies else None
    if there is own:
        return name, own.__module__ if own.__module__ != "__main__" else None
    if there is not None and (there.__module__, there.__qualname__) != (own.__module__, own.__qualname__):
        raise SlafError(f"study name {name!r} is taken already; choose another")
    if there is not None:
        studies.unregister(name)
    studies.register(name, own())
    return name, None


def run(
    plan: Plan,
    folder: Path,
    workers: int | None = None,
    *,
    cluster: str | None = None,
    resources: Mapping[str, float] | None = None,
    progress: bool = True,
    tensorboard: bool = False,
) -> Comparison:
    """Run what ``folder`` lacks of ``plan`` and return the table of all it holds."""
    check_folder(folder, plan.fixed())
    require_matplotlib()
    with ExitStack() as stack:
        told: list[Callable[[Event], None]] = [stack.enter_context(watch(plan))] if progress else []
        if tensorboard:
            from .board import Board

            told.append(stack.enter_context(Board(plan, folder / "tensorboard")))
        executor = None
        if cluster is not None:
            from .cluster import connect

            executor = stack.enter_context(connect(cluster, resources=resources))
        elif plan.common.devices > 1:
            workers = 0  # the ranks of one trial share the machine already
        run_plan(plan, folder, processors() if workers is None else workers, _to_all(told), executor)
    return comparison_of(folder)


def _to_all(listeners: Sequence[Callable[[Event], None]]) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell


def _own_folder(plan: Plan) -> Path:
    """``slaf-runs/STUDY-BUDGET``, or the first of -2, -3, … that is new or was made with the same options."""
    first = default_folder(plan)
    for number in range(1, 10_000):
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        try:
            check_folder(folder, plan.fixed())
        except SlafError:
            continue
        return folder
    raise SlafError(f"{str(first)!r} and thousands like it are taken; choose a folder with out=")


def default_folder(plan: Plan) -> Path:
    """Where the command line puts results unless told otherwise."""
    return Path("slaf-runs") / f"{plan.study.replace('_', '-')}-{plan.budget}"
