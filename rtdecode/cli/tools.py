"""Commands on the machine: doctor, bench."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer


def doctor(
    camera: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT@FPS in px and frames/s: say whether this machine keeps up.")
    ] = None,
    model: Annotated[str, typer.Option(help="Bundle, for --camera.")] = "astigmatic-light",
    engine: Annotated[str, typer.Option(help="Engine, for --camera.")] = "openvino",
    precision: Annotated[str, typer.Option(help="Precision, for --camera.")] = "fp32",
) -> None:
    """Say what this machine can do: versions, engines, CPU, cameras, viewer, GPU, memory, disk.

    With --camera instead: whether a model keeps up with that camera here, from a short measurement; the exit
    status is 1 where frames would be lost.

    Example: [bold]rtdecode doctor[/bold]
    Example: [bold]rtdecode doctor --camera 128x128@100 --model astigmatic-light --precision bf16[/bold]
    """
    if camera is None:
        from rtdecode.cli.doctor import findings

        _print_rows(findings())
        return
    from rtdecode.cli.doctor import has_bf16
    from rtdecode.cli.forecast import CameraLoad, forecast, told
    from rtdecode.core.config import EngineConfig
    from rtdecode.core.yaml_files import validate
    from rtdecode.fit import engines
    from rtdecode.fit.bundle import ModelBundle

    load, bundle = CameraLoad.parse(camera), ModelBundle.load(model)
    config, why = engines.chosen(validate({"use": engine, "precision": precision}, EngineConfig, "rtdecode doctor"))
    found = forecast(load, bundle, config)
    rows = told(found, bundle, config, able_bf16=config.use == "openvino" and has_bf16())
    _print_rows([*rows, ("engine", why)] if why else rows)
    if found.verdict == "will lose frames":
        raise typer.Exit(1)


def _print_rows(rows: Iterable[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, words in rows:
        table.add_row(name, Text(words))  # as it is: [train] is no markup
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table, highlight=False)


def bench(
    model: Annotated[str, typer.Option(help="Bundle to measure.")] = "astigmatic-light",
    seconds: Annotated[float, typer.Option(min=0.2, help="For each measurement.")] = 3.0,
    decode: Annotated[bool, typer.Option("--decode", help="Beside DECODE's inference as published.")] = False,
    soak: Annotated[int, typer.Option(min=0, help="Frames of 32x32 through ring, fitter and log; memory.")] = 0,
    engine: Annotated[str, typer.Option(help="Engine; not for --decode.")] = "openvino",
    precision: Annotated[str, typer.Option(help="Its precision; not for --decode.")] = "fp32",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure this machine: fitter at three sizes, the house's own overhead, the ring, the log.

    With --decode instead: this project and DECODE's inference as published, in one run, with floors (minutes).
    With --soak N instead: N small frames, and whether memory grows.

    Example: [bold]rtdecode bench --seconds 5[/bold]
    Example: [bold]rtdecode bench --engine torch-cuda --precision bf16[/bold]
    """
    from rtdecode.cli.bench import run_against_decode, run_bench, run_soak
    from rtdecode.core.config import EngineConfig
    from rtdecode.core.yaml_files import validate
    from rtdecode.fit import engines

    config, _ = engines.chosen(validate({"use": engine, "precision": precision}, EngineConfig, "rtdecode bench"))

    if decode:
        run_against_decode(model, seconds, as_json)
    elif soak:
        run_soak(model, soak, as_json, config)
    else:
        run_bench(model, seconds, as_json, config)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (doctor, bench):
        app.command()(command)
