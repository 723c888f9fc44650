"""`rtdecode engine check`: which engines and precisions may serve a bundle on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtdecode.core.errors import EngineError

if TYPE_CHECKING:
    from rtdecode.fit.bundle import ModelBundle
    from rtdecode.stages.admission_lines import Line

Row = tuple[str, str, "Line | None", str]
"""use, precision, its line, and why there is none."""


def check(
    bundle: Annotated[str, typer.Argument(help="Folder of a bundle, or the name of a shipped one.")],
    threads: Annotated[int, typer.Option(min=0, help="Of the engines; 0: their own choice.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold every engine and precision that this machine has against fp32, on frames simulated from the bundle's own
    PSF, camera and ranges. What was checked before is read from the cache; a run asks the same cache at its start.

    Example: [bold]rtdecode engine check astigmatic-light[/bold]
    """
    from rtdecode.fit.bundle import ModelBundle

    loaded = ModelBundle.load(bundle)
    loaded.psf_path  # noqa: B018  # a bundle without one cannot be checked: said before anything is measured
    tell: Callable[[str], None] = (lambda _: None) if as_json else typer.echo
    rows = list(_rows(loaded, threads, tell))
    if as_json:
        typer.echo(json.dumps({"bundle": loaded.name, "identity": loaded.sha256, "engines": _plain(rows)}, indent=2))
    else:
        _print(loaded.name, rows)


def register(app: typer.Typer) -> None:
    """Add this group of one command."""
    group = typer.Typer(help="Engines that run a model's network.", no_args_is_help=True)
    group.callback()(lambda: None)  # or typer would make the only command the group itself
    group.command()(check)
    app.add_typer(group, name="engine")


def _rows(bundle: ModelBundle, threads: int, tell: Callable[[str], None]) -> Iterator[Row]:
    from rtdecode.core.config import EngineConfig
    from rtdecode.fit import engines
    from rtdecode.stages import admission

    trial = admission.LazyTrial(bundle, threads)
    for use, precision in engines.VARIANTS:
        config = EngineConfig.model_validate({"use": use, "precision": precision, "threads": threads})
        try:
            engines.check(config)
            yield use, precision, admission.check(config, bundle, tell, trial), ""
        except EngineError as error:
            yield use, precision, None, str(error)


def _plain(rows: list[Row]) -> list[dict[str, Any]]:
    from dataclasses import asdict

    return [
        {"engine": use, "precision": precision}
        | ({"missing": why} if line is None else {"admitted": not line.faults} | asdict(line))
        for use, precision, line, why in rows
    ]


def _print(name: str, rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{name}, held against {rows[0][0]} fp32", title_justify="left")
    for column in ("engine", "precision"):
        table.add_column(column, no_wrap=True)
    for column in ("frames/s 64²", "Jaccard, points", "lateral, nm", "axial, nm", "over sigma", "sigma, %"):
        table.add_column(column, justify="right")
    table.add_column("", overflow="fold")
    for use, precision, line, _ in rows:
        if line is not None:
            table.add_row(use, precision, *_cells(line), _verdict(line))
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table, highlight=False)
    for words in _missing(rows):
        typer.echo(words)


def _missing(rows: list[Row]) -> Iterator[str]:
    """What this machine cannot run, a sentence for each engine and reason."""
    lacking = [(use, precision, why) for use, precision, line, why in rows if line is None]
    for (use, why), same in groupby(lacking, lambda row: (row[0], row[2])):
        yield f"{use} {', '.join(precision for _, precision, _ in same)}: not here: {why}"


def _cells(line: Line) -> list[str]:
    f = line.figures
    if f["added_lateral_nm"] is None:
        return [f"{line.frames_per_s:.0f}", f"{f['jaccard_change_points']:+.2f}", *["-"] * 4]
    off = max(abs(value - 1) for value in f["sigma_ratio"])
    return [
        f"{line.frames_per_s:.0f}",
        f"{f['jaccard_change_points']:+.2f}",
        f"{f['added_lateral_nm']:.2f}",
        f"{f['added_axial_nm']:.2f}",
        f"{f['lateral_over_sigma']:.3f} / {f['axial_over_sigma']:.3f}",
        f"{100 * off:.1f} ± {100 * max(f['sigma_spread']):.1f}",
    ]


def _verdict(line: Line) -> str:
    return f"refused: {'; '.join(line.faults)}" if line.faults else "admitted"
