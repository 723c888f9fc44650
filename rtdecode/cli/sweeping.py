"""`rtdecode sweep`: many trainings that differ in stated keys, compared at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rtdecode.core.errors import ConfigError
from rtdecode.core.extras import install, is_there

if TYPE_CHECKING:
    from rtdecode.train.sweep_plan import Variant


def sweep(
    plan: Annotated[Path, typer.Argument(help="YAML: base, grid, trainings; see docs/training-on-several-gpus.md.")],
    out: Annotated[Path, typer.Option(help="Folder of all trainings, sweep.md and sweep.json.")],
    workers: Annotated[int, typer.Option(min=1, help="Trainings at a time; they share the cores.")] = 1,
    show: Annotated[bool, typer.Option("--show", help="Say which trainings there are, and start none.")] = False,
) -> None:
    """Train every configuration of a plan and compare them. What is done is not made again, what was cut short goes on.

    A training that fails stops no other; the exit status is then 1.

    Example: [bold]rtdecode sweep sweep.yaml --out sweeps/rates --workers 2[/bold]
    """
    if not is_there("torch"):
        raise ConfigError(f"training needs torch, which is not installed here; {install('train')}")
    from rtdecode.train.sweep_plan import load_sweep

    wanted, variants = load_sweep(plan)
    if show:
        _show(variants)
        return
    from rtdecode.train.sweep_run import MARKDOWN, Sweep, table_of, write_tables

    threads = max(1, _usable_cores() // workers)
    outcomes = Sweep(out, wanted.judge, threads, lambda words: typer.echo(words, err=True)).run(variants, workers)
    write_tables(out, f"Sweep {plan.stem}", outcomes)
    typer.echo(table_of(f"Sweep {plan.stem}", outcomes).markdown())
    failed = sum(outcome.summary is None for outcome in outcomes)
    typer.echo(f"{out / MARKDOWN}: {len(outcomes) - failed} of {len(outcomes)} trainings done", err=True)
    if failed:
        raise typer.Exit(1)


def _show(variants: list[Variant]) -> None:
    for variant in variants:
        changes = ", ".join(f"{key} = {value}" for key, value in variant.changes.items())
        typer.echo(f"{variant.folder}: {changes or 'as the base'}")


def _usable_cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(sweep)
