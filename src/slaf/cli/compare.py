"""``slaf compare``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    study: Annotated[str, typer.Argument(help="The workload; `slaf studies` lists them.")] = "digits",
    activations: Annotated[
        str | None, typer.Option("-a", "--activations", help="Separated by commas, such as 'relu,slaf(degree=5)'. [default: the study's]")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="How many: 0, 1, … [default: the study's]")] = None,
    budget: Annotated[str, typer.Option(help="Sizes and steps: smoke, small, full, maybe paper.")] = "small",
    workers: Annotated[int | None, typer.Option(help="Processes; 0 or 1 stays in this one. [default: the processors there are]")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; resumed if there. [default: slaf-runs/STUDY-BUDGET]")] = None,
    threads: Annotated[int, typer.Option(help="torch threads of each trial.")] = 1,
    reference: Annotated[str | None, typer.Option(help="What differences are taken to. [default: relu, else the first]")] = None,
    option: Annotated[
        list[str] | None, typer.Option("-o", "--option", help="NAME=VALUE: change an entry of the budget; repeatable.")
    ] = None,
    no_identity: Annotated[bool, typer.Option("--no-identity", help="Do not add identity.")] = False,
    no_variance_match: Annotated[bool, typer.Option("--no-variance-match", help="Leave the first weights as they are.")] = False,
    modules: Annotated[
        list[str] | None, typer.Option("--import", help="Module that registers activations or studies of yours; repeatable.")
    ] = None,
) -> None:
    """Train one small network per activation and seed, all else equal, and write a report."""
    from slaf.compare import (
        Interrupted,
        check_folder,
        comparison_of,
        import_modules,
        make_plan,
        options_of,
        processors,
        run_plan,
        write_report,
    )
    from slaf.compare.figures import require_matplotlib
    from slaf.compare.progress import watch
    from slaf.compare.terminal import show
    from slaf.core import split

    require_matplotlib()
    import_modules(modules or ())
    plan = make_plan(
        study,
        None if activations is None else split(activations),
        seeds,
        budget,
        options_of(option or ()),
        threads=threads,
        identity=not no_identity,
        reference=reference,
        variance_match=not no_variance_match,
        modules=modules or (),
    )
    folder = out or Path("slaf-runs") / f"{plan.study.replace('_', '-')}-{budget}"
    check_folder(folder, plan.fixed())
    try:
        with watch(plan) as progress:
            run_plan(plan, folder, processors() if workers is None else workers, progress)
    except Interrupted as stop:
        print(f"{stop} in {folder}; the same command resumes", file=sys.stderr)
        raise typer.Exit(130) from None
    report = write_report(folder)
    show(comparison_of(folder), plan.view()["title"])
    print(f"report: {report}")
