"""``slaf compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ._words import complete_activations, complete_studies

DATA, HOW, WHERE, OUTPUT = "What is compared", "How", "Where it runs", "What comes out"
EPILOG = "Exit codes: 0 done, 2 bad input, 130 Ctrl-C (finished trials are kept; the same command resumes), 1 a worker died."


def command(
    study: Annotated[
        list[str] | None,
        typer.Argument(
            help="The workload; `slaf studies` lists them. (default: table with --target, images with --data, else digits)",
            show_default=False,
            autocompletion=complete_studies,
        ),
    ] = None,
    activations: Annotated[
        str | None,
        typer.Option(
            "-a",
            "--activations",
            help="Separated by commas, such as 'relu,slaf(degree=5)'. (default: the study's)",
            autocompletion=complete_activations,
            rich_help_panel=DATA,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="A table (CSV, TSV, Parquet), a folder of images, or package:function.", rich_help_panel=DATA),
    ] = None,
    target: Annotated[str | None, typer.Option(help="The column of a table to predict.", rich_help_panel=DATA)] = None,
    model: Annotated[
        str | None,
        typer.Option(help="package:function, a build(make) that returns your own network.", rich_help_panel=DATA),
    ] = None,
    modules: Annotated[
        list[str] | None,
        typer.Option("--import", help="Module that registers activations or studies of yours; repeatable.", rich_help_panel=DATA),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="How many: 0, 1, … (default: the study's)", rich_help_panel=HOW)] = None,
    budget: Annotated[str, typer.Option(help="Sizes and steps: smoke, small, full, maybe paper.", rich_help_panel=HOW)] = "small",
    option: Annotated[
        list[str] | None,
        typer.Option("-o", "--option", help="NAME=VALUE: change an entry of the budget; repeatable.", rich_help_panel=HOW),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="What differences are taken to. (default: relu, else the first)", rich_help_panel=HOW)
    ] = None,
    sweep_lr: Annotated[
        bool, typer.Option("--sweep-lr", help="Also at a third and three times the learning rate; the best counts.", rich_help_panel=HOW)
    ] = False,
    no_identity: Annotated[bool, typer.Option("--no-identity", help="Do not add identity.", rich_help_panel=HOW)] = False,
    no_variance_match: Annotated[
        bool, typer.Option("--no-variance-match", help="Leave the first weights as they are.", rich_help_panel=HOW)
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes; 0 or 1 stays in this one. (default: the processors there are)", rich_help_panel=WHERE),
    ] = None,
    threads: Annotated[int, typer.Option(help="torch threads of each trial.", rich_help_panel=WHERE)] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N or mps.", rich_help_panel=WHERE)] = "cpu",
    devices: Annotated[
        int, typer.Option(help="Devices (processes, on a CPU) that share one model, by Lightning Fabric.", rich_help_panel=WHERE)
    ] = 1,
    strategy: Annotated[str, typer.Option(help="How they share it: auto, ddp.", rich_help_panel=WHERE)] = "auto",
    cluster: Annotated[str | None, typer.Option(help="Address of a Dask scheduler to run the trials on.", rich_help_panel=WHERE)] = None,
    resources: Annotated[
        list[str] | None, typer.Option(help="NAME=N that each trial takes of a Dask worker, such as GPU=1.", rich_help_panel=WHERE)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results; resumed if there. (default: slaf-runs/STUDY-BUDGET)", rich_help_panel=OUTPUT),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.", rich_help_panel=OUTPUT)] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and about how long it takes; train nothing.", rich_help_panel=OUTPUT)
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the runs for TensorBoard too, into OUT/tensorboard.", rich_help_panel=OUTPUT)
    ] = False,
    merge: Annotated[
        bool, typer.Option("--merge", help="Join the run folders DIR… into --out instead of running.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Train one small network per activation and seed, all else equal, and write a report."""
    from slaf.compare import Interrupted, import_modules, options_of
    from slaf.compare.api import default_folder, plan_of, run
    from slaf.core import SlafError

    from . import _compare as part

    words = study or []
    if merge:
        part.join([Path(word) for word in words], out, json)
        return
    if len(words) > 1:
        raise SlafError(f"one study at a time; got {' '.join(words)} (or did you mean --merge?)")
    import_modules(modules or ())
    plan, _ = plan_of(
        words[0] if words else None,
        activations,
        seeds,
        budget,
        options_of(option or ()),
        data=data,
        target=target,
        model=model,
        cluster=cluster,
        threads=threads,
        device=device,
        devices=devices,
        strategy=strategy,
        identity=not no_identity,
        reference=reference,
        variance_match=not no_variance_match,
        sweep_lr=sweep_lr,
        modules=modules or (),
    )
    folder = out or default_folder(plan)
    if dry_run:
        part.show_plan(plan, folder, workers, json)
        return
    try:
        run(plan, folder, workers, cluster=cluster, resources=part.numbers(resources or ()), tensorboard=tensorboard)
    except Interrupted as stop:
        print(f"{stop} in {folder}; the same command resumes", file=sys.stderr)
        raise typer.Exit(130) from None
    part.finish(folder, json)
