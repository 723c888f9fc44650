"""Commands on the machine: doctor, bench."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor() -> None:
    """Say what this machine can do: versions, engines, CPU, cameras, viewer, GPU, memory, disk.

    Example: [bold]rtdecode doctor[/bold]
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from rtdecode.cli.doctor import findings

    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in findings():
        table.add_row(name, Text(words))  # as it is: [train] is no markup
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table, highlight=False)


def bench(
    model: Annotated[str, typer.Option(help="Bundle to measure.")] = "astigmatic-light",
    seconds: Annotated[float, typer.Option(min=0.2, help="For each measurement.")] = 3.0,
    decode: Annotated[bool, typer.Option("--decode", help="Beside DECODE's inference as published.")] = False,
    soak: Annotated[int, typer.Option(min=0, help="Frames of 32x32 through ring, fitter and log; memory.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure this machine: fitter at three sizes, the house's own overhead, the ring, the log.

    With --decode instead: this project and DECODE's inference as published, in one run, with floors (minutes).
    With --soak N instead: N small frames, and whether memory grows.

    Example: [bold]rtdecode bench --seconds 5[/bold]
    """
    from rtdecode.cli.bench import run_against_decode, run_bench, run_soak

    if decode:
        run_against_decode(model, seconds, as_json)
    elif soak:
        run_soak(model, soak, as_json)
    else:
        run_bench(model, seconds, as_json)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (doctor, bench):
        app.command()(command)
